//! What both dialects say, and what is refused.

use super::super::row::{ClientEvent as _, ServerEvent};
use super::*;

fn text(conversation: i64, guid: Option<&str>, content: &str) -> SendMessage {
    SendMessage {
        conversation: ConversationId(conversation),
        guid: guid.map(|guid| Guid::new(guid).unwrap()),
        message_type: MessageType::Text,
        content: content.into(),
        call_type: CallType::Voice,
        call_status: CallStatus::Ended,
        attachments: vec![],
        context: None,
    }
}

#[track_caller]
fn check(data: &str, expect: Result<SendMessage, Reject>) {
    assert_eq!(SendMessage::parse(data), expect, "{data}");
}

#[test]
fn both_dialects_are_understood() {
    let dialect_f = r#"{"conversationId":7,"messageType":"TEXT","content":"xin chào"}"#;
    check(dialect_f, Ok(text(7, None, "xin chào")));
    let dialect_h = r#"{"conversationId":7,"conversationType":0,"guid":"g-1","messageType":"TEXT","content":"a","status":"READ"}"#;
    check(dialect_h, Ok(text(7, Some("g-1"), "a")));
}

#[test]
fn a_field_under_two_names_is_no_duplicate_and_the_explicit_name_wins() {
    check(r#"{"conversationId":1,"guid":"g","tempId":"t","content":"x"}"#, Ok(text(1, Some("g"), "x")));
    check(r#"{"conversationId":1,"guid":"","tempId":"t","content":"x"}"#, Ok(text(1, Some("t"), "x")));
    check(r#"{"conversationId":1,"otherId":2,"conversation_id":3,"content":"x"}"#, Ok(text(1, None, "x")));
    check(r#"{"otherId":2,"content":"x"}"#, Ok(text(2, None, "x")));
    let read = MessageRead { conversation: ConversationId(7), message: MessageId(9), seq: None };
    assert_eq!(
        MessageRead::parse(r#"{"conversationId":7,"otherId":8,"messageId":9,"message_id":1}"#),
        Ok(read)
    );
}

#[test]
fn bad_input_has_a_typed_reject() {
    check("{", Err(Reject::Malformed));
    check("[]", Err(Reject::Invalid));
    check(r#"{"conversationId":"7","content":"a"}"#, Err(Reject::Invalid));
    check(r#"{"conversationId":0,"content":"a"}"#, Err(Reject::Invalid));
    check(r#"{"conversationId":7}"#, Err(Reject::Invalid));
    check(r#"{"conversationId":7,"content":"a\u0000"}"#, Err(Reject::Invalid));
    check(r#"{"conversationId":7,"content":"caf\u00e9 \ud83d"}"#, Err(Reject::Invalid));
    check(r#"{"conversationId":7,"content":"a","guid":"a b"}"#, Err(Reject::Invalid));
    check(r#"{"conversationId":7,"content":"a","messageType":"X"}"#, Err(Reject::Invalid));
    let long = format!(r#"{{"conversationId":7,"content":"{}"}}"#, "é".repeat(CONTENT_CHARS_MAX + 1));
    check(&long, Err(Reject::TooLarge));
    assert_eq!(MessageRead::parse(r#"{"conversationId":7,"messageId":-1}"#), Err(Reject::Invalid));
}

#[test]
fn only_links_that_a_browser_fetches_are_kept() {
    let of = |url: &str| {
        let url = serde_json::to_string(url).unwrap();
        SendMessage::parse(&format!(r#"{{"conversationId":7,"attachments":[{{"fileUrl":{url}}}]}}"#))
    };
    for good in ["https://example.org/a.png", "HTTP://example.org", "/files/a.png"] {
        assert!(of(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "javascript:alert(1)",
        "JavaScript://example.org/%0aalert(1)",
        " javascript:alert(1)",
        "java\tscript:alert(1)",
        "data:text/html,<script>",
        "file:///etc/passwd",
        "//example.org/a.png",
        "/\\example.org/a.png",
        "vbscript:x",
        "blob:https://example.org/1",
        "example.org/a.png",
    ] {
        assert_eq!(of(bad), Err(Reject::Invalid), "{bad}");
    }
}

#[test]
fn what_a_worker_sends_for_a_client_is_read_as_that_client_would_say_it() {
    let event = SendMessage { context: Some(TraceContext::begun(7, 9)), ..text(7, Some("g"), "xin chào") };
    check(&serde_json::to_string(&event).unwrap(), Ok(event));
}

#[test]
fn a_refused_message_is_still_named() {
    let g = Guid::new("g-1").ok();
    assert_eq!(guid_in(r#"{"content":[],"tempId":"g-1"}"#), g);
    assert_eq!(guid_in(r#"{"content":[],"guid":"g-1","tempId":"t"}"#), g);
    assert_eq!(guid_in(r#"{"content":[],"guid":7,"tempId":"g-1"}"#), g);
    for none in ["{}", "", "7", r#"{"guid":7}"#, r#"{"guid":"a b"}"#] {
        assert_eq!(guid_in(none), None, "{none}");
    }
}

#[test]
fn events_are_written_as_both_dialects_expect() {
    let queued = ServerEvent::from(MessageQueued { guid: Guid::new("g-1").unwrap(), at: Timestamp(0) });
    assert_eq!(queued.name(), "messageQueued");
    assert_eq!(
        queued.data(),
        r#"{"guid":"g-1","tempId":"g-1","status":"queued","timestamp":"1970-01-01T00:00:00.000Z"}"#,
    );
    let preview = ServerEvent::from(LoadLastMessage { conversation_id: ConversationId(7) });
    assert_eq!((preview.name(), preview.data()), ("loadLastMessage", r#"{"conversationId":7}"#));
}
