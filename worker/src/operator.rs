//! The operator's questions to this worker, on `control.programs`.

use std::future::Future;

use common::bus::{Envelope, LaneView};
use common::control::Ear;
use common::health::Readiness;
use common::lanes::share::share;
use common::lifecycle::Lifecycle;
use common::limits::LANE_SHARDS;
use common::recorder::Recorder;
use protocol::control::{HeldShard, Question, Reply};
use protocol::ids::NodeId;
use protocol::{self, Lane, Timestamp, Uplink};
use tokio::sync::watch;

/// The parts needed to answer.
pub(crate) struct Inspector {
    pub node: NodeId,
    /// The recorder of milestones.
    pub recorder: Recorder,
    /// The lanes as this worker's consumers hold them.
    pub views: Vec<LaneView>,
    /// The live workers.
    pub live: watch::Receiver<Vec<NodeId>>,
    pub readiness: Readiness,
    pub lifecycle: Lifecycle,
}

impl Inspector {
    /// Answers until the bus drains: also while this worker does.
    pub fn listen(self, ear: Ear) -> impl Future<Output = ()> + Send {
        let (readiness, lifecycle) = (self.readiness.clone(), self.lifecycle.clone());
        ear.listen(readiness, lifecycle, move |question| match question {
            Question::Roll => Some(Reply::Here { sockets: None, shards: Some(self.shards()) }),
            Question::Lanes => Some(Reply::Lanes(self.held())),
            Question::Trace(guid) => Some(self.recorder.said(*guid)),
            Question::Sockets(_) | Question::Kick { .. } | Question::Drain(_) => None,
        })
    }

    /// Its share of the ordered lanes; none when it leaves.
    fn shards(&self) -> u32 {
        if self.lifecycle.is_draining() {
            return 0;
        }
        let live = self.live.borrow().clone();
        let lanes = [Lane::High, Lane::Medium].into_iter();
        let shards = lanes.map(|lane| share(lane, LANE_SHARDS, &live, self.node).len());
        u32::try_from(shards.sum::<usize>()).unwrap_or(u32::MAX)
    }

    fn held(&self) -> Vec<HeldShard> {
        let of_lane = |view: &LaneView| {
            let lane = view.lane();
            let held = view.held().into_iter().map(move |held| {
                let oldest = held.oldest.as_ref().and_then(accepted);
                HeldShard { lane, shard: held.shard, unacked: held.unacked, oldest }
            });
            held.collect::<Vec<_>>()
        };
        self.views.iter().flat_map(of_lane).collect()
    }
}

/// The time when the gateway accepted an event.
fn accepted(envelope: &Envelope) -> Option<Timestamp> {
    protocol::decode::<Uplink>(&envelope.body).ok().map(|uplink| uplink.at)
}
