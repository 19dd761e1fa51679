"""PostgreSQL as workers see it, and the directory as all programs see it."""
from look import chosen, dashboard, lines, quantile, quantiles, rate, row, total

DASHBOARD = dashboard(
    "stores", "stores", "Are PostgreSQL and the Redis Cluster fast enough, and how full are the connection pools?", "directory_call_seconds_count",
    row(
        "PostgreSQL",
        lines("Connection pool", "How many connections are `busy`, `idle`, or `free` to be opened?", "short", (total("worker_store_connections", "state"), "{{state}}"), stacked=True),
        lines("Waiting for a connection", "How many statements wait for a connection now?", "short", (total("worker_store_waiting_statements", "instance"), "{{instance}}")),
        lines("Wait for a connection", "How long did statements wait for a connection?", "s", *quantiles("worker_store_wait_seconds")),
        lines("Statements", "How many statements per second do workers execute, by name?", "ops", (rate("worker_store_statement_seconds_count", "statement"), "{{statement}}"), many=True, width=12),
        lines("Slow statements", "How long does each statement take at p99, including its wait for a connection?", "s",
              (quantile(0.99, "worker_store_statement_seconds", "statement"), "{{statement}}"), many=True, width=12),
        lines("Remembered conversations", "For how many conversations per second did workers use what they remember (`recalled`), read it from PostgreSQL (`loaded`), forget it, or lock the row (`locked`)?", "ops", (rate("worker_conversations_total", "outcome"), "{{outcome}}")),
        lines("Failed statements", "How many statements per second failed, and why: PostgreSQL is `unavailable` or `full` (workers repeat them), it ended single ones (`lock`, `slow`, `size`, `conflict`), or they can never succeed (`fault`)?", "ops", (rate("worker_store_failures_total", "reason"), "{{reason}}"), width=6),
        lines("Time spent", "Which five statements take most of the workers' time (seconds per second)?", "short",
              (f"topk(5, {rate('worker_store_statement_seconds_sum', 'statement')})", "{{statement}}"), width=6),
        lines("Read replica", "How many pages per second did the read replica serve (`served`), and how many did the primary instead (`behind`; `paused` after a fault)? Empty without a replica.", "ops",
              (rate("worker_store_replica_reads_total", "outcome"), "{{outcome}}"), width=6),
        lines("Collisions of workers", "How often was another worker faster with the same message or conversation? It happens when a shard changes hands.", "ops",
              (rate("worker_store_collisions_total"), "collisions"), width=6),
    ),
    row(
        "Directory (Redis Cluster)",
        lines("Calls", "How many calls per second do programs make, by kind?", "ops", (rate("directory_call_seconds_count", "call"), "{{call}}"), many=True, width=12),
        lines("Slow calls", "How long does each kind of call take at p99, including redirects and retries?", "s", (quantile(0.99, "directory_call_seconds", "call"), "{{call}}"), many=True, width=12),
        lines("Failed calls", "How many calls per second failed, and why?", "ops", (rate("directory_faults_total", "call, reason"), "{{call}}: {{reason}}")),
        lines("Users written again", "How often did a gateway have to write all its users to the directory again, and why?", "short",
              (f"sum by (reason) (increase({chosen('directory_reseats_total')}[$__rate_interval]))", "{{reason}}")),
        lines("Connections and sweep", "How often was a connection rebuilt, and how many steps of the sweep failed?", "ops",
              (rate("directory_rebuilds_total", "outcome"), "rebuild: {{outcome}}"), (rate("directory_sweep_faults_total"), "sweep")),
    ),
)
