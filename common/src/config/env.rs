//! Reading variables: [`Env`] collects every problem, and [`Secret`]s are never printed.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// `EX_USAGE`: the environment is wrong, so a restart will not help.
pub const EXIT_CONFIG: u8 = 64;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text. The caller keeps it out of logs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Everything that is wrong with the environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} problem(s):{}", .0.len(), list(.0))]
pub struct ConfigError(pub Vec<String>);

fn list(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("\n  - {problem}")).collect()
}

/// The environment while it is read. Names are given with their aliases, the preferred one first.
pub struct Env {
    /// None: not UTF-8, which is a problem only if the value is read.
    pairs: HashMap<String, Option<String>>,
    problems: Vec<String>,
}

impl Env {
    /// The environment of this process.
    pub fn from_process() -> Self {
        let pairs = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok())));
        Self { pairs: pairs.collect(), problems: Vec::new() }
    }

    /// An environment made of pairs: tests, sample files.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let pairs = pairs.into_iter().map(|(name, value)| (name.into(), Some(value.into())));
        Self { pairs: pairs.collect(), problems: Vec::new() }
    }

    /// The value of the first of these names (or its `_FILE`) that is set.
    pub fn text(&mut self, names: &[&str]) -> Option<String> {
        self.named(names).map(|(_, value)| value)
    }

    /// A secret, read like a text.
    pub fn secret(&mut self, names: &[&str]) -> Option<Secret> {
        self.text(names).map(Secret::new)
    }

    /// A number.
    pub fn number<T: FromStr>(&mut self, names: &[&str], default: T) -> T {
        self.parsed(names, "a number in range", |text| text.trim().parse().ok()).unwrap_or(default)
    }

    /// A switch: `true`, `yes`, `on`, `1` or `false`, `no`, `off`, `0`.
    pub fn flag(&mut self, names: &[&str], default: bool) -> bool {
        let read = |text: &str| match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        };
        self.parsed(names, "true or false", read).unwrap_or(default)
    }

    /// A duration: `7d`, `3h`, `15m`, `30s`, `250ms`, or plain seconds.
    pub fn duration(&mut self, names: &[&str], default: Duration) -> Duration {
        self.parsed(names, "a duration such as 7d, 3h, 15m, 30s or 900", duration).unwrap_or(default)
    }

    /// Anything else that one word of the environment says.
    pub fn parsed<T>(
        &mut self,
        names: &[&str],
        wanted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let (name, text) = self.named(names)?;
        let value = read(&text);
        if value.is_none() {
            self.problem(format!("{name} should be {wanted}, not '{text}'"));
        }
        value
    }

    /// `CHATCHIT_ENV` (or the original's `NODE_ENV`) is `development`.
    pub fn is_development(&mut self) -> bool {
        self.text(&["CHATCHIT_ENV", "NODE_ENV"]).is_some_and(|mode| mode == "development")
    }

    /// Notes a problem and continues.
    pub fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Ends reading: everything that was wrong, at once.
    pub fn finish(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigError(self.problems)) }
    }

    fn named(&mut self, names: &[&str]) -> Option<(String, String)> {
        names.iter().find_map(|name| Some(((*name).to_owned(), self.one(name)?)))
    }

    fn one(&mut self, name: &str) -> Option<String> {
        let file_name = format!("{name}_FILE");
        let direct = self.raw(name);
        let file = self.raw(&file_name);
        match (direct, file) {
            (Some(_), Some(_)) => {
                self.problem(format!("{name} and {file_name} are both set: keep one"));
                None
            }
            (Some(value), None) => Some(value),
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(err) => {
                    self.problem(format!("{file_name} cannot be read: {path}: {err}"));
                    None
                }
            },
            (None, None) => None,
        }
    }

    fn raw(&mut self, name: &str) -> Option<String> {
        match self.pairs.get(name)? {
            Some(value) if value.is_empty() => None,
            Some(value) => Some(value.clone()),
            None => {
                self.problem(format!("{name} is not UTF-8"));
                None
            }
        }
    }
}

fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "ms" => return Some(Duration::from_millis(number)),
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::auth::AuthConfig;
    use super::*;

    /// What is wrong with an environment, as the reader of a section finds it.
    pub(in crate::config) fn problems(read: impl FnOnce(&mut Env), pairs: &[(&str, &str)]) -> Vec<String> {
        let mut env = Env::from_pairs(pairs.iter().copied());
        read(&mut env);
        env.finish().err().map_or_else(Vec::new, |err| err.0)
    }

    #[test]
    fn durations() {
        let check = |text, seconds: Option<u64>| {
            assert_eq!(duration(text), seconds.map(Duration::from_secs), "{text:?}");
        };
        check("7d", Some(604_800));
        check("3h", Some(10_800));
        check("15m", Some(900));
        check("900", Some(900));
        check("30s", Some(30));
        for bad in ["", "d", "-1", "1.5h", "7 weeks", "1d2h", "99999999999999999999", "18446744073709551615d"]
        {
            check(bad, None);
        }
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
    }

    #[test]
    fn every_problem_is_reported_at_once_and_no_secret_with_it() {
        let mut env =
            Env::from_pairs([("PORT", "eighty"), ("TLS", "perhaps"), ("JWT_ACCESS_TOKEN", "hunter2")]);
        assert_eq!(env.number(&["CHATCHIT_PORT", "PORT"], 8080_u16), 8080);
        assert!(env.flag(&["TLS"], true));
        AuthConfig::from_env(&mut env);
        let err = env.finish().unwrap_err();
        assert_eq!(err.0.len(), 3, "{err}");
        assert!(err.to_string().contains("PORT should be a number in range, not 'eighty'"), "{err}");
        assert!(!err.to_string().contains("hunter2"), "{err}");
    }

    #[test]
    fn a_value_may_come_from_a_file_but_not_from_two_places() {
        let path = std::env::temp_dir().join(format!("chatchit-config-{}", std::process::id()));
        std::fs::write(&path, "a secret\n").unwrap();
        let file = path.to_str().unwrap();

        let mut env = Env::from_pairs([("JWT_ACCESS_TOKEN_FILE", file), ("EMPTY", "")]);
        assert_eq!(env.secret(&["JWT_ACCESS_TOKEN"]), Some(Secret::new("a secret")));
        assert_eq!(env.text(&["EMPTY", "ABSENT"]), None);
        env.finish().unwrap();

        let both = problems(|env| drop(env.text(&["A"])), &[("A", "1"), ("A_FILE", file)]);
        assert_eq!(both.len(), 1, "{both:?}");
        let gone = problems(|env| drop(env.text(&["A"])), &[("A_FILE", "/nonexistent/secret")]);
        assert_eq!(gone.len(), 1, "{gone:?}");
        std::fs::remove_file(path).unwrap();
    }
}
