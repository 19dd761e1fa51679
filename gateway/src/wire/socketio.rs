//! Socket.IO v5 packets: `<type>[<namespace>,][<ack>]<json>`, split by hand.
//!
//! One namespace, `/`; no binary attachments. A client that joins another namespace is refused,
//! and its events there are ignored.

use std::borrow::Cow;
use std::fmt;

use protocol::ids::SocketId;
use protocol::{CloseCode, Reject, Tag};
use serde::Deserialize;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::said::{Misread, Said, read_object};
use crate::transport::packet::Packets;

const UNREADABLE: Misread = Misread::Close(CloseCode::ProtocolError);

#[derive(Deserialize)]
struct Auth<'a> {
    #[serde(borrow, default)]
    token: Option<Cow<'a, str>>,
}

/// Reads the content of an Engine.IO message.
pub(super) fn read(packet: &str) -> Result<Said<'_>, Misread> {
    let mut chars = packet.chars();
    let kind = chars.next();
    let (namespace, rest) = split_namespace(chars.as_str());
    match kind {
        Some('0') if namespace == "/" => auth(rest),
        Some('0') => Ok(Said::Asked(no_such_namespace(namespace))),
        Some('1') if namespace == "/" => Ok(Said::Goodbye),
        Some('2') if namespace == "/" => event(rest),
        // What is said in a namespace nobody joined; and we await no acknowledgements.
        Some('1' | '2' | '3') => Ok(Said::Nothing),
        // Binary events and their acknowledgements: this endpoint takes text.
        Some('5' | '6') => Err(Misread::Close(CloseCode::Unsupported)),
        // `4` is the server's word.
        _ => Err(UNREADABLE),
    }
}

fn split_namespace(rest: &str) -> (&str, &str) {
    if !rest.starts_with('/') {
        return ("/", rest);
    }
    let (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
    // A query behind the namespace is of old clients, and means nothing.
    (namespace.split('?').next().unwrap_or(namespace), rest)
}

fn auth(json: &str) -> Result<Said<'_>, Misread> {
    if matches!(json, "" | "null") {
        return Ok(Said::Auth(None));
    }
    let auth: Auth<'_> = read_object(json).ok_or(UNREADABLE)?;
    Ok(Said::Auth(auth.token))
}

fn event(rest: &str) -> Result<Said<'_>, Misread> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (ack, json) = rest.split_at(digits);
    let tag = match ack {
        "" => None,
        ack => Some(Tag::Ack(ack.parse().map_err(|_| UNREADABLE)?)),
    };
    let Arguments { name, data } =
        serde_json::from_str(json).map_err(|_| Misread::Reject(Reject::Malformed))?;
    Ok(Said::Event { name, data, tag })
}

/// `["event", data, …]`. What follows the data is ignored, as the original's handlers do.
struct Arguments<'a> {
    name: Cow<'a, str>,
    data: &'a str,
}

impl<'de: 'a, 'a> Deserialize<'de> for Arguments<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Arguments<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event's name and its data")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let Lent(name) =
                    seq.next_element()?.ok_or_else(|| serde::de::Error::invalid_length(0, &self))?;
                let data = seq.next_element::<&RawValue>()?.map_or("null", RawValue::get);
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Arguments { name, data })
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

/// A text that is borrowed unless it has escapes (`Cow` alone always copies).
#[derive(Deserialize)]
#[serde(transparent)]
struct Lent<'a>(#[serde(borrow)] Cow<'a, str>);

/// The answer to a CONNECT that is accepted.
pub(super) fn connected(socket: SocketId) -> Packets {
    Packets::of([&format!(r#"40{{"sid":"{socket}"}}"#)])
}

/// The answer to a refused CONNECT; the sentences are the original's.
pub(super) fn refused(token_given: bool) -> Packets {
    Packets::of([if token_given {
        r#"44{"message":"Invalid token"}"#
    } else {
        r#"44{"message":"Authentication token is missing"}"#
    }])
}

/// A packet with one event.
pub(super) fn event_packet(event: &str, data: &str) -> Packets {
    Packets::of(["42[\"", event, "\",", data, "]"])
}

/// An acknowledgement.
pub(super) fn acknowledged(ack: u64, data: &str) -> Packets {
    Packets::of(["43", &ack.to_string(), "[", data, "]"])
}

fn no_such_namespace(namespace: &str) -> Packets {
    Packets::of(["44", namespace, r#",{"message":"Invalid namespace"}"#])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event<'a>(name: &'a str, data: &'a str, ack: Option<u64>) -> Result<Said<'a>, Misread> {
        Ok(Said::Event { name: name.into(), data, tag: ack.map(Tag::Ack) })
    }

    #[track_caller]
    fn check(packet: &str, expect: Result<Said<'_>, Misread>) {
        assert_eq!(read(packet), expect, "{packet}");
    }

    #[test]
    fn events_are_split_by_hand_and_checked() {
        check(r#"2["typing",{"otherId":7}]"#, event("typing", r#"{"otherId":7}"#, None));
        check(r#"212["a",[1,"]"]]"#, event("a", r#"[1,"]"]"#, Some(12)));
        check(r#"2/,["a"]"#, event("a", "null", None));
        check(r#"2/,7["a", 1 ,{"ignored":true}]"#, event("a", "1", Some(7)));
        check(r#"2["a\u0062",""]"#, event("ab", "\"\"", None));
        check(r#"2/admin,["a"]"#, Ok(Said::Nothing));
        check("31[]", Ok(Said::Nothing));
        check("1", Ok(Said::Goodbye));
        check("1/admin,", Ok(Said::Nothing));
        assert!(matches!(read(r#"2["plain",1]"#), Ok(Said::Event { name: Cow::Borrowed(_), .. })));
    }

    #[test]
    fn connect_carries_the_token() {
        check(r#"0{"token":"t"}"#, Ok(Said::Auth(Some("t".into()))));
        check(r#"0/,{"token":"t","more":1}"#, Ok(Said::Auth(Some("t".into()))));
        for none in ["0", "0{}", "0null", "0/,", "0/?a=1,"] {
            check(none, Ok(Said::Auth(None)));
        }
        let answer = Packets::of([r#"44/admin,{"message":"Invalid namespace"}"#]);
        check("0/admin,{}", Ok(Said::Asked(answer)));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in ["", "4{}", "7", "9", "é", "0[]", "0{", "0{\"token\":7}", "299999999999999999999[]"] {
            check(bad, Err(UNREADABLE));
        }
        for bad in ["2", "2[", "2[]", "2{}", "2[7]", "2[\"a\"", "2[\"a\",]", "2[\"a\"]x", "2é", "2-1[\"a\"]"]
        {
            check(bad, Err(Misread::Reject(Reject::Malformed)));
        }
        for binary in [r#"51-["a",{"_placeholder":true,"num":0}]"#, "61-[]"] {
            check(binary, Err(Misread::Close(CloseCode::Unsupported)));
        }
        check(&format!("2{}", "[".repeat(60_000)), Err(Misread::Reject(Reject::Malformed)));
    }
}
