# The folder that everything lives in: its ports, its password, its place on the disk.
# Whoever reads this file has say, die, dir, and in `ports` the names of the ports it needs.

listening() { # ports somebody holds
    local hex; awk '$4 == "0A" { n = split($2, a, ":"); print a[n] }' /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        while read -r hex; do echo $((16#$hex)); done
}
open_port() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
random_secret() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

make_dir() {
    mkdir -p "$dir"; chmod 755 "$dir"
    # As root the servers run as other users, who may not be let in here (a home folder): then
    # the data lives in the system's temporary folder and a link points there.
    if ! as "$(user_of postgres)" test -x "$dir" || [ "${#dir}" -gt 80 ]; then
        local real; real=$(mktemp -d /tmp/chatchit-peers.XXXXXX); chmod 755 "$real"
        rmdir "$dir"; ln -s "$real" "$dir"
    fi
    local taken name port; taken=" $(listening | tr '\n' ' ') "
    (
        umask 077
        for name in "${ports[@]}"; do
            while port=$((10000 + RANDOM % 22000)); [[ $taken == *" $port "* ]]; do :; done
            taken+="$port "; echo "port_$name=$port"
        done
        echo "password=$(random_secret 16)"
    ) >"$dir/ports.new"
    chmod 600 "$dir/ports.new"; mv "$dir/ports.new" "$dir/ports"
}
load() { [ -r "$dir/ports" ] || die "nothing in $dir: run $0 up"; . "$dir/ports"; real=$(readlink -f "$dir"); }
port_of() { local name="port_$1"; echo "${!name:-}"; }
remove_dir() { rm -rf "$real"; rm -f "$dir" 2>/dev/null || true; }
