//! The operator's questions to this gateway, on `control.programs`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use common::control::Ear;
use common::lifecycle::Lifecycle;
use common::limits::CONTROL_SOCKETS_MAX;
use protocol::control::{Question, Reply, SocketView};
use protocol::ids::{LoginId, NodeId, SocketId, UserId};
use protocol::{CloseCode, Timestamp};
use tracing::info;

use crate::cluster::hub::Hub;
use crate::cluster::logins::Logins;
use crate::cluster::node::Node;
use crate::socket::slot::Slot;
use crate::wire::Form;

/// Answers the operator's questions until the bus drains, also while this gateway drains.
pub fn listen(node: Arc<Node>, ear: Ear, lifecycle: Lifecycle) -> impl Future<Output = ()> + Send {
    let readiness = node.readiness.clone();
    ear.listen(readiness, lifecycle, move |question| match *question {
        Question::Roll => Some(Reply::Here { sockets: Some(node.hub.count() as u64), shards: None }),
        Question::Sockets(user) => Some(sockets(&of_user(&node.hub, user), node.id, node.uptime())),
        Question::Kick { user, ended } => Some(kick(&node.hub, &node.logins, user, ended)),
        Question::Trace(guid) => Some(node.recorder.said(guid)),
        Question::Lanes | Question::Drain(_) => None,
    })
}

fn sockets(slots: &[Arc<Slot>], node: NodeId, up: Duration) -> Reply {
    let started_ms = Timestamp::now().0 - i64::try_from(up.as_millis()).unwrap_or(i64::MAX);
    let view = |slot: &Arc<Slot>| {
        let (_, login) = slot.who()?;
        let form = match slot.form {
            Form::Native => "native",
            Form::SocketIo => "socket.io",
        };
        let since = Timestamp(started_ms + 1_000 * i64::from(slot.since_s));
        Some(SocketView {
            socket: SocketId { node, serial: slot.serial },
            login,
            form: form.to_owned(),
            since,
        })
    };
    let total = u32::try_from(slots.len()).unwrap_or(u32::MAX);
    Reply::Sockets { sockets: slots.iter().filter_map(view).take(CONTROL_SOCKETS_MAX).collect(), total }
}

/// Closes the sockets of a user. Clients reconnect at once, except those whose login has ended.
fn kick(hub: &Hub, logins: &Logins, user: UserId, ended: Option<LoginId>) -> Reply {
    let slots = of_user(hub, user);
    if let Some(login) = ended {
        logins.end(user, login);
    }
    // The first reason counts.
    slots.iter().for_each(|slot| slot.ask_close(CloseCode::GoingAway));
    info!(user.id = %user, sockets = slots.len(), "The operator closes the sockets of a user");
    Reply::Closed(u32::try_from(slots.len()).unwrap_or(u32::MAX))
}

fn of_user(hub: &Hub, user: UserId) -> Vec<Arc<Slot>> {
    let mut slots = Vec::new();
    hub.of_user(user, &mut slots);
    slots.sort_by_key(|slot| slot.serial);
    slots
}
