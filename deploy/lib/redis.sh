# A Redis Cluster of six: three masters, each with a replica.
patience[redis]=10
redis_parts=(redis1 redis2 redis3 redis4 redis5 redis6)
redis_ports=("${redis_parts[@]}" bus1 bus2 bus3 bus4 bus5 bus6)

start_redis() {
    folder "$1"; launch "$1" redis-server --port "$(port_of "$1")" --cluster-port "$(port_of "bus${1#redis}")" --bind 127.0.0.1 \
        --dir "$real/$1" --cluster-enabled yes --cluster-config-file nodes.conf --cluster-node-timeout 2000 \
        --cluster-require-full-coverage no --appendonly yes --appendfsync everysec --save '' \
        --repl-diskless-sync-delay 0 --maxmemory-policy noeviction --set-proc-title no
}
cli() { local port; port=$(port_of "$1"); shift; timeout 2 redis-cli -h 127.0.0.1 -p "$port" "$@"; }
ready_redis() { [ "$(cli "$1" ping)" = PONG ]; }
cluster_ok() { cli redis1 cluster info | grep -q 'cluster_state:ok' && cli redis1 cluster info | grep -q 'slots_ok:16384'; }
create_cluster() {
    local part nodes; IFS=, read -ra nodes <<<"$(redis_nodes)"
    if ! cli redis1 cluster info | grep -q 'cluster_known_nodes:[2-9]'; then
        redis-cli --cluster create "${nodes[@]}" --cluster-replicas 1 --cluster-yes >"$real/cluster.log" 2>&1 || {
            tail -20 "$real/cluster.log" >&2; die "the Redis Cluster could not be created (log above)"; }
    fi
    until_true 20 "the Redis Cluster" redis1 cluster_ok
    for part in "${redis_parts[@]}"; do until_true 20 "$part" "$part" replicated "$part"; done
}
replicated() { cli "$1" info replication | grep -q 'role:master\|master_link_status:up'; }
flush_redis() { # all of it: what a part of them keeps is asked of its primary
    local part; for part in "${redis_parts[@]}"; do
        ! cli "$part" info replication | grep -q 'role:master' || cli "$part" flushall >&2
    done
}
redis_primary() { # a master of the moment that has a replica
    local part; for part in "${redis_parts[@]}"; do
        cli "$part" info replication 2>/dev/null | grep -q 'connected_slaves:[1-9]' && echo "$part" && return
    done; return 1
}
redis_nodes() {
    local part nodes=; for part in "${redis_parts[@]}"; do nodes+="${nodes:+,}127.0.0.1:$(port_of "$part")"; done
    echo "$nodes"
}
