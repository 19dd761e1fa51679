# PostgreSQL, durable as in production: what is committed is on the disk.
# A standby is a streaming replica of it, made from a copy of its files.
patience[postgres]=30
patience[standby]=90 # after a kill it replays what came since its last checkpoint
user[standby]=postgres
goodbye[postgres]=INT # its "fast" shutdown: ends sessions instead of waiting for them
goodbye[standby]=INT

start_postgres() {
    local bin; bin=$(pg_bin)
    if [ ! -e "$real/postgres/data/PG_VERSION" ]; then
        folder postgres; rm -rf "$real/postgres/data"
        (umask 077; echo "$password" >"$real/postgres/pw"); folder postgres
        as "$(user_of postgres)" "$bin/initdb" -D "$real/postgres/data" -U chatchit --pwfile="$real/postgres/pw" \
            --auth=scram-sha-256 -E UTF8 --locale=C.UTF-8 --no-sync >"$real/postgres.log" 2>&1 || {
            tail -20 "$real/postgres.log" >&2; die "initdb failed (log above)"; }
    fi
    ended postgres
    # wal_keep_size: a standby that was down for a while finds what it missed.
    launch postgres "$bin/postgres" -D "$real/postgres/data" -p "$port_postgres" -h 127.0.0.1 -k '' \
        -c max_connections=200 -c fsync=on -c synchronous_commit=on -c shared_buffers=128MB \
        -c wal_keep_size=256MB -c log_min_messages=warning -c huge_pages=try -c max_wal_size=8GB -c checkpoint_timeout=15min
}
start_standby() {
    local bin; bin=$(pg_bin)
    if [ ! -e "$real/standby/data/standby.signal" ]; then
        folder standby; rm -rf "$real/standby/data"
        as "$(user_of standby)" env PGPASSWORD="$password" "$bin/pg_basebackup" -D "$real/standby/data" \
            -d "host=127.0.0.1 port=$port_postgres user=chatchit" --checkpoint=fast --no-sync --write-recovery-conf \
            >"$real/standby.log" 2>&1 || { tail -20 "$real/standby.log" >&2; die "pg_basebackup failed (log above)"; }
    fi
    ended standby
    launch standby "$bin/postgres" -D "$real/standby/data" -p "$port_standby" -h 127.0.0.1 -k '' \
        -c hot_standby=on -c max_connections=200 -c shared_buffers=32MB -c log_min_messages=fatal
}
# A server that was killed stands in the list of processes until its parent has taken note, and
# the next one would think that it still runs.
ended() {
    local old end=$((SECONDS + 5)); old=$(head -1 "$real/$1/data/postmaster.pid" 2>/dev/null) || return 0
    while [ -e "/proc/$old" ] && grep -q '^State:.Z' "/proc/$old/status" 2>/dev/null && [ $SECONDS -lt $end ]; do sleep 0.05; done
}
sql() { # sql STATEMENT [PART]
    as "$(user_of postgres)" env PGPASSWORD="$password" PGCONNECT_TIMEOUT=2 "$(pg_bin)/psql" -XqAt \
        -h 127.0.0.1 -p "$(port_of "${2:-postgres}")" -U chatchit -d postgres -c "$1"
}
# One session dies in the middle of its work, best of all of its commit: the server ends all sessions and recovers.
wound_postgres() {
    local pid= try
    for ((try = 0; try < 50; try++)); do
        pid=$(sql "select pid from pg_stat_activity where backend_type = 'client backend' and state <> 'idle'
            and pid <> pg_backend_pid() and (wait_event ilike 'wal%' or $try > 40) limit 1") || true
        [ -z "$pid" ] || { kill -KILL "$pid" 2>/dev/null && return; }
    done
    # Nobody works just now: one that waits for work.
    kill -KILL "$(sql "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() limit 1")"
}
ready_postgres() { sql 'select 1' >/dev/null; }
ready_standby() { sql 'select 1 / pg_is_in_recovery()::int' standby >/dev/null; }
create_database() {
    sql "select 1 from pg_database where datname = 'chatchit'" | grep -q 1 || sql 'create database chatchit'
}
database_url() { echo "postgres://chatchit:$password@127.0.0.1:$port_postgres/chatchit"; }
standby_url() { echo "postgres://chatchit:$password@127.0.0.1:$port_standby/chatchit"; }
