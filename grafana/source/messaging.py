"""From one person to another: end to end, step by step."""
from look import chosen, dashboard, heatmap, lines, mean_and_most, quantile, quantiles, rate, row

DASHBOARD = dashboard(
    "messaging", "messaging", "How long is the way from a person to another, to how many does it lead, and what is told of presence?", "bus_up",
    row(
        "End to end",
        heatmap("Sender to recipient", "How are the times from the sender's gateway to the recipient's outbox spread? Two bands: a part of the way is slow.", "s",
                "gateway_delivery_seconds", 'class="high"'),
        lines("By urgency", "How long does it take for what people wait for (high), and for the rest?", "s",
              (quantile(0.99, "gateway_delivery_seconds", "class"), "p99 {{class}}"), width=12),
        lines("Which step is slow", "What do the steps of the high lane take at p99? They overlap: read which one rises.", "s",
              (quantile(0.99, "gateway_uplink_confirm_seconds"), "frame → confirmed"), (quantile(0.99, "bus_lane_wait_seconds", only='lane="high"'), "published → taken"),
              (quantile(0.99, "worker_work_seconds", only='lane="high"'), "taken → acknowledged"), (quantile(0.99, "worker_event_seconds", only='lane="high"'), "accepted → delivered to nodes"),
              width=12),
        lines("Accepted to delivered", "How long from acceptance at a gateway until the broker has the deliveries, by lane?", "s", *quantiles("worker_event_seconds", "lane"), width=12),
    ),
    row(
        "How far it goes",
        lines("Gateways per event", "On how many gateways are an event's recipients?", "short", *mean_and_most("worker_fanout_nodes")),
        lines("Recipients per event", "How many recipients with a socket has an event?", "short", *mean_and_most("worker_fanout_recipients")),
        lines("Who is there", "How many recipients per second had a socket somewhere, how many none?", "ops", (rate("worker_recipients_total", "outcome"), "{{outcome}}"), stacked=True),
        lines("Deliveries to nodes", "What became of deliveries? `no_route`: the gateway has gone.", "ops", (rate("worker_deliveries_total", "outcome"), "{{outcome}}")),
        lines("Into outboxes", "Into how many outboxes does one downlink go?", "short",
              (f"{rate('gateway_deliveries_total')} / ({rate('gateway_downlinks_total')} > 0)", "outboxes per downlink")),
        lines("Downlinks for nobody", "Which share of the downlinks found nobody?", "percentunit",
              (f"""{rate('gateway_downlinks_dropped_total', only='reason="nobody"')} / ({rate('gateway_downlinks_total')} > 0)""", "nobody"), most=1),
    ),
    row(
        "Once, and all of it",
        lines("Repeats", "How many messages were there already: sent again by the client, or by the broker?", "ops", (rate("worker_repeats_total", "cause"), "{{cause}}"),
              (rate("worker_store_collisions_total"), "two workers at once")),
        lines("What `sync` said", "What did each `sync` get, at its worst conversation? `gap`: too much was missed.", "ops", (rate("worker_syncs_total", "result"), "{{result}}")),
        lines("Conversations in `sync`", "What did `sync` say of each conversation?", "ops", (rate("worker_sync_conversations_total", "outcome"), "{{outcome}}")),
        lines("Lapses", "How often were the clients of a gateway told to `sync`, because deliveries may have been missed?", "short",
              (f"sum(increase({chosen('gateway_lapses_total')}[$__rate_interval]))", "lapses")),
        lines("Asked and answered", "How long do REST and `sync` wait for a worker, by what comes?", "s", (quantile(0.99, "bus_request_seconds", "result"), "p99 {{result}}")),
        lines("Worked on", "How fast does a worker answer, without the way to it and back?", "s", *quantiles("worker_request_seconds", "area")),
        lines("Requests", "What is asked of the workers, and how does it end?", "reqps", (rate("worker_requests_total", "area, outcome"), "{{area}} {{outcome}}"), many=True, width=24),
    ),
    row(
        "Presence",
        lines("Told", "How many users per second came and went, as their contacts were told?", "ops", (rate("worker_presence_told_total", "presence"), "{{presence}}")),
        lines("Could not be told", "How often did telling fail, and why? It is repeated.", "ops", (rate("worker_presence_faults_total", "reason"), "{{reason}}")),
        lines("Gateways that died", "How many gateways died without a word, and how many users had their last socket there?", "short",
              (f"sum(increase({chosen('worker_reaped_nodes_total')}[$__rate_interval]))", "gateways"), (f"sum(increase({chosen('worker_reaped_users_total')}[$__rate_interval]))", "users")),
    ),
    row(
        "Accounts",
        lines("Ended logins", "How many logins had ended that the directory did not know of, and how often could a worker not look?", "short",
              (f"sum(increase({chosen('worker_ended_logins_filled_total')}[$__rate_interval]))", "told again"), (f"sum(increase({chosen('worker_ended_logins_faults_total')}[$__rate_interval]))", "looks that failed")),
        lines("Refused logins", "Why did passwords not let in: wrong, or too many wrong ones of an account and address, of an address, of an account?", "ops", (rate("worker_logins_refused_total", "reason"), "{{reason}}")),
    ),
)
