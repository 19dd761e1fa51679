# Our own programs: gateways, workers and the canary. Each runs with what `settings` in the folder says and
# with nothing of the caller's environment, so a part that is started again is the same part.
patience[gateway]=60
patience[worker]=90 # the first one makes the tables
patience[canary]=30
user[canary]=nobody
user[gateway]=nobody
user[worker]=nobody

# What the caller may set when the cluster is made: kept for every later start.
kept() { [[ $1 =~ ^(RATE_.*|SOCKETS_MAX|(LOGIN|USER)_SOCKETS_MAX|OUTBOXES_BYTES_MAX|ADDRESS_.*|UPGRADES_PER_S|RECONNECTS_PER_S|DRAIN_MS|CORS_ORIGINS|QUERY_TOKEN|WORK_SLOTS|STORE_CONNECTIONS(_REST|_HEAVY)?|WORKER_THREADS|TRACE_MESSAGES|OTEL_TRACES_SAMPLER_ARG|OTEL_EXPORTER_OTLP_ENDPOINT|RUST_LOG|LOG_FORMAT|CHATCHIT_PREFIX|CHATCHIT_QUEUES|JWT_.*)$ ]]; }
keep_settings() {
    local name
    (
        umask 077
        echo "JWT_ACCESS_TOKEN=$(random_secret 32)"
        echo "CANARY_PASSWORD=$(random_secret 16)"
        echo "DRAIN_MS=2000" # on one machine nobody waits as long as in production
        echo "CHATCHIT_QUEUES=$([ ${#brokers[@]} -gt 1 ] && echo quorum || echo classic)"
        for name in $(compgen -e); do ! kept "$name" || printf '%s=%q\n' "$name" "${!name}"; done
    ) >"$dir/settings"
}
only_settings() { # in a subshell: the environment of a program
    local name; for name in $(compgen -e); do [ "$name" = PATH ] || export -n "$name"; done
    set -a; . "$dir/settings"
    AMQP_URL=$(amqp_urls) REDIS_NODES=$(redis_nodes) DATABASE_URL=$(database_url)
    ADMIN_PORT=$(port_of "admin_$1"); set +a
}
# program NAME PART: the path of the binary, or of a copy that the part's user may read.
program() {
    local binary=$bin/$1; [ -x "$binary" ] || die "$binary is not built: make cluster does it, or set CHATCHIT_BIN"
    if as "$(user_of "$2")" test -x "$binary"; then echo "$binary"; return; fi
    mkdir -p "$real/bin"; chmod 755 "$real/bin"
    if ! cmp -s "$binary" "$real/bin/$1"; then # not by age: an older version may be gone back to
        cp "$binary" "$real/bin/$1.$2" && chmod 755 "$real/bin/$1.$2" && mv "$real/bin/$1.$2" "$real/bin/$1"
    fi
    echo "$real/bin/$1"
}
start_gateway() (
    binary=$(program gateway "$1"); folder "$1"; more_descriptors; only_settings "$1"
    export PORT=$(port_of "$1") BIND=127.0.0.1 TRUSTED_PROXIES=127.0.0.0/8
    launch "$1" "$binary"
)
start_worker() (
    binary=$(program worker "$1"); folder "$1"; only_settings "$1"
    launch "$1" "$binary"
)
canary_gateways() { local part list=; for part in "${gateways[@]}"; do list+="${list:+,}127.0.0.1:$(port_of "$part")"; done; echo "$list"; }
start_canary() (
    binary=$(program chatchit "$1"); folder "$1"; only_settings "$1"
    export CANARY_GATEWAYS=$(canary_gateways) CANARY_FRONT=http://127.0.0.1:$port_nginx
    launch "$1" "$binary" canary
)
ready_gateway() { ask "$(port_of "admin_$1")" /readyz; }
ready_worker() { ask "$(port_of "admin_$1")" /readyz; }
ready_canary() { ask "$(port_of "admin_$1")" /readyz; }
