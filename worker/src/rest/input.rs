//! What comes in, checked. Pure.
//!
//! Wrong fields are reported together, each with the sentence that the original's validator would
//! say; unknown fields are dropped, as there.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::response::Refusal;
use super::text::{self, Unfit};

/// The body of a request, its problems collected while it is read.
pub struct Body {
    fields: Map<String, Value>,
    problems: Vec<String>,
}

impl Body {
    /// Reads a body; an empty one has no fields.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let bytes = without_mark(bytes);
        let fields = if bytes.iter().all(u8::is_ascii_whitespace) {
            Map::new()
        } else {
            match serde_json::from_slice(bytes) {
                Ok(Value::Object(fields)) => fields,
                Ok(_) => return Err(Refusal::bad_request("The body must be a JSON object")),
                Err(err) => return Err(Refusal::bad_request(format!("The body is not JSON: {err}"))),
            }
        };
        Ok(Self { fields, problems: Vec::new() })
    }

    /// A text that must be there, of at most so many characters.
    pub fn text(&mut self, name: &str, max: usize) -> String {
        match self.fields.remove(name) {
            Some(Value::String(text)) if text.trim().is_empty() => self.problem(name, "should not be empty"),
            Some(Value::String(text)) => return self.fitting(name, text, max),
            None | Some(Value::Null) => self.problem(name, "should not be empty"),
            Some(_) => self.problem(name, "must be a string"),
        }
        String::new()
    }

    /// A name or a title that must be there, as it is kept: something to see, nothing that hides.
    pub fn label(&mut self, name: &str, max: usize) -> String {
        let text = self.text(name, max);
        if text.is_empty() { text } else { self.seen(name, text) }
    }

    /// The same for one that may be missing, null or empty.
    pub fn maybe_label(&mut self, name: &str, max: usize) -> Option<String> {
        self.maybe_text(name, max).map(|text| self.seen(name, text))
    }

    fn seen(&mut self, name: &str, text: String) -> String {
        match text::label(&text) {
            Ok(label) => return label,
            Err(Unfit::Empty) => self.problem(name, "should not be empty"),
            Err(Unfit::Invisible) => self.problem(name, "must not contain invisible characters"),
        }
        text
    }

    /// A text that may be missing, null or empty.
    pub fn maybe_text(&mut self, name: &str, max: usize) -> Option<String> {
        match self.fields.remove(name) {
            Some(Value::String(text)) if text.is_empty() => None,
            Some(Value::String(text)) => Some(self.fitting(name, text, max)),
            None | Some(Value::Null) => None,
            Some(_) => {
                self.problem(name, "must be a string");
                None
            }
        }
    }

    /// A password as it is: not trimmed, and counted in characters from below, bytes from above.
    pub fn password(&mut self, name: &str, chars_min: usize, bytes_max: usize) -> String {
        let text = self.text(name, bytes_max);
        if !text.is_empty() && text::password(&text).chars().count() < chars_min {
            self.problem(name, &format!("must be longer than or equal to {chars_min} characters"));
        } else if text.len() > bytes_max {
            self.problem(name, &format!("must be shorter than or equal to {bytes_max} bytes"));
        }
        text
    }

    /// An e-mail, in all the ways in which it may be kept; today's first. See [`text::emails`].
    pub fn emails(&mut self, name: &str, max: usize) -> Vec<String> {
        let emails = text::emails(&self.text(name, max));
        if !emails[0].is_empty() && !text::is_email(&emails[0]) {
            self.problem(name, "must be an email");
        }
        emails
    }

    /// A positive whole number, as a number or as digits in a string.
    pub fn maybe_number(&mut self, name: &str) -> Option<i64> {
        let value = self.fields.remove(name).filter(|value| !value.is_null())?;
        let number = positive(&value);
        if number.is_none() {
            self.problem(name, "must be an integer number");
        }
        number
    }

    /// An object that may be missing, as JSON text.
    pub fn maybe_object(&mut self, name: &str, max: usize) -> Option<String> {
        let value = self.fields.remove(name).filter(|value| !value.is_null())?;
        if !value.is_object() {
            self.problem(name, "must be an object");
            return None;
        }
        Some(self.fitting(name, value.to_string(), max))
    }

    /// A list of objects that must be there.
    pub fn objects(&mut self, name: &str) -> Vec<Map<String, Value>> {
        let Some(Value::Array(list)) = self.fields.remove(name) else {
            self.problem(name, "must be an array");
            return Vec::new();
        };
        let len = list.len();
        let objects = list.into_iter().filter_map(|one| match one {
            Value::Object(fields) => Some(fields),
            _ => None,
        });
        let objects: Vec<_> = objects.collect();
        if objects.len() < len {
            self.problem(name, "must contain only objects");
        }
        objects
    }

    /// Something else is wrong with a field.
    pub fn problem(&mut self, name: &str, sentence: &str) {
        self.problems.push(format!("{name} {sentence}"));
    }

    /// All that was wrong.
    pub fn finish(self) -> Result<(), Refusal> {
        if self.problems.is_empty() { Ok(()) } else { Err(Refusal::invalid(self.problems)) }
    }

    fn fitting(&mut self, name: &str, text: String, max: usize) -> String {
        if text.len() > max && text.chars().count() > max {
            self.problem(name, &format!("must be shorter than or equal to {max} characters"));
        }
        // PostgreSQL text holds no NUL.
        if text.contains('\0') {
            self.problem(name, "must not contain NUL");
        }
        text
    }
}

/// A body without the byte order mark that some programs write before JSON (RFC 8259, 8.1).
pub fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// A positive whole number that JavaScript can hold.
pub fn positive(value: &Value) -> Option<i64> {
    let number = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.filter(|number| (1..=1 << 53).contains(number))
}

/// An id in a path.
pub fn id(text: &str) -> Result<i64, Refusal> {
    let id = text.parse().ok().filter(|id| (1..=1 << 53).contains(id));
    id.ok_or_else(|| Refusal::bad_request("Validation failed (numeric string is expected)"))
}

/// What follows `?`.
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Reads a query, percent-encoded or not. The first of several values counts.
    pub fn parse(query: &'a str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).collect())
    }

    /// A value that is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| &**value)
            .filter(|value| !value.is_empty())
    }

    /// A positive whole number, if it is there.
    ///
    /// # Errors
    /// 400: it is no such number.
    pub fn number(&self, name: &str) -> Result<Option<u32>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse()
            .ok()
            .filter(|number| *number > 0)
            .map(Some)
            .ok_or_else(|| Refusal::bad_request("Page and size must be positive integers"))
    }

    /// How many rows it asks for, if it says so.
    pub fn page_size(&self) -> Option<u32> {
        ["size", "limit"].iter().find_map(|name| self.number(name).ok().flatten())
    }

    /// Whether it asks for a page of something.
    pub fn pages(&self) -> bool {
        ["page", "limit", "size", "before"].iter().any(|name| self.get(name).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_whatever_they_are() {
        let query = Query::parse("page=2&search=xin%20ch%C3%A0o+%&size=-1&order=&x&%=%zz");
        assert_eq!(query.get("search"), Some("xin chào %"));
        assert_eq!(query.number("page"), Ok(Some(2)));
        assert!(query.number("size").is_err());
        assert_eq!(query.number("limit"), Ok(None));
        assert_eq!((query.get("order"), query.get("x")), (None, None));
        assert!(query.pages());
        assert!(!Query::parse("").pages());
    }

    #[test]
    fn problems_are_told_together() {
        let mut body = Body::parse(br#"{"email":"no","password":"12345","title":7,"n":"x"}"#).unwrap();
        body.emails("email", 200);
        body.password("password", 6, 128);
        body.text("title", 5);
        body.text("name", 5);
        body.maybe_number("n");
        body.objects("participants");
        let expect = [
            "email must be an email",
            "password must be longer than or equal to 6 characters",
            "title must be a string",
            "name should not be empty",
            "n must be an integer number",
            "participants must be an array",
        ];
        assert_eq!(body.finish(), Err(Refusal::invalid(expect.map(str::to_owned).to_vec())));
    }

    #[test]
    fn emails_are_checked_and_lower_cased() {
        for (text, good) in [
            ("A@B.c", true),
            ("a@b", false),
            ("@b.c", false),
            ("a@b@c.d", false),
            ("a b@c.d", false),
            ("a@.c", false),
        ] {
            let mut body = Body::parse(format!(r#"{{"email":"{text}"}}"#).as_bytes()).unwrap();
            assert_eq!(body.emails("email", 200), [text.to_lowercase()]);
            assert_eq!(body.finish().is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_body_is_nothing_or_an_object() {
        assert!(Body::parse(b"").is_ok());
        assert!(Body::parse(b" \n").is_ok());
        let mut marked = Body::parse("\u{feff}{\"title\":\"t\"}".as_bytes()).unwrap();
        assert_eq!(marked.text("title", 5), "t");
        for bad in ["[", "[]", "7", "{", "\u{0}"] {
            assert!(Body::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
