//! The stock Socket.IO client from npm against two gateways and a worker on the real peers.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::person::Person;
use crate::support::{Cluster, WholePeers};
use serde_json::json;

/// The folder with `socket.io-client`, installed from the lock file once per target folder.
fn installed() -> Option<PathBuf> {
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let is_here = has("node") && has("npm");
    if testing::is_left_out(
        is_here,
        "node and npm are not on this machine (`deploy/need node` installs them)",
    ) {
        return None;
    }
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/socketio");
    let to = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("socketio");
    std::fs::create_dir_all(&to).unwrap();
    let is_same = ["package.json", "package-lock.json"].map(|name| {
        let (wanted, there) = (std::fs::read(from.join(name)).unwrap(), std::fs::read(to.join(name)).ok());
        std::fs::write(to.join(name), &wanted).unwrap();
        there == Some(wanted)
    });
    std::fs::copy(from.join("two_people.js"), to.join("two_people.js")).unwrap();
    if is_same != [true, true] || !to.join("node_modules/socket.io-client").exists() {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&to);
        let output = npm.output().unwrap();
        assert!(output.status.success(), "npm ci: {}", String::from_utf8_lossy(&output.stderr));
    }
    Some(to)
}

#[test]
fn a_stock_client_talks_to_another_one_and_to_a_native_socket_elsewhere() {
    let Some(_peers) = WholePeers::of_this_run() else { return };
    let Some(folder) = installed() else { return };
    let cluster = Cluster::start("socketio", 2, 1);
    let [here, elsewhere] = [cluster.gateways[0].port, cluster.gateways[1].port];
    let (alice, bob) = (Person::new(here, "alice"), Person::new(elsewhere, "bob"));
    let conversation = alice.creates_conversation_with(here, &[&bob]);
    let mut native = bob.opens_socket(elsewhere);

    let input = json!({
        "url": format!("http://127.0.0.1:{here}"), "conversation": conversation,
        "alice": alice.token, "bob": bob.token, "guid": "from-socket-io",
    });
    let output =
        Command::new("node").arg("two_people.js").arg(input.to_string()).current_dir(&folder).output();
    let output = output.unwrap();
    let words =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    eprintln!("{words}");

    let coming = native.hears("messageComing");
    assert_eq!((&coming["guid"], &coming["content"]), (&json!("from-socket-io"), &json!("xin chào")));
    assert_eq!((&coming["seq"], &coming["user"]["firstName"]), (&json!(1), &json!("alice")));

    // And the other way: what a native socket says, the history shows to everybody.
    native.says("sendMessage", &json!({ "conversationId": conversation, "guid": "g", "content": "chào" }));
    assert_eq!(native.hears("messageProcessed")["seq"], 2);
    assert_eq!(alice.reads(here, conversation).len(), 2);
}
