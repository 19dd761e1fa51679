# A part is one process with what it started: started, asked, ended. Its name is its kind, with a
# number where there are several (postgres, redis3). The file of a kind defines start_KIND and
# ready_KIND (a real question, 0 when the answer is good), and says below what is its own.
# Whoever reads this file has say, die, dir, and the names of all parts in `parts`.
declare -A patience=() # KIND: seconds until it has to be ready
declare -A user=()     # KIND: who runs it when root started it; else the user named like it
declare -A goodbye=()  # KIND: the polite signal, if it is not TERM

kind_of() { echo "${1%%[0-9]*}"; }
user_of() { # who runs a part: never root
    [ "$(id -u)" = 0 ] || { id -un; return; }
    local kind name; kind=$(kind_of "$1"); name=${user[$kind]:-$kind}
    id -u "$name" >/dev/null 2>&1 && echo "$name" || echo nobody
}
as() { # as USER COMMAND...
    local name=$1; shift; [ "$(id -u)" = 0 ] || { "$@"; return; }
    setpriv --reuid="$name" --regid="$(id -g "$name")" --clear-groups -- env HOME=/nonexistent "$@"
}
folder() { mkdir -p "$real/$1"; chmod 700 "$real/$1"; [ "$(id -u)" != 0 ] || chown -R "$(user_of "$1")" "$real/$1"; }

pid_of() { # prints the pid of a part that runs
    local pid; pid=$(cat "$dir/$1.pid" 2>/dev/null) && [ -n "$pid" ] && [ -e "/proc/$pid" ] &&
        grep -qzF "$real" "/proc/$pid/cmdline" "/proc/$pid/environ" 2>/dev/null && echo "$pid"
}
# launch PART COMMAND...: in a session of its own, as its user, in its folder. What it has of its own
# in its environment is in PART.env.
launch() {
    local part=$1 name own=(); name=$(user_of "$1"); shift
    [ ! -e "$dir/$part.env" ] || mapfile -t own <"$dir/$part.env"
    local drop=(); [ "$(id -u)" = 0 ] && drop=(setpriv "--reuid=$name" "--regid=$(id -g "$name")" --clear-groups --)
    (cd "$real/$part" && exec setsid "${drop[@]}" env "HOME=$real/$part" "${own[@]}" "$@" </dev/null >>"$real/$part.log" 2>&1 3>&- 9>&-) &
    echo $! >"$dir/$part.pid"
}
more_descriptors() { # for parts that hold sockets: as many as the system gives
    ulimit -n 262144 2>/dev/null || ulimit -n "$(ulimit -Hn)"
}

# ask PORT PATH [HEADER]: the body of an answer over HTTP; fails unless its status is 200.
ask() {
    timeout 2 bash -c '
        exec 3<>"/dev/tcp/127.0.0.1/$0" || exit
        printf "GET %s HTTP/1.0\r\nHost: localhost\r\n%s\r\n" "$1" "${2:+$2$'\''\r\n'\''}" >&3
        read -r _ status _ <&3; cat <&3 | tr -d "\r" | sed "1,/^\$/d"; [ "$status" = 200 ]' "$@" 2>/dev/null
}
# Whether the process that was launched as PART still exists. (pid_of also asks who it is, and
# while a process replaces itself by the next of its chain, the system cannot say.)
exists() { local pid; pid=$(cat "$dir/$1.pid") && [ -e "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null; }
# until_true SECONDS WHAT PART COMMAND...: waits, gives up early when the process is gone.
until_true() {
    local end=$((SECONDS + $1)) what=$2 part=$3; shift 3
    until "$@" >/dev/null 2>&1; do
        exists "$part" || { tail -20 "$dir/$part.log" >&2; die "$what ended while starting (log above)"; }
        [ $SECONDS -lt $end ] || { tail -20 "$dir/$part.log" >&2; die "$what is not ready after its time"; }
        sleep 0.1
    done
}

# tree PID: it and everything that came of it, also what made itself a session of its own, as PostgreSQL's backends do.
tree() {
    { cat /proc/[0-9]*/status 2>/dev/null || true; } | awk -v of="$1" '
        /^Pid:/ { pid = $2 } /^PPid:/ { parent[pid] = $2 }
        END {
            known[of]
            do { more = 0; for (pid in parent) if (!(pid in known) && parent[pid] in known) { known[pid]; more = 1 } } while (more)
            for (pid in known) print pid
        }'
}
signal_tree() { # signal_tree SIGNAL PART
    local pid; pid=$(pid_of "$2") || die "$2 does not run"
    # Its parent first: whoever stands still has no more children.
    kill "-$1" -- "-$pid" 2>/dev/null || kill "-$1" "$pid"
    kill "-$1" $(tree "$pid") 2>/dev/null || true # who has ended meanwhile needs no signal
}

is_part() { [[ " ${parts[*]} " == *" $1 "* ]]; }
start_part() { pid_of "$1" >/dev/null || "start_$(kind_of "$1")" "$1"; }
is_ready() { "ready_$(kind_of "$1")" "$1"; }
wait_part() { local kind; kind=$(kind_of "$1"); until_true "${patience[$kind]}" "$1" "$1" "ready_$kind" "$1"; }
end_part() { # end_part SIGNAL PART: waits until the process is gone
    local pid end; pid=$(pid_of "$2") || return 0
    # Killed is killed with everything it started: nginx's workers would go on without a master.
    if [ "$1" = KILL ]; then kill -KILL -- "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || true
    else kill "-$1" "$pid" 2>/dev/null || true; fi
    end=$((SECONDS + 30))
    while [ -e "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null; do
        [ $SECONDS -lt $end ] || kill -9 -- "-$pid" 2>/dev/null || kill -9 "$pid" 2>/dev/null || true
        sleep 0.05
    done
    rm -f "$dir/$2.pid"
}
stop_part() { local kind; kind=$(kind_of "$1"); end_part "${goodbye[$kind]:-TERM}" "$1"; }
stop_parts() { local part; for part in "$@"; do stop_part "$part" & done; wait; }

one_part() { # one_part stop|start|kill|freeze|thaw PART; prints which part it was
    local part=$2; [ "$part" != redis-primary ] || part=$(redis_primary) || die "no Redis primary with a replica answers"
    is_part "$part" || { usage >&2; exit 64; }
    case $1 in
        stop) stop_part "$part" ;;
        kill) end_part KILL "$part" ;;
        freeze) signal_tree STOP "$part" ;;
        thaw) signal_tree CONT "$part" ;;
        start) start_part "$part"; wait_part "$part" ;;
    esac
    echo "$part"
}
# One line per part: up or down, where, and whether it gives a good answer.
status() {
    local part pid fine=0 words admin
    for part in "${parts[@]}"; do
        pid=$(pid_of "$part") || { printf '%-11s down\n' "$part"; fine=1; continue; }
        words=$(is_ready "$part" 2>/dev/null) && words=ready || { words="not ready${words:+: $words}"; fine=1; }
        admin=$(port_of "admin_$part")
        printf '%-11s up pid %-7s port %-6s%s %s\n' "$part" "$pid" "$(port_of "$part")" "${admin:+ admin $admin}" "$words"
    done
    return $fine
}
