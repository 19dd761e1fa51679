//! `bench hold` in its smallest size: many sockets are held without the broker's notice. `make hold` does it at full size.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Command;

#[test]
fn the_broker_does_not_notice_sockets() {
    let Some(_) = testing::variable("AMQP_URL") else { return };
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).args(["hold", "300", "3"]).output().unwrap();
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    // Its exit code says that none was lost, every message arrived, and nothing was declared.
    assert!(output.status.success(), "{table}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(table.contains("declares; with all sockets: the same"), "{table}");
}
