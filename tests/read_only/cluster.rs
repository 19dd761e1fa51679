//! nginx in front: what reaches a gateway and what does not, and that a gateway may leave.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::nginx::{Change, Echo, Nginx, Rendered, read_head};
use crate::support::person::{Person, Socket};
use crate::support::{Cluster, WholePeers, until};
use common::limits::HTTP_BODY_BYTES_MAX;
use serde_json::{Value, json};
use swarm::options::Options;
use swarm::run::run_watched;

const SOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const YES: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const UPGRADED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Asks, with further header lines, and gives the status, the head and the stream with the rest.
fn ask(port: u16, request: &str, headers: &str, body: &str) -> (u16, String, TcpStream) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: chat.test\r\n{headers}\r\n{body}").unwrap();
    let head = read_head(&mut stream);
    let status = head.split(' ').nth(1).unwrap_or_else(|| panic!("{request}: no answer"));
    (status.parse().unwrap(), head, stream)
}

/// The same for a request with a whole answer: status and body.
fn read(port: u16, request: &str, headers: &str, body: &str) -> (u16, String) {
    let (status, head, mut stream) = ask(port, request, headers, body);
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    let mut answer = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut answer).unwrap();
    (status, String::from_utf8(answer).unwrap())
}

fn is_refusal(status: u16, body: &str) -> bool {
    serde_json::from_str::<Value>(body).is_ok_and(|body| body["statusCode"] == status)
}

#[test]
fn nginx_likes_every_form_of_its_configuration() {
    let Some(plain) = Rendered::new(&[1, 2, 3], false, &[]) else { return };
    assert_eq!(plain.test(), Ok(()));
    let tls = Rendered::new(&[1], true, &[]).unwrap();
    tls.certify();
    assert_eq!(tls.test(), Ok(()));
    // What compose mounts; its names mean nothing here.
    let compose = Rendered::new(&[1], false, &[]).unwrap();
    compose.take_as_they_are(&["nginx.conf", "listen.conf", "upstreams.conf", "machine.conf"]);
    for number in ["1", "2"] {
        compose.change(("upstreams.conf", &format!("gateway{number}:8080"), &format!("127.0.0.1:{number}")));
    }
    compose.change(("machine.conf", "/var/log/nginx/", ""));
    assert_eq!(compose.test(), Ok(()));
}

#[test]
fn a_request_is_repeated_only_where_that_does_no_harm() {
    let hangs_up = [Echo::answering(""), Echo::answering("")];
    let Some(nginx) = Nginx::in_front_of(&hangs_up.each_ref().map(|echo| echo.port), &[]) else { return };
    let check = |request: &str, asked: usize| {
        let (status, body) = read(nginx.port, request, "Content-Length: 2\r\n", "{}");
        assert_eq!(status, 502, "{request}");
        assert!(is_refusal(502, &body), "{request}: {body}");
        let heads = hangs_up.each_ref().map(Echo::heads).concat();
        assert_eq!(heads.len(), asked, "{request}: {heads:?}");
    };
    // Five times: no failure makes nginx give a gateway up.
    (0..5).for_each(|_| check("GET /conversations", 2));
    check("POST /conversations/create", 1);
    check("PATCH /users/me", 1);
}

#[test]
fn an_upgrade_that_a_leaving_gateway_refuses_goes_to_the_next() {
    let (leaving, staying) = (Echo::answering(BUSY), Echo::answering(UPGRADED));
    let Some(nginx) = Nginx::in_front_of(&[leaving.port, staying.port], &[]) else { return };
    let paths = ["/ws", "/socket.io/?EIO=4&transport=websocket"];
    let sockets = [paths, paths].concat().into_iter().map(|path| {
        let (status, _, stream) = ask(nginx.port, &format!("GET {path}"), SOCKET, "");
        assert_eq!(status, 101, "{path}");
        stream
    });
    let _open: Vec<_> = sockets.collect();
    assert!(!leaving.heads().is_empty(), "the one with the fewest sockets is asked first");
    let heads = staying.heads();
    assert_eq!(heads.len(), 4);
    let says = |head: &String| head.contains("Upgrade: websocket") && head.contains("Connection: upgrade");
    assert!(heads.iter().all(says), "{heads:?}");
}

#[test]
fn a_503_of_rest_is_an_answer() {
    let echoes = [Echo::answering(BUSY), Echo::answering(BUSY)];
    let Some(nginx) = Nginx::in_front_of(&echoes.each_ref().map(|echo| echo.port), &[]) else { return };
    assert_eq!(read(nginx.port, "GET /users/me", "", "").0, 503);
    assert_eq!(echoes.each_ref().map(Echo::heads).concat().len(), 1);
}

#[test]
fn what_is_private_or_too_large_stops_at_nginx() {
    let echo = Echo::answering(YES);
    let Some(nginx) = Nginx::in_front_of(&[echo.port], &[]) else { return };
    let length = |bytes: usize| format!("Content-Length: {bytes}\r\n");
    let check = |request: &str, headers: &str, body: &str, wanted: u16, reaches: bool| {
        let (status, answer) = read(nginx.port, request, headers, body);
        assert_eq!(status, wanted, "{request} {headers}: {answer}");
        assert!(status == 200 || is_refusal(status, &answer), "{request}: {answer}");
        assert_eq!(echo.heads().len(), usize::from(reaches), "{request} {headers}");
    };
    let largest = "x".repeat(HTTP_BODY_BYTES_MAX);
    check("POST /chat/messages", &length(largest.len()), &largest, 200, true);
    check("POST /chat/messages", &length(largest.len() + 1), "", 413, false);
    check("POST /auth/login", &length(9_000_000), "", 413, false);
    check("GET /metrics", "", "", 404, false);
    check("GET //metrics?a=b", "", "", 404, false);
    check("GET /x/../%6detrics", "", "", 404, false);
    // nginx's own state is on a port of its own: here these are paths like any other.
    check("GET /nginx", "", "", 200, true);
    check("GET /readyz", "", "", 200, true);
}

#[test]
fn the_client_is_who_the_last_foreign_address_says() {
    let echo = Echo::answering(YES);
    let Some(nginx) = Nginx::in_front_of(&[echo.port], &[]) else { return };
    let check = |forwarded: &str, seen: &str| {
        let headers = format!("X-Forwarded-For: {forwarded}\r\n");
        assert_eq!(read(nginx.port, "GET /users/me", &headers, "").0, 200);
        let heads = echo.heads();
        let lines: Vec<_> = heads[0].lines().filter(|line| line.starts_with("X-Forwarded-For")).collect();
        assert_eq!(lines, [format!("X-Forwarded-For: {seen}")], "{forwarded}");
    };
    check("203.0.113.9", "203.0.113.9");
    check("6.6.6.6, 203.0.113.9", "203.0.113.9");
    check("6.6.6.6, 203.0.113.9, 127.0.0.7", "203.0.113.9");
    check("127.0.0.1, 203.0.113.9", "203.0.113.9");
    check("2001:db8::9", "2001:db8::9");
    check("nonsense", "127.0.0.1");
}

#[test]
fn one_address_may_ask_for_so_much() {
    const SMALL: [Change; 6] = [
        ("sockets.conf", "limit_conn sockets 10000;", "limit_conn sockets 2;"),
        ("sockets.conf", "burst=3000", "burst=3"),
        ("chatchit.conf", "burst=200 ", "burst=1 "),
        ("chatchit.conf", "burst=1500", "burst=4"),
        ("chatchit.conf", "rate=20r/s", "rate=1r/m"),
        ("chatchit.conf", "00r/s", "r/m"),
    ];
    let echo = Echo::answering(UPGRADED);
    let Some(nginx) = Nginx::with_limits(&[echo.port], &SMALL) else { return };
    let for_load = Nginx::in_front_of(&[echo.port], &SMALL).unwrap();
    let mut held = vec![];
    let mut check_at = |port: u16, address: &str, request: &str, allowed: usize| {
        for number in 1..=6 {
            let headers = format!("X-Forwarded-For: {address}\r\n{SOCKET}");
            let (status, _, mut stream) = ask(port, request, &headers, "");
            assert_eq!(status == 101, number <= allowed, "{address} {request} {number}: {status}");
            if status == 101 {
                held.push(stream);
                continue;
            }
            let mut body = [0; 128];
            let length = stream.read(&mut body).unwrap();
            assert!(
                is_refusal(429, str::from_utf8(&body[..length]).unwrap()),
                "{address} {request}: {status}"
            );
        }
    };
    let mut check =
        |address: &str, request: &str, allowed: usize| check_at(nginx.port, address, request, allowed);
    check("203.0.113.1", "GET /ws", 2); // sockets at once
    check("203.0.113.2", "GET /auth/login", 2); // one and the burst
    check("203.0.113.3", "GET /conversations", 5);
    check("2001:db8::1", "GET /socket.io/", 2);
    // Who comes through a TLS terminator on this machine that does not say for whom it asks is limited too.
    check("127.0.0.1", "GET /ws", 2);
    check("127.0.0.1", "GET /auth/login", 2);
    check_at(for_load.port, "127.0.0.1", "GET /ws", 6);
    check_at(for_load.port, "127.0.0.1", "GET /auth/login", 6);
    // Sockets that ended do not count: then the burst of upgrades is the bound.
    held.clear();
    let ended = || ask(nginx.port, "GET /ws", &format!("X-Forwarded-For: 203.0.113.4\r\n{SOCKET}"), "").0;
    let statuses: Vec<_> = (0..6).map(|_| ended()).collect();
    assert!(statuses.iter().filter(|status| **status == 101).count() <= 4, "{statuses:?}");
    assert_eq!(statuses[5], 429);
}

/// The addresses that the workers count registrations of: what reached them of who asked.
fn registering_addresses(prefix: &str) -> Vec<String> {
    let mut found = vec![];
    for node in std::env::var("REDIS_NODES").unwrap().split(',') {
        let mut stream = TcpStream::connect(node).unwrap();
        write!(stream, "KEYS {prefix}:rate:register.address.*\r\nQUIT\r\n").unwrap();
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        found.extend(lines.filter_map(|line| Some(line.split_once("register.address.")?.1.to_owned())));
    }
    found
}

#[test]
fn a_cluster_behind_nginx_is_one_server_whose_gateways_may_leave() {
    let Some(_peers) = WholePeers::of_this_run() else { return };
    let extra = [("TRUSTED_PROXIES", "127.0.0.0/8"), ("DRAIN_MS", "3000"), ("RECONNECTS_PER_S", "1")];
    let mut cluster = Cluster::start_with("nginx", 2, 1, &extra);
    let ports = [cluster.gateways[0].port, cluster.gateways[1].port];
    let Some(nginx) = Nginx::in_front_of(&ports, &[]) else { return };
    let port = nginx.port;

    // Two people, two gateways, one port.
    let (alice, bob) = (Person::new(port, "alice"), Person::new(port, "bob"));
    let conversation = alice.creates_conversation_with(port, &[&bob]);
    let (mut at_alice, mut at_bob) = (alice.opens_socket(port), bob.opens_socket(port));
    let open = |cluster: &Cluster, index: usize| cluster.gateways[index].counter("gateway_upgrades_total");
    assert_eq!((open(&cluster, 0), open(&cluster, 1)), (1.0, 1.0), "where the fewest are");
    let says = |socket: &mut Socket, guid: &str| {
        let data = json!({ "conversationId": conversation, "guid": guid, "content": "xin chào" });
        socket.says("sendMessage", &data);
    };
    says(&mut at_alice, "first");
    assert_eq!(at_bob.hears("messageComing")["guid"], "first");
    assert_eq!(alice.reads(port, conversation).len(), 1);

    // Both kinds of sockets, judged.
    let url = format!("http://127.0.0.1:{port}");
    let cache = format!("{}/swarm-nginx-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let words =
        format!("--senders 8 --conversations 8 --messages 400 --form both --url {url} --cache {cache}");
    let options = Options::read(words.split(' ').map(str::to_owned)).unwrap();
    let report = run_watched(&options, |_, _| {}).unwrap();
    assert!(report.is_clean, "{report}");

    // Who asks is seen by the worker, through both.
    let account = json!({
        "email": "carol@example.test", "password": "correct horse battery", "phone": "1",
        "firstName": "carol", "lastName": "Test",
    });
    let (account, prefix) = (account.to_string(), cluster.prefix());
    std::thread::scope(|scope| {
        let length = account.len();
        let headers = format!("X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\nContent-Length: {length}\r\n");
        let account = &account;
        scope.spawn(move || read(port, "POST /auth/register", &headers, account));
        until(Duration::from_secs(20), "the address is counted", || {
            registering_addresses(&prefix).contains(&"203.0.113.9".to_owned())
        });
    });

    // One gateway leaves: whoever comes meanwhile lands on the other, and notices nothing.
    cluster.gateways[0].begin_drain();
    let refused = "gateway_upgrades_refused_total";
    let mut more = vec![];
    until(Duration::from_secs(20), "it refused an upgrade", || {
        more.push(bob.opens_socket(port));
        cluster.gateways[0].metric(refused) > Some(0.0) || cluster.gateways[0].has_ended()
    });
    assert!(cluster.gateways[0].ends().success());
    more.extend((0..5).map(|_| bob.opens_socket(port)));
    assert_eq!(alice.reads(port, conversation).len(), 1, "REST goes on");
    let mut at_alice = alice.opens_socket(port);
    says(&mut at_alice, "second");
    assert_eq!(more[0].hears("messageComing")["guid"], "second");

    // And comes back: it has the fewest, so the next sockets are its own.
    cluster.gateways[0] = cluster.gateway(ports[0]);
    cluster.gateways[0].wait_until_ready();
    until(Duration::from_secs(20), "the new gateway gets sockets", || {
        more.push(bob.opens_socket(port));
        open(&cluster, 0) > 0.0
    });
}
