//! A gateway is killed, and what the contacts of its users see of it.

use std::time::Duration;

use crate::support::person::Person;
use crate::support::{Cluster, WholePeers, now, pause};

#[test]
fn who_does_not_come_back_from_a_killed_gateway_is_offline_within_20_s_and_nobody_else() {
    let Some(_peers) = WholePeers::of_this_run() else { return };
    let mut cluster = Cluster::start("ghosts", 2, 2);
    let [here, there] = [cluster.gateways[0].port, cluster.gateways[1].port];
    let people = ["alice", "bob", "carol", "dave"].map(|name| Person::new(here, name));
    let [alice, bob, carol, dave] = &people;
    alice.creates_conversation_with(here, &[bob, carol, dave]);
    let mut watching = alice.opens_socket(here);
    let there_before = [bob, carol, dave].map(|person| person.opens_socket(there));
    let mut came: Vec<i64> =
        (0..3).map(|_| watching.hears("userOnline")["userId"].as_i64().unwrap()).collect();
    came.sort_unstable();
    assert_eq!(came, [bob.id, carol.id, dave.id]);

    // Carol has another device; dave comes back elsewhere.
    let _telephone = carol.opens_socket(here);
    let killed = now();
    cluster.gateways[1].kill();
    drop(there_before);
    pause(Duration::from_secs(3));
    let _back = dave.opens_socket(here);

    let gone = watching.hears("userOffline");
    let after = killed.elapsed();
    eprintln!("offline {after:?} after the kill");
    assert_eq!(gone["userId"], bob.id);
    assert!(after < Duration::from_secs(20), "{after:?}");
    assert!(after > Duration::from_secs(10), "{after:?}: there is a grace");
    // What would come by mistake would be here by then.
    pause(Duration::from_secs(20).saturating_sub(killed.elapsed()) + Duration::from_secs(1));
    watching.says("getOnlineUsers", &serde_json::json!({}));
    loop {
        let event = watching.next();
        let name = event["event"].as_str().unwrap();
        assert!(name != "userOffline" && name != "userOnline", "{event}");
        if name == "onlineUsers" {
            let mut online = vec![carol.id, dave.id];
            online.sort_unstable();
            assert_eq!(event["data"]["users"], serde_json::json!(online));
            break;
        }
    }
    assert_eq!(cluster.of_workers("worker_reaped_nodes_total"), 1.0, "one worker cleared the dead node");
}
