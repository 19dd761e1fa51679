# What the machine has to have for each kind of part, and how it gets it from Debian's packages.
# Whoever reads this file has say and die.

first() { local path; for path in "$@"; do [ -x "$path" ] && echo "$path" && return; done; return 1; }
rabbit_server() { first /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server "$(command -v rabbitmq-server)"; }
pg_bin() { # the newest on the machine
    local newest; newest=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -1)
    dirname "$(first "$newest/initdb" "$(command -v initdb)")"
}
nginx_bin() { first /usr/sbin/nginx "$(command -v nginx)"; }
go_bin() { first "$(command -v go)" /usr/local/go/bin/go; }
k6_bin() { # k6/websockets is there since 1.6
    local path version
    for path in "$(type -P k6)" "$HOME/go/bin/k6"; do
        version=$("$path" version 2>/dev/null | sed -n 's/^k6[^ ]* v\([0-9.]*\).*/\1/p') && [ -n "$version" ] || continue
        [ "$(printf '%s\n' 1.6 "$version" | sort -V | head -1)" = 1.6 ] && echo "$path" && return
    done
    return 1
}

centrifugo_bin() { first "$(type -P centrifugo)" "$HOME/go/bin/centrifugo"; }

missing() { # missing KIND...: Debian's names of what is not here
    local kind; for kind in "$@"; do
        case $kind in
            postgres) [ -x "$(pg_bin 2>/dev/null)/initdb" ] || echo postgresql ;;
            rabbitmq) rabbit_server >/dev/null || echo rabbitmq-server ;;
            redis)
                command -v redis-server >/dev/null || echo redis-server
                command -v redis-cli >/dev/null || echo redis-tools ;;
            nginx) nginx_bin >/dev/null || echo nginx ;;
            # Peers of `make bench`.
            nats) command -v nats-server >/dev/null || echo nats-server ;;
            mosquitto) command -v mosquitto >/dev/null || echo mosquitto ;;
            nchan) [ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] || echo nginx libnginx-mod-nchan ;;
            perf) command -v perf >/dev/null || echo linux-perf ;;
            openssl | prometheus) command -v "$kind" >/dev/null || echo "$kind" ;;
            *) die "nobody knows how to get $kind" ;;
        esac
    done
}

may_install() { command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; }

install_missing() { # install_missing KIND...
    local wanted as_root=() policy=/usr/sbin/policy-rc.d; wanted=$(missing "$@")
    [ -n "$wanted" ] || return 0
    command -v apt-get >/dev/null || die "please install with your package manager:" $wanted
    may_install || die "please run: sudo apt-get install -y" $wanted
    [ "$(id -u)" = 0 ] || as_root=(sudo env)
    say "installing" $wanted
    # The distribution's own services must not start: Debian's policy hook says no meanwhile.
    if [ ! -e "$policy" ]; then
        trap "${as_root[*]} rm -f $policy" EXIT # now, while as_root is known
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod 755 "$policy"
    fi
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >/dev/null
    [ -z "$(missing "$@")" ] || die "still missing:" $(missing "$@")
}
