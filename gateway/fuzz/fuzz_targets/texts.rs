//! Texts of one form through a whole session: every line of the input is one frame.

use std::time::Duration;

use protocol::ids::{LoginId, NodeId, SocketId, UserId};
use protocol::{Account, Reject, Role, Timestamp};
use gateway::socket::session::{Action, Now, Session, SessionLimits, Turn};
use gateway::wire::Form;
use gateway::transport::frame::Frame;

pub fn talk(form: Form, input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let account = Account { user: UserId(7), login: LoginId(1), role: Role::User, expires_s: i64::MAX };
    let verify = |token: &str, _: Timestamp| match token {
        "good" => Ok(account.clone()),
        _ => Err(Reject::Unauthorized),
    };
    let limits = SessionLimits::default();
    let events = protocol::events::Events::default();
    let socket = SocketId { node: NodeId(1), serial: 2 };
    let now = |ms| Now { up: Duration::from_millis(ms), wall: Timestamp(ms as i64) };
    let mut session = Session::new(form, socket, None, now(0));
    let mut out = Vec::new();
    let join = match form {
        Form::Native => r#"{"event":"auth","data":{"token":"good"}}"#,
        Form::SocketIo => r#"40{"token":"good"}"#,
    };
    // Some inputs are said before the socket has joined.
    let join = (!text.starts_with('!')).then_some(join);
    for (ms, line) in (0..).step_by(100).zip(join.into_iter().chain(text.split('\n'))) {
        let turn = Turn { now: now(ms), limits: &limits, events: &events, verify: &verify };
        session.on_frame(Frame::Text(line), &turn, &mut out);
        assert!(out.len() <= 4, "one frame, {} actions", out.len());
        for action in out.drain(..) {
            match action {
                Action::Close(_) | Action::End(_) => return,
                Action::Send(packets) => {
                    assert!(packets.into_frames().len() < 2 * line.len() + 1_000, "an amplifier");
                }
                Action::Ping | Action::Pong(_) => {}
                Action::Accept(_)
                | Action::Publish { .. }
                | Action::Ask { .. }
                | Action::Beat(_)
                | Action::Count(_) => {}
            }
        }
    }
}
