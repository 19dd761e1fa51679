//! A bare server with the crate socketioxide, like `socketio.mjs` beside it: checks an HS256 token
//! of the CONNECT packet, joins a room, answers `ping`, and emits numbered contents to the room
//! when told to.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use socketioxide::extract::{Data, SocketRef};
use socketioxide::handler::ConnectHandler as _;
use socketioxide::{SocketIo, TransportType};

#[derive(Deserialize)]
struct Auth {
    token: String,
}

/// Decoded, as the scripts decode it, and not used.
#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "id")]
    _id: i64,
}

#[derive(Deserialize)]
struct FanOut {
    first: u64,
    times: u64,
    bytes: usize,
}

#[derive(Serialize)]
struct Message {
    content: String,
}

#[derive(Serialize)]
struct Nothing {}

async fn fan_out(State(io): State<SocketIo>, Query(what): Query<FanOut>) -> &'static str {
    for number in what.first..what.first + what.times {
        let content = format!("{:.<width$}", format!("~{number:08}"), width = what.bytes);
        // A socket that is too slow for its buffer is the receiver's to notice: numbers are missing.
        let _ = io.to("all").emit("messageComing", &Message { content }).await;
    }
    "ok"
}

async fn connected(socket: SocketRef) {
    socket.join("all");
    socket.on("ping", async |socket: SocketRef| {
        let _ = socket.emit("pong", &Nothing {});
    });
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = std::env::var("SECRET")?;
    let key = Arc::new(DecodingKey::from_secret(secret.as_bytes()));
    let validation = Arc::new(Validation::new(Algorithm::HS256));
    // A burst of the bench fits into the buffer of a socket.
    let builder = SocketIo::builder().transports([TransportType::Websocket]).max_buffer_size(1_024);
    let (layer, io) = builder.build_layer();
    let authenticate = move |Data(auth): Data<Auth>| {
        let (key, validation) = (key.clone(), validation.clone());
        async move { jsonwebtoken::decode::<Claims>(&auth.token, &key, &validation).map(drop) }
    };
    io.ns("/", connected.with(authenticate));
    let app = Router::new().route("/fan-out", get(fan_out)).layer(layer).with_state(io);
    let port: u16 = std::env::var("PORT")?.parse()?;
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    // As many as the others: the herd connects all at once.
    let listener = socket.listen(4_096)?;
    use axum::serve::ListenerExt as _;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, app).await?;
    Ok(())
}
