//! The input of requests, checked. Pure.
//!
//! A body is a struct of [`fields`](super::fields). Wrong fields are reported together, each with the
//! sentence of the original's validator; unknown fields are dropped, as there.

use std::borrow::Cow;

use garde::Validate;
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde_json::{Map, Value};

use super::response::Refusal;

/// Reads a body; an empty one has no fields.
///
/// # Errors
/// 400: the body is not a JSON object, or has wrong fields (one sentence for each fault).
pub fn read<T: DeserializeOwned + Validate<Context = ()>>(bytes: &[u8]) -> Result<T, Refusal> {
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
    // Of fields that are there twice the last counts: a map has it, a struct would refuse both.
    let body: T = serde_json::from_value(Value::Object(fields))
        .map_err(|err| Refusal::bad_request(format!("The body is not understood: {err}")))?;
    match body.validate() {
        Ok(()) => Ok(body),
        Err(report) => {
            let problems = report.iter().map(|(path, problem)| (as_written(path), problem));
            let mut problems: Vec<_> = problems.collect();
            // garde asks the fields by their names; the original tells of them in the order of the struct.
            let fields = Fields::of::<T>();
            problems.sort_by_key(|(path, _)| fields.place(path));
            Err(Refusal::invalid(
                problems.iter().map(|(path, problem)| format!("{path} {problem}")).collect(),
            ))
        }
    }
}

/// The fields of a struct, as serde names them.
struct Fields(&'static [&'static str]);

impl Fields {
    fn of<T: DeserializeOwned>() -> Self {
        let mut fields = Self(&[]);
        // It only looks at what is asked for, and gives nothing.
        drop(T::deserialize(&mut fields));
        fields
    }

    fn place(&self, path: &str) -> usize {
        let first = path.split('.').next().unwrap_or_default();
        self.0.iter().position(|field| *field == first).unwrap_or(self.0.len())
    }
}

impl<'de> Deserializer<'de> for &mut Fields {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0 = fields;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("there is nothing to read"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// A field as clients write it: `participants[0].user_id` is `participants.0.userId`.
fn as_written(path: &garde::Path) -> String {
    let mut written = String::new();
    let mut is_upper = false;
    for c in path.to_string().replace("r#", "").replace('[', ".").replace(']', "").chars() {
        if c == '_' {
            is_upper = true;
        } else if std::mem::take(&mut is_upper) {
            written.push(c.to_ascii_uppercase());
        } else {
            written.push(c);
        }
    }
    written
}

/// A body without the byte order mark that some programs write before JSON (RFC 8259, 8.1).
pub fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// An id in a path.
pub fn id(text: &str) -> Result<i64, Refusal> {
    let id = text.parse().ok().filter(|id| (1..=1 << 53).contains(id));
    id.ok_or_else(|| Refusal::bad_request("Validation failed (numeric string is expected)"))
}

/// The part after `?`.
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
    /// 400: the value is not such a number.
    pub fn number(&self, name: &str) -> Result<Option<u32>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse()
            .ok()
            .filter(|number| *number > 0)
            .map(Some)
            .ok_or_else(|| Refusal::bad_request("Page and size must be positive integers"))
    }

    /// The page size that the query asks for, if any.
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
    use serde::Deserialize;
    use serde_json::json;

    use super::super::fields::{
        Email, Id, Label, MaybeId, MaybeLabel, MaybeLink, MaybeObject, Objects, Password, Text,
    };
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

    #[derive(Debug, Default, Deserialize, Validate)]
    #[serde(rename_all = "camelCase", default)]
    struct Form {
        #[garde(dive)]
        email: Email,
        #[garde(dive)]
        password: Password,
        #[garde(dive)]
        first_name: Label,
        #[garde(dive)]
        middle_name: MaybeLabel,
        #[garde(dive)]
        token: Text,
        #[garde(dive)]
        avatar_url: MaybeLink,
        #[garde(dive)]
        n: MaybeId,
        #[garde(dive)]
        more: MaybeObject,
        #[garde(dive)]
        people: Objects<Member>,
    }

    #[derive(Debug, Default, Deserialize, Validate)]
    #[serde(rename_all = "camelCase", default)]
    struct Member {
        #[garde(dive)]
        user_id: Id,
    }

    fn sentences(body: &serde_json::Value) -> Vec<String> {
        match read::<Form>(body.to_string().as_bytes()) {
            Ok(_) => Vec::new(),
            Err(refusal) => {
                let answer: Value = serde_json::from_slice(&refusal.into_response().body).unwrap();
                let list = answer["message"].as_array().unwrap();
                list.iter().map(|sentence| sentence.as_str().unwrap().to_owned()).collect()
            }
        }
    }

    fn good() -> Value {
        json!({
            "email": "a@b.c", "password": "123456", "firstName": "A", "token": "t", "people": [{ "userId": "7" }],
        })
    }

    #[test]
    fn problems_are_told_together_in_the_order_of_the_fields() {
        assert_eq!(sentences(&good()), [""; 0]);
        let nothing = [
            "email should not be empty",
            "password should not be empty",
            "firstName should not be empty",
            "token should not be empty",
            "people must be an array",
        ];
        assert_eq!(sentences(&json!({ "email": null, "password": " ", "people": {} })), nothing);
        let wrong = json!({
            "email": "no", "password": "12345", "firstName": 7, "middleName": [], "token": {}, "avatarUrl": "x",
            "n": "x", "more": 7, "people": [{}, 7, { "userId": 0 }],
        });
        let expect = [
            "email must be an email",
            "password must be longer than or equal to 6 characters",
            "firstName must be a string",
            "middleName must be a string",
            "token must be a string",
            "avatarUrl must be an http or https URL",
            "n must be an integer number",
            "more must be an object",
            "people must contain only objects",
            "people.0.userId must be an integer number",
            "people.1.userId must be an integer number",
        ];
        assert_eq!(sentences(&wrong), expect);
    }

    #[test]
    fn each_thing_that_is_wrong_with_one_field_is_told() {
        let with = |name: &str, value: Value| {
            let mut body = good();
            body[name] = value;
            sentences(&body)
        };
        let long = format!("{}\0", "x".repeat(200));
        let expect = [
            "firstName must be shorter than or equal to 200 characters",
            "firstName must not contain NUL",
            "firstName must not contain invisible characters",
        ];
        assert_eq!(with("firstName", json!(long)), expect);
        assert_eq!(with("firstName", json!("\u{3164}")), ["firstName should not be empty"]);
        assert_eq!(with("middleName", json!(" ")), ["middleName should not be empty"]);
        assert_eq!(with("middleName", json!("")), [""; 0]);
        let expect = [
            "password must be shorter than or equal to 128 characters",
            "password must be shorter than or equal to 128 bytes",
        ];
        assert_eq!(with("password", json!("x".repeat(129))), expect);
        assert_eq!(
            with("password", json!("é".repeat(65))),
            ["password must be shorter than or equal to 128 bytes"]
        );
        assert_eq!(with("n", json!(1.5)), ["n must be an integer number"]);
        assert_eq!(with("n", json!(null)), [""; 0]);
    }

    #[test]
    fn fields_are_read_as_they_are_kept() {
        let body = br#"{"email":" A@B.c","password":" 12345 ","firstName":"A\u0301n","middleName":"","token":"t","n":"7",
            "more":{"a":1},"people":[{"userId":7}],"token":"u","unknown":1}"#;
        let form: Form = read(body).unwrap();
        assert_eq!(form.email.ways()[0], "a@b.c");
        assert_eq!((form.password.text(), form.first_name.label()), (" 12345 ", "\u{c1}n".to_owned()));
        assert_eq!((form.middle_name.label(), form.token.text()), (None, "u"));
        assert_eq!((form.n.number(), form.more.json().as_deref()), (Some(7), Some(r#"{"a":1}"#)));
        assert_eq!(form.avatar_url.link(), "");
        assert_eq!(form.people.into_list()[0].user_id.number(), Some(7));
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
            let mut body = self::good();
            body["email"] = json!(text);
            let expect: &[&str] = if good { &[] } else { &["email must be an email"] };
            assert_eq!(sentences(&body), expect, "{text}");
        }
    }

    #[test]
    fn a_body_is_nothing_or_an_object() {
        #[derive(Debug, Default, Deserialize, Validate)]
        #[serde(default)]
        struct Titled {
            #[garde(dive)]
            title: MaybeLabel,
        }
        for empty in ["", " \n", "{}"] {
            assert_eq!(read::<Titled>(empty.as_bytes()).unwrap().title.label(), None);
        }
        let marked = read::<Titled>("\u{feff}{\"title\":\"t\"}".as_bytes()).unwrap();
        assert_eq!(marked.title.label().as_deref(), Some("t"));
        for bad in ["[", "[]", "7", "{", "\u{0}"] {
            assert!(read::<Titled>(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
