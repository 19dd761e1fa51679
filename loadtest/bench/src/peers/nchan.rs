//! nginx with nchan, as one process: a worker would outlive a master that is killed. It knows no users: it compares a fixed secret.

use std::path::Path;
use std::process::Command;

use super::http::Line;
use super::{Publisher, first_line};
use crate::cluster::Places;
use crate::dialect::{Dialect, PASSWORD, ROOM};
use crate::herd::content;
use crate::process::{Started, free_port};

/// The path of nginx on Debian; the module's path follows.
const NGINX: &str = "/usr/sbin/nginx";
const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// The version of nginx; None: nginx or nchan is not installed.
pub fn version() -> Option<String> {
    Path::new(MODULE).exists().then(|| first_line(NGINX, &["-v"])).flatten()
}

/// Starts it.
///
/// # Errors
/// It does not start.
pub async fn start(places: &Places) -> anyhow::Result<(Started, Publisher)> {
    let port = free_port()?;
    let folder = places.logs.join("nchan");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("nginx.conf"), config(port))?;
    let mut command = Command::new(NGINX);
    command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(&folder);
    let started = Started::listening_on("nchan", command, &places.logs, port).await?;
    let line = Line::connect(&started.address).await?;
    Ok((started, Publisher::Nchan(line)))
}

/// Publishes to the room: a POST for each, sent together.
///
/// # Errors
/// It is not taken.
pub async fn publish(line: &mut Line, first: u64, times: usize, bytes: usize) -> anyhow::Result<()> {
    let bodies: Vec<String> = (first..first + times as u64).map(|number| content(number, bytes)).collect();
    line.ask("POST", "/publish", "", &bodies).await.map(drop)
}

fn config(port: u16) -> String {
    let subscribe = Dialect::Plain.path();
    format!(
        "load_module {MODULE};
user root;
daemon off;
master_process off;
worker_rlimit_nofile 20000;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 18500; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    tcp_nodelay on;
    keepalive_requests 1000000;
    keepalive_timeout 3600s;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /publish {{
            nchan_publisher http;
            nchan_channel_id {ROOM};
            nchan_message_buffer_length 20;
        }}
        location = {subscribe} {{
            if ($http_authorization != \"Bearer {PASSWORD}\") {{ return 403; }}
            nchan_subscriber websocket;
            nchan_subscriber_first_message newest;
            nchan_channel_id {ROOM};
            nchan_websocket_ping_interval 25s;
        }}
    }}
}}
"
    )
}
