//! RabbitMQ's management API, for what it knows and nobody else.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use base64::Engine as _;
use serde_json::Value;

/// `GET /api/…`.
pub fn ask_broker(path: &str) -> Value {
    let url = std::env::var("RABBIT_MANAGEMENT_URL").unwrap();
    let (user, address) = url.strip_prefix("http://").unwrap().split_once('@').unwrap();
    let user = base64::engine::general_purpose::STANDARD.encode(user);
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /api/{path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Basic {user}\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{path}: {head}");
    serde_json::from_str(body).unwrap()
}
