//! A visitor of the broker: it sees and asks, and declares nothing.

use crate::support::bus as support;
use crate::support::bus::Rig;
use common::bus::Bus;
use common::control::{Asker, Ear};
use common::health::Readiness;
use common::lifecycle::Lifecycle;
use protocol::control::{Part, Question, Reply};
use protocol::ids::NodeId;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visitor_finds_what_is_there_and_leaves_nothing_behind() {
    let Some(Rig::Rabbit(config)) = Rig::rabbit() else { return };
    for _ in 0..2 {
        let refused = Bus::visit(config.clone(), NodeId(1)).await.err().unwrap();
        assert!(format!("{refused:#}").contains("CHATCHIT_PREFIX"), "{refused:#}");
    }

    let bus = Bus::connect(config.clone(), NodeId(2)).await.unwrap();
    let ear = Ear::open(&bus, NodeId(2), Part::Worker).await.unwrap();
    let answer = |question: &Question| match question {
        Question::Roll => Some(Reply::Here { sockets: None, shards: Some(16) }),
        _ => None,
    };
    let listening = tokio::spawn(ear.listen(Readiness::new("test", NodeId(1)), Lifecycle::manual(), answer));
    let visitor = Bus::visit(config, NodeId(3)).await.unwrap();
    assert_eq!(visitor.depths().await.unwrap().quarantine, 0);
    let mut asker = Asker::open(&visitor, NodeId(3)).await.unwrap();
    let wait = std::time::Duration::from_secs(10);
    let answers = asker.ask(Question::Roll, wait, |heard| !heard.is_empty()).await.unwrap();
    assert_eq!(answers[0].who.node, NodeId(2));
    visitor.drain().await;
    bus.drain().await;
    support::deadline(listening).await.unwrap();
}
