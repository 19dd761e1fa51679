# What makes one part different from its kind, for tests of failures: more in its environment, and
# a wall clock of its own. Both are kept for its later starts.
# Whoever reads this file has what folder.sh and parts.sh have.

# with PART [NAME=VALUE...]: restarts it with this in its environment; without any, as it was made.
with() {
    local part=$1; shift
    is_part "$part" || { usage >&2; exit 64; }
    if [ $# -gt 0 ]; then (umask 077; printf '%s\n' "$@" >"$dir/$part.env"); else rm -f "$dir/$part.env"; fi
    stop_part "$part"; start_part "$part"; wait_part "$part"
    [ "$(kind_of "$part")" != redis ] || until_true 20 "the Redis Cluster" "$part" cluster_ok
}
own_env() { [ ! -e "$dir/$1.env" ] || cat "$dir/$1.env"; } # one NAME=VALUE a line

# clock PART SECONDS: its wall clock is so much off (+3600, -60, +0). The first time it is restarted with
# clock.c, which says how.
clock() {
    local part=$1
    [[ $2 =~ ^[+-][0-9]+$ ]] && is_part "$part" || { usage >&2; exit 64; }
    if ! own_env "$part" | grep -q '^OWN_CLOCK='; then
        mkdir -p "$real/bin"; chmod 755 "$real/bin"
        cc -shared -fPIC -O2 -o "$real/bin/clock.so" "$here/lib/clock.c" || die "clock.c needs a C compiler"
        set_clock "$part" +0
        with "$part" "LD_PRELOAD=$real/bin/clock.so" "OWN_CLOCK=$real/$part/clock"
        # The loader goes on without what it cannot load.
        grep -q "$real/bin/clock.so" "/proc/$(pid_of "$part")/maps" || die "$part runs by the system's clock"
    fi
    set_clock "$part" "$2"
}
set_clock() { folder "$1"; touch -d "@$(($2))" "$real/$1/clock"; }
