//! The native form: a text frame is `{"event": name, "data": {…}, "id"?: text or number}`.
//!
//! `id` is the client's number or name for this one event, returned on the answer. It does not identify
//! a message: clients count from 1 on every socket.
//! Fields beyond these are ignored, so that old gateways understand new clients.

use std::borrow::Cow;

use protocol::ids::Guid;
use protocol::{Reject, Tag};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::said::{Misread, Said, read_object};
use crate::transport::packet::Packets;

const MALFORMED: Misread = Misread::Reject(Reject::Malformed);

/// The event that carries a token.
const AUTH: &str = "auth";

#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Auth<'a> {
    #[serde(borrow, default)]
    token: Option<Cow<'a, str>>,
}

pub(super) fn read(text: &str) -> Result<Said<'_>, Misread> {
    let input: Input<'_> = read_object(text).ok_or(MALFORMED)?;
    let data = input.data.map_or("null", RawValue::get);
    if input.event == AUTH {
        let auth: Auth<'_> = read_object(data).ok_or(MALFORMED)?;
        return Ok(Said::Auth(auth.token));
    }
    let tag = match input.id.map(RawValue::get) {
        None | Some("null") => None,
        Some(json) => Some(read_id(json).ok_or(Misread::Reject(Reject::Invalid))?),
    };
    Ok(Said::Event { name: input.event, data, tag })
}

/// A frame with one event.
pub(super) fn event(event: &str, data: &str) -> Packets {
    Packets::of([r#"{"event":""#, event, r#"","data":"#, data, "}"])
}

/// A frame with the answer to the event that had this id.
pub(super) fn answer(event: &str, data: &str, id: &str) -> Packets {
    Packets::of([r#"{"event":""#, event, r#"","data":"#, data, r#","id":"#, id, "}"])
}

/// A number, or a text of 1 to 64 visible ASCII characters.
fn read_id(json: &str) -> Option<Tag> {
    Guid::new(&id_text(json)?).ok()?;
    Some(Tag::Id(json.into()))
}

/// The text of an id, or the digits of one that is a number.
fn id_text(json: &str) -> Option<Cow<'_, str>> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str(json).ok(),
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(json)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event<'a>(name: &'a str, data: &'a str, id: Option<&str>) -> Result<Said<'a>, Misread> {
        let tag = id.map(|id| Tag::Id(id.into()));
        Ok(Said::Event { name: name.into(), data, tag })
    }

    #[track_caller]
    fn check(text: &str, expect: Result<Said<'_>, Misread>) {
        assert_eq!(read(text), expect, "{text}");
    }

    #[test]
    fn events_are_lent_from_the_frame() {
        check(r#"{"event":"typing","data":{"a":[1]}}"#, event("typing", r#"{"a":[1]}"#, None));
        check(r#" { "data" : 7 , "event" : "x" } "#, event("x", "7", None));
        check(r#"{"event":"ping"}"#, event("ping", "null", None));
        check("\u{feff}{\"event\":\"ping\"}", event("ping", "null", None));
        check(r#"{"event":"ping","new":{}}"#, event("ping", "null", None));
        check(r#"{"event":"a\u0062"}"#, event("ab", "null", None));
        check(r#"{"event":"a","id":"g-1"}"#, event("a", "null", Some("\"g-1\"")));
        check(r#"{"event":"a","id":12}"#, event("a", "null", Some("12")));
        check(r#"{"event":"a","id":-1}"#, event("a", "null", Some("-1")));
        check(r#"{"event":"a","id":null}"#, event("a", "null", None));
    }

    #[test]
    fn a_token_comes_as_an_event() {
        check(r#"{"event":"auth","data":{"token":"t"}}"#, Ok(Said::Auth(Some("t".into()))));
        check(r#"{"event":"auth","data":{}}"#, Ok(Said::Auth(None)));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "{",
            "[]",
            r#"["ping",null,null]"#,
            "null",
            "7",
            "\"event\"",
            "{}",
            r#"{"event":7}"#,
            r#"{"event":"a"}x"#,
            r#"{"event":"a","data":}"#,
            r#"{"event":"a","event":"b"}"#,
            r#"{"event":"a","data":{"a":1}"#,
            r#"{"event":"auth"}"#,
            r#"{"event":"auth","data":{"token":7}}"#,
            &format!(r#"{{"event":"a","data":{}"#, "[".repeat(60_000)),
        ] {
            check(bad, Err(MALFORMED));
        }
        for bad in [r#""""#, r#""a b""#, "{}", "true", &format!("\"{}\"", "x".repeat(65))] {
            let text = format!(r#"{{"event":"a","id":{bad}}}"#);
            check(&text, Err(Misread::Reject(Reject::Invalid)));
        }
    }
}
