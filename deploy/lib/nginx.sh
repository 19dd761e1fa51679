# nginx, the only part that clients know.
patience[nginx]=10
user[nginx]=www-data

render_nginx() {
    local part gateway_ports=(); for part in "${gateways[@]}"; do gateway_ports+=("$(port_of "$part")"); done
    TLS=no LOAD=yes "$here/nginx/render" "$real/nginx" "$port_nginx" "$port_admin_nginx" "${gateway_ports[@]}"
    folder nginx
}
run_nginx() { "$@" "$(nginx_bin)" -e stderr -p "$real/nginx/" -c nginx.conf -g 'daemon off; pid nginx.pid;'; }
port_is_free() { [[ " $(listening | tr '\n' ' ') " != *" $1 "* ]] || die "port $1 is taken: choose another one with PORT="; }
start_nginx() (
    port_is_free "$port_nginx" # nginx would share it with another nginx (reuseport)
    more_descriptors; render_nginx
    run_nginx launch nginx
)
ready_nginx() { ask "$port_admin_nginx" /nginx >/dev/null && open_port "$port_nginx"; }
