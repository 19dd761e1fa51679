//! The native form: a text frame is `{"event": name, "data": {…}, "id"?: text or number}`.
//!
//! `id` is the client's name for this one event: it comes back as `guid` when the event is
//! refused, and names the chat message of a `sendMessage` that carries no guid of its own.
//! Fields beyond these are ignored, so that old gateways understand new clients.

use std::borrow::Cow;

use common::ids::Guid;
use common::protocol::Reject;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Misread, Said, read_object};

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
    let id = input.id.map(|id| read_id(id.get())).transpose()?.flatten();
    Ok(Said::Event { name: input.event, data, id, ack: None })
}

fn read_id(json: &str) -> Result<Option<Guid>, Misread> {
    if json == "null" {
        return Ok(None);
    }
    let text = match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str(json).unwrap_or(Cow::Borrowed("")),
        Some(b'0'..=b'9') => Cow::Borrowed(json),
        _ => Cow::Borrowed(""),
    };
    Guid::new(&text).map(Some).map_err(|_| Misread::Reject(Reject::Invalid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event<'a>(name: &'a str, data: &'a str, id: Option<&str>) -> Result<Said<'a>, Misread> {
        let id = id.map(|id| Guid::new(id).unwrap());
        Ok(Said::Event { name: name.into(), data, id, ack: None })
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
        check(r#"{"event":"ping","new":{}}"#, event("ping", "null", None));
        check(r#"{"event":"a\u0062"}"#, event("ab", "null", None));
        check(r#"{"event":"a","id":"g-1"}"#, event("a", "null", Some("g-1")));
        check(r#"{"event":"a","id":12}"#, event("a", "null", Some("12")));
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
        for bad in [r#""""#, r#""a b""#, "{}", "-1", "true", &format!("\"{}\"", "x".repeat(65))] {
            let text = format!(r#"{{"event":"a","id":{bad}}}"#);
            check(&text, Err(Misread::Reject(Reject::Invalid)));
        }
    }
}
