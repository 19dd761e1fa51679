//! Patterns mean what they mean in NATS, and the broker's bindings mean the same.

use common::bus::{Pattern, Subject};
use proptest::prelude::*;

/// The rule of NATS, as its documentation says it, by recursion instead of by walking.
fn nats(pattern: &[&str], subject: &[&str]) -> bool {
    match (pattern, subject) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        (["*", pattern @ ..], [_, subject @ ..]) => nats(pattern, subject),
        ([want, pattern @ ..], [token, subject @ ..]) => want == token && nats(pattern, subject),
        _ => false,
    }
}

/// The rule of an AMQP topic exchange: `*` is one word, `#` is none or more, anywhere.
fn amqp(binding: &[&str], key: &[&str]) -> bool {
    match (binding, key) {
        ([], []) => true,
        (["#", rest @ ..], _) => (0..=key.len()).any(|skipped| amqp(rest, &key[skipped..])),
        (["*", binding @ ..], [_, key @ ..]) => amqp(binding, key),
        ([want, binding @ ..], [word, key @ ..]) => want == word && amqp(binding, key),
        _ => false,
    }
}

/// Few words, so that matches happen.
fn tokens(words: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(words), 1..6)
}

fn patterns() -> impl Strategy<Value = Vec<&'static str>> {
    (tokens(&["a", "b", "sendMessage", "*"]), any::<bool>()).prop_map(|(mut tokens, open)| {
        if open {
            tokens.push(">");
        }
        tokens
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, failure_persistence: None, ..Default::default() })]

    #[test]
    fn three_rules_are_one(pattern in patterns(), subject in tokens(&["a", "b", "sendMessage"])) {
        let parsed = Pattern::new(&pattern.join(".")).unwrap();
        let expect = nats(&pattern, &subject);
        prop_assert_eq!(parsed.matches(&Subject::new(&subject.join(".")).unwrap()), expect);
        let binding = parsed.as_amqp();
        let binding: Vec<&str> = binding.split('.').collect();
        prop_assert_eq!(amqp(&binding, &subject), expect);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,40}") {
        if let Ok(subject) = Subject::new(&text) {
            prop_assert!(Pattern::from(subject.clone()).matches(&subject));
            prop_assert!(Pattern::new(&text).is_ok());
            prop_assert!(Pattern::new(">").unwrap().matches(&subject));
        }
    }
}
