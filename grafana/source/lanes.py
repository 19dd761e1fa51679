"""Lanes, the bus that carries them, and RabbitMQ below."""
from look import choice, chosen, dashboard, lines, mean, mean_and_most, quantiles, rate, row, total

LANE = "{{lane}}"
BROKER = 'instance=~"$broker"'

# Queues appear and disappear with their nodes. The part of the name after the prefix says what a queue is for.
KIND = "lane[.](?:high|medium|low)|deliver|inbox|ask|sub|group|retry|quarantine"
KINDS_OF_QUEUE = f'sum by (kind) (label_replace(rabbitmq_detailed_queue_messages{{{BROKER}}}, "kind", "$1", "queue", ".*[.]({KIND})(?:[.].*)?"))'

DASHBOARD = dashboard(
    "lanes", "lanes and broker", "Does each lane keep up, does the bus work, and is the broker well?", "bus_up",
    row(
        "Does each lane keep up?",
        lines("Oldest batch", "How old, at most, is the oldest batch of each lane that no worker has finished? KEDA and the alerts use this number.", "s",
              ("lane:oldest_seconds:max", LANE)),
        lines("Waiting in the broker", "How many batches wait in the broker because no worker has taken them?", "short", (total("bus_lane_waiting_batches", "lane", how="max"), LANE)),
        lines("Wait for a worker", "How long did batches wait from being published until a worker took them?", "s", *quantiles("bus_lane_wait_seconds", "lane")),
        lines("Held by workers", "How many batches have workers taken and not yet acknowledged?", "short", (total("bus_lane_unacked_batches", "lane"), "{{lane}} taken"),
              (total("lanes_waiting_batches", "lane"), "{{lane}} not begun")),
        lines("Workers in line", "How many workers consume a lane or stand by for it, at the shard with the fewest? 0: a shard has no worker, and its messages wait.", "short",
              (total("bus_lane_consumers", "lane", how="max"), LANE), (total("lanes_live_nodes", how="min"), "workers known to each other")),
        lines("Shards per worker", "How many shards does each worker hold? The numbers should be similar.", "short", (total("lanes_shards", "instance, lane"), "{{lane}} {{instance}}"), many=True),
    ),
    row(
        "Work",
        lines("Events", "How many events per second do workers finish, and with which outcome?", "ops", (rate("lanes_events_total", "lane, outcome"), "{{lane}} {{outcome}}")),
        lines("Work duration", "How long does a piece of work take from being taken to its acknowledgement?", "s", *quantiles("lanes_work_seconds", "lane")),
        lines("Events per piece of work", "How many events are in one piece of work? Small pieces cost more per event.", "short", (mean("lanes_work_events", "lane"), LANE)),
        lines("Held and given back", "How often did workers hold work because a peer is away, and how many batches did they give back?", "ops",
              (rate("lanes_holds_total", "lane, reason"), "held, {{lane}}: {{reason}}"), (rate("lanes_releases_total", "lane, reason"), "given back, {{lane}}: {{reason}}")),
        lines("Shed events", "Which events did workers skip, because they are stale or a newer event replaces them?", "ops", (rate("worker_shed_total", "event, reason"), "{{event}}: {{reason}}")),
        lines("Failed envelopes", "How many envelopes failed, and are they retried or in quarantine? How many conversations wait apart?", "ops", (rate("lanes_set_aside_total", "lane, fate"), "{{lane}} {{fate}}"),
              (total("lanes_apart_keys", "lane"), "{{lane}} conversations apart"),
              (rate("bus_retries_total", "lane"), "{{lane}} retried"), (rate("bus_quarantined_total", "reason"), "quarantined: {{reason}}")),
    ),
    row(
        "Bus",
        lines("Published", "How many envelopes per second were published, with which result? `none`: not on a lane (deliveries, requests).", "ops", (rate("bus_publishes_total", "lane, result"), "{{lane}} {{result}}")),
        lines("Confirm of a batch", "How long does the broker take to confirm a batch?", "s", *quantiles("bus_confirm_seconds")),
        lines("Unconfirmed", "How many envelopes wait for the broker's confirm?", "short", (total("bus_in_flight_envelopes", "lane"), LANE)),
        lines("Envelopes in a batch", "How many envelopes does one AMQP batch carry?", "short", *mean_and_most("bus_batch_envelopes")),
        lines("Publishing blocked", "For which share of the time could a program not publish: `blocked` (an alarm of the broker), `away` (no connection)?", "percentunit",
              (f"max by (reason) (rate({chosen('bus_blocked_seconds_total')}[$__rate_interval]))", "{{reason}}"), most=1),
        lines("Drops, reconnects, handovers", "What did the bus drop, which batches came back because no queue took them, and how often did it reconnect or hand over a shard?", "ops", (rate("bus_shed_total", "reason"), "shed: {{reason}}"),
              (rate("bus_returned_total"), "returned"), (rate("bus_reconnects_total", "connection"), "reconnect: {{connection}}"),
              (rate("bus_handovers_total", "reason"), "handover: {{reason}}")),
    ),
    row(
        "Broker",
        lines("Batches in queues", "How many batches does each kind of queue hold, waiting or taken? RabbitMQ's own page shows single queues.", "short", (KINDS_OF_QUEUE, "{{kind}}"), many=True, width=12),
        lines("Quarantine", "How many envelopes wait in quarantine for an operator?", "short",
              (f'sum by (queue) (rabbitmq_detailed_queue_messages{{{BROKER},queue=~".*[.]quarantine"}})', "{{queue}}"), width=6),
        lines("Consumers", "How many consumers do all queues have together? A drop: a program has gone.", "short", (f"sum by (instance) (rabbitmq_detailed_queue_consumers{{{BROKER}}})", "{{instance}}"), width=6),
        lines("Memory", "Which share of its memory limit does each broker use? At 1 it blocks all publishers.", "percentunit",
              (f"rabbitmq_process_resident_memory_bytes{{{BROKER}}} / rabbitmq_resident_memory_limit_bytes{{{BROKER}}}", "{{instance}}"), width=6, limit=0.9),
        lines("Disk", "How much disk space is free above the limit at which the broker blocks all publishers?", "bytes",
              (f"rabbitmq_disk_space_available_bytes{{{BROKER}}} - rabbitmq_disk_space_available_limit_bytes{{{BROKER}}}", "{{instance}}"), width=6),
        lines("Connections and channels", "How many connections and channels does the broker have? They grow with the number of programs, never with the number of sockets.", "short",
              (f"sum(rabbitmq_connections{{{BROKER}}})", "connections"), (f"sum(rabbitmq_channels{{{BROKER}}})", "channels"), width=6),
        lines("Batches through the broker", "How many batches per second enter and leave the broker?", "ops",
              (f"sum(rate(rabbitmq_global_messages_received_total{{{BROKER}}}[$__rate_interval]))", "in"),
              (f"sum(rate(rabbitmq_global_messages_delivered_total{{{BROKER}}}[$__rate_interval]))", "out"), width=6),
    ),
    more=[choice("broker", "Broker", "label_values(rabbitmq_build_info, instance)")],
)
