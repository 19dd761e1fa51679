# RabbitMQ: one node (the part `rabbitmq`), or a cluster of them (`rabbitmq1` …), which find each
# other by the list in their configuration. `brokers` holds the parts.
patience[rabbitmq]=120
user[epmd]=nobody

rabbit_ports() { # rabbit_ports PART...: the names of the ports they need
    local part; echo epmd
    for part in "$@"; do printf '%s\n' "$part" "${part/rabbitmq/management}" "${part/rabbitmq/dist}"; done
}
node_of() { echo "peers$(port_of "$1")@localhost"; }

rabbit_config() {
    local part=$1 other number=0 scrape; scrape=$(port_of "${part/rabbitmq/scrape}")
    cat <<CONF
listeners.tcp.1 = 127.0.0.1:$(port_of "$part")
management.tcp.ip = 127.0.0.1
management.tcp.port = $(port_of "${part/rabbitmq/management}")
default_user = chatchit
default_pass = $password
loopback_users.chatchit = true
log.console = true
log.console.level = warning
disk_free_limit.absolute = 50MB
collect_statistics_interval = 1000
CONF
    [ -z "$scrape" ] || printf 'prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = %s\n' "$scrape"
    [ ${#brokers[@]} -gt 1 ] || return 0
    # The smaller side of a split stops until it is over, instead of going its own way.
    echo 'cluster_partition_handling = pause_minority'
    echo 'cluster_formation.peer_discovery_backend = classic_config'
    for other in "${brokers[@]}"; do
        echo "cluster_formation.classic_config.nodes.$((++number)) = $(node_of "$other")"
    done
}

start_rabbitmq() {
    local part=$1 home=$real/$1 plugins=rabbitmq_management
    folder "$part"
    [ -z "$(port_of "${part/rabbitmq/scrape}")" ] || plugins+=,rabbitmq_prometheus
    (umask 077; rabbit_config "$part" >"$home/rabbitmq.conf")
    echo "[$plugins]." >"$home/enabled_plugins"; : >"$home/env.conf"
    # Nodes of one cluster know each other by it.
    [ -e "$home/.erlang.cookie" ] || (umask 377; echo "$password" >"$home/.erlang.cookie")
    folder "$part"
    # The name service of Erlang's distribution: our own, so that another broker's is not touched.
    pid_of epmd >/dev/null || {
        ln -sfn "$part" "$real/epmd"
        launch epmd epmd -port "$port_epmd" -address 127.0.0.1 -relaxed_command_check
    }
    launch "$part" RUNNING_UNDER_SYSTEMD=true ERL_EPMD_PORT="$port_epmd" ERL_EPMD_ADDRESS=127.0.0.1 \
        RABBITMQ_NODENAME="$(node_of "$part")" RABBITMQ_DIST_PORT="$(port_of "${part/rabbitmq/dist}")" \
        RABBITMQ_CONF_ENV_FILE="$home/env.conf" RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf" \
        RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins" RABBITMQ_MNESIA_BASE="$home/mnesia" \
        RABBITMQ_LOG_BASE="$home/log" RABBITMQ_LOGS=- RABBITMQ_PID_FILE="$home/pid" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}" "$(rabbit_server)"
}
# The first start of a cluster: the first node makes it, then the others join. Later all start at
# once, because each waits for the one that stopped last.
start_brokers() {
    local part
    if [ ! -e "$real/${brokers[0]}/mnesia" ]; then start_part "${brokers[0]}"; wait_part "${brokers[0]}"; fi
    for part in "${brokers[@]}"; do start_part "$part"; done
}
# For when the data goes too: a polite end takes a broker six seconds.
kill_brokers() { local part; for part in "${brokers[@]}" epmd; do end_part KILL "$part" & done; wait; }
# It speaks AMQP (answers the protocol header with connection.start), and so does management.
ready_rabbitmq() {
    timeout 2 bash -c "exec 3<>/dev/tcp/127.0.0.1/$(port_of "$1") && printf 'AMQP\0\0\11\1' >&3 && head -c 1 <&3 | od -An -tx1 | grep -q 01" &&
        open_port "$(port_of "${1/rabbitmq/management}")"
}
all_brokers_joined() { # as the first that answers sees it
    local part names; for part in "${brokers[@]}"; do
        names=$(ask "$(port_of "${part/rabbitmq/management}")" '/api/nodes?columns=name,running' "$(basic_auth)") || continue
        [ "$(grep -o '"running":true' <<<"$names" | wc -l)" = ${#brokers[@]} ]; return
    done; return 1
}
# disk_limit PART LIMIT: how much has to be free. More than there is, and the broker takes nothing.
disk_limit() {
    as "$(user_of "$1")" env HOME="$real/$1" ERL_EPMD_PORT="$port_epmd" RABBITMQ_CONF_ENV_FILE="$real/$1/env.conf" \
        "$(dirname "$(rabbit_server)")/rabbitmqctl" -q -n "$(node_of "$1")" set_disk_free_limit "$2" >&2
}
basic_auth() { echo "Authorization: Basic $(printf %s "chatchit:$password" | base64 -w0)"; }
amqp_urls() { # one per broker, comma-separated
    local part urls=; for part in "${brokers[@]}"; do
        urls+="${urls:+,}amqp://chatchit:$password@127.0.0.1:$(port_of "$part")/%2f"
    done; echo "$urls"
}
management_url() { echo "http://chatchit:$password@127.0.0.1:$(port_of "${brokers[0]/rabbitmq/management}")"; }
