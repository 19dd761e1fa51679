# Prometheus, looking at everything that has numbers.
patience[prometheus]=30

targets() { # targets FILE NAME=PORT...: who is asked, for file_sd
    local file=$real/prometheus/targets/$1 pair; shift
    for pair in "$@"; do
        printf -- '- targets: ["127.0.0.1:%s"]\n  labels: { part: %s }\n' "${pair#*=}" "${pair%%=*}"
    done >"$file"
}
render_prometheus() {
    local part pairs; mkdir -p "$real/prometheus/targets"
    cp -R "$here/prometheus/prometheus.yml" "$here/prometheus/rules" "$real/prometheus/"
    pairs=(); for part in "${gateways[@]}"; do pairs+=("$part=$(port_of "admin_$part")"); done; targets gateways.yml "${pairs[@]}"
    pairs=(); for part in "${workers[@]}"; do pairs+=("$part=$(port_of "admin_$part")"); done; targets workers.yml "${pairs[@]}"
    pairs=(); for part in "${brokers[@]}"; do pairs+=("$part=$(port_of "${part/rabbitmq/scrape}")"); done; targets rabbitmq.yml "${pairs[@]}"
    targets canary.yml "canary=$port_admin_canary"
    targets prometheus.yml "prometheus=$port_prometheus"
    folder prometheus
}
start_prometheus() {
    render_prometheus
    launch prometheus prometheus --config.file="$real/prometheus/prometheus.yml" --storage.tsdb.path="$real/prometheus/data" \
        --storage.tsdb.retention.time=2d --web.listen-address="127.0.0.1:$port_prometheus" --log.level=warn
}
ready_prometheus() { ask "$port_prometheus" /-/ready >/dev/null; }
