//! Fields of bodies: what each kind of field must be, in the sentences of the original's validator. Pure.
//!
//! A field takes any JSON, so that all that is wrong with a body is said at once; `garde` asks each
//! field and gathers the sentences. A field that was asked is read by its own function.

use garde::{Error, Path, Report, Validate};
use protocol::events::message::is_link;
use protocol::limits::{
    NAME_CHARS_MAX, PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, PREFERENCES_CHARS_MAX, URL_BYTES_MAX,
};
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::Value;

use super::text::{self, Unfit};

/// The contract's sentences. The name of the field stands before each.
pub mod sentence {
    /// A text is missing, or nothing of it can be seen.
    pub const EMPTY: &str = "should not be empty";
    /// A text was expected.
    pub const NO_TEXT: &str = "must be a string";
    /// In a name or a title.
    pub const INVISIBLE: &str = "must not contain invisible characters";
    /// PostgreSQL text holds no NUL.
    pub const NUL: &str = "must not contain NUL";
    /// An e-mail was expected.
    pub const NO_EMAIL: &str = "must be an email";
    /// A link that a browser fetches was expected.
    pub const NO_LINK: &str = "must be an http or https URL";
    /// An id was expected.
    pub const NO_NUMBER: &str = "must be an integer number";
    /// An object was expected.
    pub const NO_OBJECT: &str = "must be an object";
    /// A list was expected.
    pub const NO_LIST: &str = "must be an array";
    /// An element of a list is not an object.
    pub const NOT_ONLY_OBJECTS: &str = "must contain only objects";

    /// A text has more characters than a limit allows.
    pub fn too_long(max: usize) -> String {
        format!("must be shorter than or equal to {max} characters")
    }

    /// A text has more bytes than a limit allows.
    pub fn too_many_bytes(max: usize) -> String {
        format!("must be shorter than or equal to {max} bytes")
    }

    /// A text has fewer characters than it needs.
    pub fn too_short(min: usize) -> String {
        format!("must be longer than or equal to {min} characters")
    }
}

/// What is wrong with one field.
type Problems = Vec<String>;

/// Kinds of fields: each holds the client's value, and checks it.
macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident: $problems:path;)*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, Default, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(Value);

        impl Validate for $name {
            type Context = ();

            fn validate_into(&self, _: &(), parent: &mut dyn FnMut() -> Path, report: &mut Report) {
                for problem in $problems(&self.0) {
                    report.append(parent(), Error::new(problem));
                }
            }
        })*
    };
}

fields! {
    /// A text that must be there.
    Text: wrong_text;
    /// A name or a title that must be there: something to see, nothing that hides.
    Label: wrong_label;
    /// The same for one that may be missing, null or empty.
    MaybeLabel: wrong_maybe_label;
    /// An e-mail.
    Email: wrong_email;
    /// A password as it is: not trimmed, and counted in characters from below, bytes from above.
    Password: wrong_password;
    /// A link that may be missing, null or empty.
    MaybeLink: wrong_maybe_link;
    /// An id, as a number or as digits in a text.
    Id: wrong_id;
    /// The same for one that may be missing or null.
    MaybeId: wrong_maybe_id;
    /// An object that may be missing or null.
    MaybeObject: wrong_maybe_object;
}

impl Text {
    /// As it was written.
    pub fn text(&self) -> &str {
        self.0.as_str().unwrap_or_default()
    }
}

impl Label {
    /// As it is kept.
    pub fn label(&self) -> String {
        text::label(self.0.as_str().unwrap_or_default()).unwrap_or_default()
    }
}

impl MaybeLabel {
    /// As it is kept, if there is one.
    pub fn label(&self) -> Option<String> {
        optional(&self.0).ok().flatten().and_then(|text| text::label(text).ok())
    }
}

impl Email {
    /// In all the ways in which it may be kept; today's first. See [`text::emails`].
    pub fn ways(&self) -> Vec<String> {
        text::emails(self.0.as_str().unwrap_or_default())
    }
}

impl Password {
    /// As it was written.
    pub fn text(&self) -> &str {
        self.0.as_str().unwrap_or_default()
    }
}

impl MaybeLink {
    /// As it was written; empty when there is none.
    pub fn link(&self) -> &str {
        self.0.as_str().unwrap_or_default()
    }
}

impl Id {
    /// The number; None: it is none.
    pub fn number(&self) -> Option<i64> {
        positive(&self.0)
    }
}

impl MaybeId {
    /// The number, if there is one.
    pub fn number(&self) -> Option<i64> {
        positive(&self.0)
    }
}

impl MaybeObject {
    /// As JSON text, if there is one.
    pub fn json(&self) -> Option<String> {
        self.0.is_object().then(|| self.0.to_string())
    }
}

/// A list of objects that must be there.
#[derive(Debug)]
pub struct Objects<T> {
    /// None: the value is not a list.
    list: Option<Vec<T>>,
    /// All that is in it are objects.
    is_pure: bool,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self { list: None, is_pure: true }
    }
}

impl<T> Objects<T> {
    /// The objects.
    pub fn into_list(self) -> Vec<T> {
        self.list.unwrap_or_default()
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Objects<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Value::Array(values) = Value::deserialize(deserializer)? else { return Ok(Self::default()) };
        let is_pure = values.iter().all(Value::is_object);
        let objects = values.into_iter().filter(Value::is_object).map(serde_json::from_value);
        let list = objects.collect::<Result<_, _>>().map_err(serde::de::Error::custom)?;
        Ok(Self { list: Some(list), is_pure })
    }
}

impl<T: Validate<Context = ()>> Validate for Objects<T> {
    type Context = ();

    fn validate_into(&self, ctx: &(), parent: &mut dyn FnMut() -> Path, report: &mut Report) {
        let Some(list) = &self.list else {
            return report.append(parent(), Error::new(sentence::NO_LIST));
        };
        if !self.is_pure {
            report.append(parent(), Error::new(sentence::NOT_ONLY_OBJECTS));
        }
        list.validate_into(ctx, parent, report);
    }
}

/// A positive whole number that JavaScript can hold.
fn positive(value: &Value) -> Option<i64> {
    let number = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.filter(|number| (1..=1 << 53).contains(number))
}

/// A text that must be there; or why there is none.
fn required(value: &Value) -> Result<&str, Problems> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Ok(text),
        Value::String(_) | Value::Null => Err(vec![sentence::EMPTY.into()]),
        _ => Err(vec![sentence::NO_TEXT.into()]),
    }
}

/// A text that may be missing, null or empty.
fn optional(value: &Value) -> Result<Option<&str>, Problems> {
    match value {
        Value::String(text) => Ok(Some(&**text).filter(|text| !text.is_empty())),
        Value::Null => Ok(None),
        _ => Err(vec![sentence::NO_TEXT.into()]),
    }
}

/// Whether a text is too long, or has characters that PostgreSQL does not store.
fn unfitting(text: &str, max: usize) -> Problems {
    let mut problems = Vec::new();
    if text.len() > max && text.chars().count() > max {
        problems.push(sentence::too_long(max));
    }
    if text.contains('\0') {
        problems.push(sentence::NUL.into());
    }
    problems
}

fn unseen(text: &str) -> Problems {
    let mut problems = unfitting(text, NAME_CHARS_MAX);
    problems.extend(text::label(text).err().map(|unfit| match unfit {
        Unfit::Empty => sentence::EMPTY.to_owned(),
        Unfit::Invisible => sentence::INVISIBLE.to_owned(),
    }));
    problems
}

fn wrong_text(value: &Value) -> Problems {
    required(value).map_or_else(|problems| problems, |text| unfitting(text, NAME_CHARS_MAX))
}

fn wrong_label(value: &Value) -> Problems {
    required(value).map_or_else(|problems| problems, unseen)
}

fn wrong_maybe_label(value: &Value) -> Problems {
    optional(value).map_or_else(|problems| problems, |text| text.map(unseen).unwrap_or_default())
}

fn wrong_email(value: &Value) -> Problems {
    let text = match required(value) {
        Ok(text) => text,
        Err(problems) => return problems,
    };
    let (mut problems, email) = (unfitting(text, NAME_CHARS_MAX), text::email(text));
    if !email.is_empty() && !text::is_email(&email) {
        problems.push(sentence::NO_EMAIL.into());
    }
    problems
}

fn wrong_password(value: &Value) -> Problems {
    let text = match required(value) {
        Ok(text) => text,
        Err(problems) => return problems,
    };
    let mut problems = unfitting(text, PASSWORD_BYTES_MAX);
    if text::password(text).chars().count() < PASSWORD_CHARS_MIN {
        problems.push(sentence::too_short(PASSWORD_CHARS_MIN));
    } else if text.len() > PASSWORD_BYTES_MAX {
        problems.push(sentence::too_many_bytes(PASSWORD_BYTES_MAX));
    }
    problems
}

fn wrong_maybe_link(value: &Value) -> Problems {
    let text = match optional(value) {
        Ok(text) => text.unwrap_or_default(),
        Err(problems) => return problems,
    };
    let mut problems = unfitting(text, URL_BYTES_MAX);
    if !text.is_empty() && !is_link(text) {
        problems.push(sentence::NO_LINK.into());
    }
    problems
}

fn wrong_id(value: &Value) -> Problems {
    if positive(value).is_some() { Vec::new() } else { vec![sentence::NO_NUMBER.into()] }
}

fn wrong_maybe_id(value: &Value) -> Problems {
    if value.is_null() { Vec::new() } else { wrong_id(value) }
}

fn wrong_maybe_object(value: &Value) -> Problems {
    match value {
        Value::Null => Vec::new(),
        Value::Object(_) => unfitting(&value.to_string(), PREFERENCES_CHARS_MAX),
        _ => vec![sentence::NO_OBJECT.into()],
    }
}
