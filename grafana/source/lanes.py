"""Lanes, the bus that carries them, and the broker below."""
from look import choice, chosen, dashboard, lines, mean, mean_and_most, quantiles, rate, row, total

LANE = "{{lane}}"
BROKER = 'instance=~"$broker"'

# Queues come and go with their nodes; the names behind the prefix say what they are for.
KIND = "lane[.](?:high|medium|low)|deliver|inbox|ask|sub|group|retry|quarantine"
KINDS_OF_QUEUE = f'sum by (kind) (label_replace(rabbitmq_detailed_queue_messages{{{BROKER}}}, "kind", "$1", "queue", ".*[.]({KIND})(?:[.].*)?"))'

DASHBOARD = dashboard(
    "lanes", "lanes and broker", "Does each lane keep up, does the bus work, and is the broker well?", "bus_up",
    row(
        "Does each lane keep up?",
        lines("Oldest that waits", "How old is the oldest batch of each lane that no worker has finished (at most)? KEDA and the alerts look at this.", "s",
              ("lane:oldest_seconds:max", LANE)),
        lines("Waiting in the broker", "How many batches has no worker taken?", "short", (total("bus_lane_waiting_batches", "lane", how="max"), LANE)),
        lines("Wait for a worker", "How long did batches wait between being published and being taken?", "s", *quantiles("bus_lane_wait_seconds", "lane")),
        lines("In the workers' hands", "How many batches are taken and not yet acknowledged?", "short", (total("bus_lane_unacked_batches", "lane"), "{{lane}} taken"),
              (total("worker_waiting_batches", "lane"), "{{lane}} not begun")),
        lines("Workers in line", "How many workers stand in line for a lane, at the shard that has the fewest? 0: nobody takes.", "short",
              (total("bus_lane_consumers", "lane", how="max"), LANE), (total("worker_live_workers", how="min"), "workers that know of each other")),
        lines("Shards per worker", "Are the shards shared out evenly?", "short", (total("worker_shards", "instance, lane"), "{{lane}} {{instance}}"), many=True),
    ),
    row(
        "Work",
        lines("Events", "How many events per second are done, and how many failed alone?", "ops", (rate("worker_events_total", "lane, outcome"), "{{lane}} {{outcome}}")),
        lines("One piece of work", "How long from taking a piece of work to its acknowledgement?", "s", *quantiles("worker_work_seconds", "lane")),
        lines("Events in one piece", "How many events are in one piece of work? Small ones cost more per event.", "short", (mean("worker_work_events", "lane"), LANE)),
        lines("Held and given back", "How often was work held because a peer is away, and how many batches were given back?", "ops",
              (rate("worker_holds_total", "lane, reason"), "held, {{lane}}: {{reason}}"), (rate("worker_releases_total", "lane, reason"), "given back, {{lane}}: {{reason}}")),
        lines("Not worth the work", "What was not worked on, because it is stale or a newer one says more?", "ops", (rate("worker_shed_total", "event, reason"), "{{event}}: {{reason}}")),
        lines("Failed alone", "Which envelopes failed, and are they tried again or in quarantine? How many conversations wait apart?", "ops", (rate("worker_set_aside_total", "lane, fate"), "{{lane}} {{fate}}"),
              (total("worker_apart_keys", "lane"), "{{lane}} conversations apart"),
              (rate("bus_retries_total", "lane"), "{{lane}} retried"), (rate("bus_quarantined_total", "reason"), "quarantined: {{reason}}")),
    ),
    row(
        "Bus",
        lines("Published", "What became of what was published? `none`: no lane (deliveries, requests).", "ops", (rate("bus_publishes_total", "lane, result"), "{{lane}} {{result}}")),
        lines("Confirm of a batch", "How long does the broker take to confirm a batch?", "s", *quantiles("bus_confirm_seconds")),
        lines("Unconfirmed", "How many envelopes does each program hold that the broker has not confirmed?", "short", (total("bus_in_flight_envelopes", "lane"), LANE)),
        lines("Envelopes in a batch", "How many envelopes travel together?", "short", *mean_and_most("bus_batch_envelopes")),
        lines("Could not publish", "Which share of the time could nothing be published: `blocked` (alarm of the broker), `away`?", "percentunit",
              (f"max by (reason) (rate({chosen('bus_blocked_seconds_total')}[$__rate_interval]))", "{{reason}}"), most=1),
        lines("Lost on the way", "What did the bus drop, give back, or hand over, and how often did it reconnect?", "ops", (rate("bus_shed_total", "reason"), "shed: {{reason}}"),
              (rate("bus_returned_total"), "returned"), (rate("bus_reconnects_total", "connection"), "reconnect: {{connection}}"),
              (rate("bus_handovers_total", "reason"), "handover: {{reason}}")),
    ),
    row(
        "Broker",
        lines("Batches in queues", "Which kind of queue holds how much, waiting and taken? RabbitMQ's page shows single ones.", "short", (KINDS_OF_QUEUE, "{{kind}}"), many=True, width=12),
        lines("Quarantine", "How many envelopes wait in quarantine for a person?", "short",
              (f'sum by (queue) (rabbitmq_detailed_queue_messages{{{BROKER},queue=~".*[.]quarantine"}})', "{{queue}}"), width=6),
        lines("Consumers", "How many consumers do all queues have together? A drop: somebody went.", "short", (f"sum by (instance) (rabbitmq_detailed_queue_consumers{{{BROKER}}})", "{{instance}}"), width=6),
        lines("Memory", "How much memory does each broker use of what it may? At 1 it blocks everybody who publishes.", "percentunit",
              (f"rabbitmq_process_resident_memory_bytes{{{BROKER}}} / rabbitmq_resident_memory_limit_bytes{{{BROKER}}}", "{{instance}}"), width=6, limit=0.9),
        lines("Disk", "How much disk is free above the limit at which it blocks everybody?", "bytes",
              (f"rabbitmq_disk_space_available_bytes{{{BROKER}}} - rabbitmq_disk_space_available_limit_bytes{{{BROKER}}}", "{{instance}}"), width=6),
        lines("Connections and channels", "How many are there? They follow the number of programs, never of sockets.", "short",
              (f"sum(rabbitmq_connections{{{BROKER}}})", "connections"), (f"sum(rabbitmq_channels{{{BROKER}}})", "channels"), width=6),
        lines("Batches through the broker", "How many batches per second come in and go out?", "ops",
              (f"sum(rate(rabbitmq_global_messages_received_total{{{BROKER}}}[$__rate_interval]))", "in"),
              (f"sum(rate(rabbitmq_global_messages_delivered_total{{{BROKER}}}[$__rate_interval]))", "out"), width=6),
    ),
    more=[choice("broker", "Broker", "label_values(rabbitmq_build_info, instance)")],
)
