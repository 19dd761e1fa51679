"""PostgreSQL as the workers see it, and the directory as everybody sees it."""
from look import chosen, dashboard, lines, quantile, quantiles, rate, row, total

DASHBOARD = dashboard(
    "stores", "stores", "Are PostgreSQL and the Redis Cluster fast enough, and how full is the pool?", "directory_call_seconds_count",
    row(
        "PostgreSQL",
        lines("The pool", "How many connections are busy, idle, or may still be opened?", "short", (total("worker_store_connections", "state"), "{{state}}"), stacked=True),
        lines("Waiting for a connection", "How many statements wait for a connection now?", "short", (total("worker_store_waiting_statements", "instance"), "{{instance}}")),
        lines("… and how long", "How long did statements wait for a connection?", "s", *quantiles("worker_store_wait_seconds")),
        lines("Statements", "How many of each statement per second?", "ops", (rate("worker_store_statement_seconds_count", "statement"), "{{statement}}"), many=True, width=12),
        lines("Slow statements", "Which statement is slow at p99 (its wait for a connection included)?", "s",
              (quantile(0.99, "worker_store_statement_seconds", "statement"), "{{statement}}"), many=True, width=12),
        lines("Remembered conversations", "Of the conversations that were written to, how many did workers remember, read, forget or lock?", "ops", (rate("worker_conversations_total", "outcome"), "{{outcome}}")),
        lines("Statements without an answer", "How many statements had no answer: `unavailable` or `full` (repeated), ended alone (`lock`, `slow`, `size`, `conflict`), `fault`?", "ops", (rate("worker_store_failures_total", "reason"), "{{reason}}"), width=6),
        lines("Time spent", "In which statements do the workers spend their time (seconds per second)?", "short",
              (f"topk(5, {rate('worker_store_statement_seconds_sum', 'statement')})", "{{statement}}"), width=6),
        lines("Read replica", "Which pages did the read replica give (`served`), and which not (`behind`; `paused` after a fault)? Empty without a replica.", "ops",
              (rate("worker_store_replica_reads_total", "outcome"), "{{outcome}}"), width=6),
        lines("Two workers at once", "How often was another worker faster with the same message? It happens when a shard changes hands.", "ops",
              (rate("worker_store_collisions_total"), "collisions"), width=6),
    ),
    row(
        "Directory (Redis Cluster)",
        lines("Calls", "How many calls of each kind per second?", "ops", (rate("directory_call_seconds_count", "call"), "{{call}}"), many=True, width=12),
        lines("Slow calls", "Which call is slow at p99? Redirects and retries are in it.", "s", (quantile(0.99, "directory_call_seconds", "call"), "{{call}}"), many=True, width=12),
        lines("Calls without an answer", "How many calls had no answer?", "ops", (rate("directory_faults_total", "call, reason"), "{{call}}: {{reason}}")),
        lines("Seated again", "How often had a gateway to write all its users again, and why?", "short",
              (f"sum by (reason) (increase({chosen('directory_reseats_total')}[$__rate_interval]))", "{{reason}}")),
        lines("Connections and sweep", "How often was the connection rebuilt, and how many steps of the sweep failed?", "ops",
              (rate("directory_rebuilds_total", "outcome"), "rebuild: {{outcome}}"), (rate("directory_sweep_faults_total"), "sweep")),
    ),
)
