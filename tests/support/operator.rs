//! The operator's tool, run as a person would.

use std::process::{Command, Stdio};

use common::bus::{Bus, BusConfig, Envelope, Fate, LaneEnvelope, QueueKind, Subject};
use protocol::events::message::SendMessage;
use protocol::ids::{NodeId, UserId};
use protocol::{Lane, Sender, Timestamp, Uplink, encode};
use serde_json::Value;

/// The tool, with the environment of one system.
pub struct Tool {
    pub prefix: String,
}

/// How a command ended and what it said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|err| panic!("{err}: {}{}", self.out, self.err))
    }
}

impl Tool {
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatchit"));
        command.args(line.split(' ')).env("CHATCHIT_PREFIX", &self.prefix).stdin(Stdio::null());
        command
    }

    pub fn runs(&self, line: &str) -> Said {
        finish(self.command(line))
    }

    /// The same with `--json`, which must be JSON.
    #[track_caller]
    pub fn json(&self, line: &str, code: i32) -> Value {
        self.runs(&format!("{line} --json")).ends_with(code).json()
    }
}

pub fn finish(mut command: Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// A chat message as a gateway puts it on its lane.
pub fn message(conversation: i64, user: i64, guid: &str, content: &str) -> Envelope {
    let data = serde_json::json!({ "conversationId": conversation, "guid": guid, "content": content });
    let from = Sender { user: UserId(user), socket: None };
    let body = encode(&Uplink::of::<SendMessage>(from, Timestamp::now(), &data.to_string()).unwrap());
    Envelope { subject: Subject::new("high.sendMessage").unwrap(), key: conversation.cast_unsigned(), body }
}

/// As a worker does after the last attempt.
pub fn set_aside(prefix: &str, envelopes: &[Envelope], reason: &str) {
    let url = std::env::var("AMQP_URL").unwrap();
    let config = BusConfig { url, prefix: prefix.into(), queues: QueueKind::Classic, ca_file: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bus = Bus::connect(config, NodeId::random()).await.unwrap();
        for envelope in envelopes {
            let failed = LaneEnvelope { envelope: envelope.clone(), attempt: 5 };
            assert_eq!(bus.retry(Lane::High, failed, reason).await, Ok(Fate::Quarantined));
        }
        bus.drain().await;
    });
}
