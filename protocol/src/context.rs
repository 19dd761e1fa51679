//! W3C Trace Context: the client's trace to which a chat message belongs.
//!
//! `traceparent` as <https://www.w3.org/TR/trace-context/> defines it, parsed strictly: any other text is
//! ignored. `tracestate` is not forwarded, which the recommendation allows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The length of version 00: `00-<32>-<16>-<2>`.
const LEN: usize = 55;

const SAMPLED: u8 = 1;

/// The flags that we know and forward: sampled, and (level 2) that the trace id is random.
const KNOWN: u8 = SAMPLED | 2;

/// A trace, its span that is the parent of the next one, and whether it is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceContext {
    /// The value of a malformed `traceparent`. It goes no further than the gateway, which
    /// counts it.
    pub const INVALID: Self = Self { trace: 0, span: 0, flags: 0 };

    /// A sampled trace that begins here. Zeros are not valid ids.
    pub fn begun(trace: u128, span: u64) -> Self {
        Self { trace: trace.max(1), span: span.max(1), flags: KNOWN }
    }

    /// Parses a `traceparent`. None if it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let is_lower_hex = |part: &&str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        // Of a longer one of a later version, the first four parts count. Bytes are looked at first:
        // a cut inside a character would panic.
        let head = text.get(..LEN)?;
        let part = |from: usize, to: usize| head.get(from..to).filter(is_lower_hex);
        let dashes = [2, 35, 52].iter().all(|at| bytes[*at] == b'-');
        let (version, trace, span, flags) = (part(0, 2)?, part(3, 35)?, part(36, 52)?, part(53, 55)?);
        let fits = match version {
            "ff" => false,
            "00" => bytes.len() == LEN,
            _ => bytes.len() == LEN || bytes[LEN] == b'-',
        };
        let context = Self {
            trace: u128::from_str_radix(trace, 16).ok()?,
            span: u64::from_str_radix(span, 16).ok()?,
            flags: u8::from_str_radix(flags, 16).ok()? & KNOWN,
        };
        (fits && dashes && context.is_valid()).then_some(context)
    }

    /// Whether both ids are valid.
    pub fn is_valid(&self) -> bool {
        self.trace != 0 && self.span != 0
    }

    /// Whether the trace is sampled.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same trace, not sampled.
    pub fn unsampled(self) -> Self {
        Self { flags: self.flags & !SAMPLED, ..self }
    }

    /// The same trace with this span as the parent. Zero is not a valid id.
    pub fn below(self, span: u64) -> Self {
        Self { span: span.max(1), ..self }
    }

    /// The trace's id.
    pub fn trace(&self) -> u128 {
        self.trace
    }

    /// The id of the span that is the parent of the next one.
    pub fn span(&self) -> u64 {
        self.span
    }

    /// The trace's id in hexadecimal, as `traceparent` has it.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(f, "00-{trace:032x}-{span:016x}-{flags:02x}")
    }
}

impl Serialize for TraceContext {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (self.trace, self.span, self.flags).serialize(serializer)
        }
    }
}

/// Accepts any text of a client: a malformed one is [`TraceContext::INVALID`].
impl<'de> Deserialize<'de> for TraceContext {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Text(String),
            Other(serde::de::IgnoredAny),
        }
        if !deserializer.is_human_readable() {
            let (trace, span, flags) = Deserialize::deserialize(deserializer)?;
            return Ok(Self { trace, span, flags });
        }
        Ok(match Given::deserialize(deserializer)? {
            Given::Text(text) => Self::parse(&text).unwrap_or(Self::INVALID),
            Given::Other(_) => Self::INVALID,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn what_is_well_formed_is_read_and_written_as_version_00() {
        let check = |text: &str, written: Option<&str>| {
            let found = TraceContext::parse(text).map(|context| context.to_string());
            assert_eq!(found.as_deref(), written, "{text:?}");
        };
        let sampled = format!("00-{TRACE}-00f067aa0ba902b7-01");
        check(&sampled, Some(&sampled));
        check(&sampled.replace("-01", "-00"), Some(&sampled.replace("-01", "-00")));
        check(&sampled.replace("-01", "-03"), Some(&sampled.replace("-01", "-03")));
        // Flags that nobody knows are not passed on.
        check(&sampled.replace("-01", "-ff"), Some(&sampled.replace("-01", "-03")));
        check(&sampled.replace("-01", "-04"), Some(&sampled.replace("-01", "-00")));
        // A later version is read as far as it is known.
        check(&sampled.replacen("00", "cc", 1), Some(&sampled));
        check(&format!("{}-what-the-future-brings", sampled.replacen("00", "01", 1)), Some(&sampled));
        check(&format!("{}-", sampled.replacen("00", "01", 1)), Some(&sampled));
        for bad in [
            String::new(),
            "00".into(),
            sampled[..54].into(),
            format!("{sampled}-"),
            format!("{sampled}-x"),
            format!("{sampled} "),
            format!(" {sampled}"),
            format!("{}x", sampled.replacen("00", "01", 1)),
            sampled.replacen("00", "ff", 1),
            sampled.replacen("00", "0g", 1),
            sampled.to_uppercase(),
            sampled.replacen('-', "_", 1),
            sampled.replace("-01", "-0g"),
            sampled.replace("-01", "+01"),
            format!("00-{TRACE}-00f067aa0ba902b7_01"),
            format!("00-{TRACE}_00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-+{}-00f067aa0ba902b7-01", &TRACE[1..]),
            "é".repeat(40),
            format!("00-{}é-00f067aa0ba902b7-01", &TRACE[2..]),
            format!("{}é", &sampled[..54]),
        ] {
            check(&bad, None);
        }
    }

    #[test]
    fn json_says_it_in_words_and_never_fails() {
        let context = TraceContext::begun(7, 9);
        assert!(context.is_sampled() && context.is_valid());
        let text = serde_json::to_string(&context).unwrap();
        assert_eq!(text, format!("\"00-{:032x}-{:016x}-03\"", 7, 9));
        let read = |text: &str| serde_json::from_str::<TraceContext>(text).unwrap();
        assert_eq!(read(&text), context);
        for bad in ["\"00\"", "7", "{\"a\":[1]}", "[]", "true"] {
            assert_eq!(read(bad), TraceContext::INVALID, "{bad}");
        }
    }

    #[test]
    fn between_programs_it_is_a_few_bytes() {
        use crate::encoding::{decode, encode};
        let context = TraceContext::begun(u128::MAX, u64::MAX).unsampled();
        assert!(!context.is_sampled());
        let bytes = encode(&Some(context));
        assert!(bytes.len() <= 32, "{}", bytes.len());
        assert_eq!(decode(&bytes), Ok(Some(context)));
        assert_eq!(encode(&None::<TraceContext>).len(), 2);
    }
}
