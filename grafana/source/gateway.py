"""The way in and the way out."""
from look import ALL, WINDOW, chosen, dashboard, lines, quantiles, rate, row, total

EACH = "{{instance}}"

DASHBOARD = dashboard(
    "gateway", "gateways", "Who comes and goes, what is written and read, and what do slow sockets and a busy runtime cost?", "gateway_lag_seconds",
    row(
        "Sockets come and go",
        lines("Open", "How many sockets does each gateway hold? They should be alike.", "short", (total("gateway_sockets_open", "instance"), EACH), stacked=True),
        lines("What became of those who came", "How many per second became ready, and what happened to the others?", "reqps",
              (rate("gateway_connects_total", "result"), "{{result}}")),
        lines("Handshake", "How long from the upgrade to `ready`?", "s", *quantiles("gateway_handshake_seconds", "form")),
        lines("Why sockets end", "Why do sockets end? `lost`: the peer vanished without a word.", "ops",
              (f"sum by (reason) (rate({chosen('gateway_sockets_closed_total')}{WINDOW})) > 0", "{{reason}}")),
        lines("Refused at the door", "How many upgrades and connections per second are refused, and why? `budget`, `lag`, `seats`, `full`, `emfile`: too many at once.", "ops",
              (rate("gateway_upgrades_refused_total", "reason"), "upgrade: {{reason}}"), (rate("gateway_accepts_refused_total", "reason"), "accept: {{reason}}")),
        lines("Upgrades and drains", "How many per second become sockets, how many of them ready, and how many sockets does a leaving gateway still hold?", "short",
              (rate("gateway_upgrades_total"), "upgrades per second"), (rate("gateway_sockets_ready_total"), "ready per second"), (total("gateway_drain_left_sockets", "instance"), "left at {{instance}}")),
    ),
    row(
        "Frames",
        lines("From clients", "What do clients send?", "ops", (rate("gateway_frames_in_total", "class"), "{{class}}"), stacked=True),
        lines("To clients", "What do clients get (written to the kernel)?", "ops", (rate("gateway_frames_out_total", "class"), "{{class}}"), stacked=True),
        lines("Bytes", "How many bytes per second go which way?", "Bps", (rate("gateway_bytes_in_total"), "from clients"), (rate("gateway_bytes_out_total"), "to clients")),
        lines("Frames per write", "How well do writes coalesce? 1: each frame is a system call.", "short",
              (f"{rate('gateway_frames_out_total')} / ({rate('gateway_writes_total')} > 0)", "frames per write")),
        lines("Frames that went no further", "Which frames were dropped, and why?", "ops", (rate("gateway_frames_dropped_total", "reason"), "{{reason}}")),
        lines("Heartbeat", "How long from our ping to the client's pong: how good are the clients' networks?", "s", *quantiles("gateway_heartbeat_seconds")),
    ),
    row(
        "Up and down",
        lines("To the lanes", "How many events per second go to the lanes at each gateway?", "ops", (rate("gateway_uplinks_total", "instance"), EACH), stacked=True),
        lines("Refused events", "How many events are refused: `busy` (the broker), `rate_limited` (the user), `typing_dropped`?", "ops",
              (rate("gateway_uplinks_refused_total", "reason"), "{{reason}}")),
        lines("Until the broker has it", "How long from the frame to the broker's confirm, that is, to `messageQueued`?", "s", *quantiles("gateway_uplink_confirm_seconds")),
        lines("Downlinks", "How many deliveries come for each gateway?", "ops", (rate("gateway_downlinks_total", "instance"), EACH), stacked=True),
        lines("Frames built", "How many frames are built of them? One for each wire form: more than two per downlink are built in vain.", "short",
              (f"{rate('gateway_frames_built_total')} / ({rate('gateway_downlinks_total')} > 0)", "frames per downlink")),
        lines("Traces of clients", "Whose traces do messages belong to: `sampled` by clients, `begun` here, over the rate (`limited`), `malformed`?", "ops",
              (rate("gateway_contexts_total", "result"), "{{result}}"), many=True),
        lines("Downlinks for nobody", "How many found nobody (the user just left), or were damaged?", "ops", (rate("gateway_downlinks_dropped_total", "reason"), "{{reason}}")),
        lines("Lapses", "How often may deliveries have been missed, so that all clients of a gateway were told to `sync`?", "short",
              (f"sum by (instance) (increase({chosen('gateway_lapses_total')}{WINDOW}))", EACH)),
    ),
    row(
        "Slow sockets, memory, the runtime",
        lines("Waiting for slow sockets", "How many bytes wait in outboxes?", "bytes", (total("gateway_outbox_waiting_bytes", "instance"), EACH), stacked=True),
        lines("What slow sockets cost", "What was replaced by a newer frame, or shed as stale?", "ops", (rate("gateway_outbox_dropped_total", "reason"), "{{reason}}")),
        lines("Where the memory is", "How much is for sockets (estimate), for outboxes, for the rest?", "bytes", (total("gateway_memory_bytes", "cause"), "{{cause}}"), stacked=True),
        lines("Lateness of the runtime", "How late is the runtime? From half a second on it takes no new sockets.", "s", (total("gateway_lag_seconds", "instance", how="max"), EACH), limit=0.25),
        lines("Seats", "How many users per second are written to the directory, and how many writes had to be repeated?", "ops",
              (rate("gateway_seats_total"), "written"), (rate("gateway_seat_faults_total"), "repeated"), (rate("gateway_login_faults_total"), "ended logins not read")),
        lines("Processor per thousand sockets", "How many cores does a thousand sockets cost?", "short",
              (f"1000 * sum by (instance) (rate(process_cpu_seconds_total{{{ALL}}}{WINDOW})) / (sum by (instance) ({chosen('gateway_sockets_open')}) > 0)", EACH)),
    ),
    row(
        "REST",
        lines("Requests", "What do REST requests get?", "reqps", (rate("gateway_api_requests_total", "status"), "{{status}}"), stacked=True),
        lines("How fast", "How fast are they answered?", "s", *quantiles("gateway_api_request_seconds")),
        lines("No answer from the cluster", "How many had no answer, and why?", "reqps", (rate("gateway_api_failed_total", "reason"), "{{reason}}")),
    ),
)
