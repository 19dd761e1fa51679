# nginx, the only part that clients know.
patience[nginx]=10
user[nginx]=www-data

render_nginx() {
    local part gateway_ports=(); for part in "${gateways[@]}"; do gateway_ports+=("$(port_of "$part")"); done
    TLS=no "$here/nginx/render" "$real/nginx" "$port_nginx" "$port_admin_nginx" "${gateway_ports[@]}"
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

# Whether nginx gives the next socket to this gateway: it is back, has the fewest, and is no more
# left alone for the failures of its absence.
nginx_trusts() {
    local answer; exec 3<>"/dev/tcp/127.0.0.1/$port_admin_nginx" || return
    printf 'GET /next HTTP/1.0\r\n\r\n' >&3; answer=$(timeout 2 cat <&3 | tr -d '\r'); exec 3>&-
    grep -qi "^x-gateway: 127.0.0.1:$(port_of "$1")\$" <<<"$answer"
}
