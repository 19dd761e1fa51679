"""Gateways: sockets, frames, and events in both directions."""
from look import ALL, WINDOW, chosen, dashboard, lines, quantiles, rate, row, total

EACH = "{{instance}}"

DASHBOARD = dashboard(
    "gateway", "gateways", "How many sockets open and close, what do clients send and receive, and what do slow sockets and a busy runtime cost?", "gateway_lag_seconds",
    row(
        "Sockets come and go",
        lines("Open sockets", "How many sockets does each gateway hold? The numbers should be similar.", "short", (total("gateway_sockets_open", "instance"), EACH), stacked=True),
        lines("Connection outcomes", "How many connections per second became ready, and how did the others end?", "reqps",
              (rate("gateway_connects_total", "result"), "{{result}}")),
        lines("Handshake", "How long does a socket take from the upgrade to `ready`?", "s", *quantiles("gateway_handshake_seconds", "form")),
        lines("Why sockets end", "Why do sockets end? `lost`: the connection broke without a close frame.", "ops",
              (f"sum by (reason) (rate({chosen('gateway_sockets_closed_total')}{WINDOW})) > 0", "{{reason}}")),
        lines("Refused at the door", "How many upgrades and connections per second does each gateway refuse, and why? `budget`, `lag`, `seats`, `full`: too many at once. `fault`: the system gave no connection, for example because file descriptors ran out.", "ops",
              (rate("gateway_upgrades_refused_total", "reason"), "upgrade: {{reason}}"), (rate("gateway_accepts_refused_total", "reason"), "accept: {{reason}}")),
        lines("Upgrades and drains", "How many connections per second become sockets, how many sockets become ready, and how many sockets does a draining gateway still hold?", "short",
              (rate("gateway_upgrades_total"), "upgrades per second"), (rate("gateway_sockets_ready_total"), "ready per second"), (total("gateway_drain_left_sockets", "instance"), "left at {{instance}}")),
    ),
    row(
        "Frames",
        lines("From clients", "What do clients send?", "ops", (rate("gateway_frames_in_total", "class"), "{{class}}"), stacked=True),
        lines("To clients", "What do clients receive (written to the kernel)?", "ops", (rate("gateway_frames_out_total", "class"), "{{class}}"), stacked=True),
        lines("Bytes", "How many bytes per second do clients send and receive?", "Bps", (rate("gateway_bytes_in_total"), "from clients"), (rate("gateway_bytes_out_total"), "to clients")),
        lines("Frames per write", "How many frames does one system call write? 1: every frame costs a system call of its own.", "short",
              (f"{rate('gateway_frames_out_total')} / ({rate('gateway_writes_total')} > 0)", "frames per write")),
        lines("Dropped frames", "How many frames from clients did the gateway drop, and why?", "ops", (rate("gateway_frames_dropped_total", "reason"), "{{reason}}")),
        lines("Heartbeat", "How long does a client take to answer a ping? It shows how good the clients' networks are.", "s", *quantiles("gateway_heartbeat_seconds")),
    ),
    row(
        "Events: to the lanes and to clients",
        lines("To the lanes", "How many events per second does each gateway publish to the lanes?", "ops", (rate("gateway_uplinks_total", "instance"), EACH), stacked=True),
        lines("Refused events", "How many events per second does the gateway refuse, and why: `busy` (the broker does not accept them), `rate_limited` (the user sends too many), `typing_dropped`?", "ops",
              (rate("gateway_uplinks_refused_total", "reason"), "{{reason}}")),
        lines("Time to confirm", "How long does it take from a client's frame to the broker's confirm, that is, to `messageQueued`?", "s", *quantiles("gateway_uplink_confirm_seconds")),
        lines("Downlinks", "How many deliveries per second does each gateway receive?", "ops", (rate("gateway_downlinks_total", "instance"), EACH), stacked=True),
        lines("Frames built", "How many frames does the gateway build per downlink? One for each wire form is enough, so more than two are wasted work.", "short",
              (f"{rate('gateway_frames_built_total')} / ({rate('gateway_downlinks_total')} > 0)", "frames per downlink")),
        lines("Traces of clients", "Where do the traces of messages start: `sampled` by clients, `begun` by the gateway? Which `traceparent` was not used: over the rate (`limited`) or `malformed`?", "ops",
              (rate("gateway_contexts_total", "result"), "{{result}}"), many=True),
        lines("Dropped downlinks", "How many downlinks per second does a gateway drop because the user has just left (`nobody`) or because it cannot decode them (`damaged`)?", "ops", (rate("gateway_downlinks_dropped_total", "reason"), "{{reason}}")),
        lines("Lapses", "How often did a gateway tell all its clients to `sync`, because deliveries may have been lost?", "short",
              (f"sum by (instance) (increase({chosen('gateway_lapses_total')}{WINDOW}))", EACH)),
    ),
    row(
        "Slow sockets, memory, runtime",
        lines("Waiting for slow sockets", "How many bytes wait in the outboxes of each gateway?", "bytes", (total("gateway_outbox_waiting_bytes", "instance"), EACH), stacked=True),
        lines("Shed for slow sockets", "How many waiting frames per second were dropped: `replaced` by a newer frame, or `stale`?", "ops", (rate("gateway_outbox_dropped_total", "reason"), "{{reason}}")),
        lines("Memory by cause", "How much memory do sockets (an estimate), outboxes and the rest use?", "bytes", (total("gateway_memory_bytes", "cause"), "{{cause}}"), stacked=True),
        lines("Runtime lag", "How late does the runtime wake its tasks? From 500 ms on, the gateway accepts no new sockets.", "s", (total("gateway_lag_seconds", "instance", how="max"), EACH), limit=0.25),
        lines("Seats", "How many users per second does the gateway write to the directory (seats), how many writes failed and were repeated, and how often could it not read the ended logins?", "ops",
              (rate("gateway_seats_total"), "written"), (rate("gateway_seat_faults_total"), "repeated"), (rate("gateway_login_faults_total"), "ended logins not read")),
        lines("Processor per thousand sockets", "How many cores do 1,000 sockets cost?", "short",
              (f"1000 * sum by (instance) (rate(process_cpu_seconds_total{{{ALL}}}{WINDOW})) / (sum by (instance) ({chosen('gateway_sockets_open')}) > 0)", EACH)),
    ),
    row(
        "REST",
        lines("Requests", "How many REST requests per second are answered, by status?", "reqps", (rate("gateway_api_requests_total", "status"), "{{status}}"), stacked=True),
        lines("Request latency", "How long does a REST request take?", "s", *quantiles("gateway_api_request_seconds")),
        lines("No answer from the cluster", "How many REST requests per second got no answer from a worker, and why?", "reqps", (rate("gateway_api_failed_total", "reason"), "{{reason}}")),
    ),
)
