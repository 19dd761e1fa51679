//! How tokens are made and checked, and which secrets are refused.

use std::time::Duration;

use super::env::{Env, Secret};

/// How tokens are made and checked.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// `JWT_ACCESS_TOKEN`: signs access tokens (HS256). At least [`SECRET_BYTES_MIN`] bytes, the
    /// same on every gateway and worker.
    pub access_secret: Secret,
    /// `JWT_ACCESS_EXPIRED`, 7 days: the original's client cannot refresh, so a shorter life logs
    /// its users out. Shorten it where the clients can.
    pub access_ttl: Duration,
    /// `JWT_REFRESH_EXPIRED`, 30 days.
    pub refresh_ttl: Duration,
}

/// HS256 is as strong as its secret: RFC 7518, 3.2 asks for as many bits as the hash has.
pub const SECRET_BYTES_MIN: usize = 32;

/// Used in development mode when no secret is given; public, so refused wherever others come.
const DEVELOPMENT_SECRET: &str = "development only: everybody can read this secret";

/// Texts that example files and tutorials put in place of a secret.
const PLACEHOLDERS: [&str; 8] =
    ["change", "example", "your-", "your_", "placeholder", "super-secret", "supersecret", "development only"];

impl AuthConfig {
    /// `JWT_ACCESS_EXPIRED` alone: for how long an ended login has to be remembered.
    pub fn access_ttl_from_env(env: &mut Env) -> Duration {
        env.duration(&["JWT_ACCESS_EXPIRED"], days(7))
    }

    /// Reads the section. `JWT_REFRESH_TOKEN` of the original is accepted and not needed: refresh
    /// tokens are random, not signed.
    pub fn from_env(env: &mut Env) -> Self {
        let development = env.is_development();
        let given = env.secret(&["JWT_ACCESS_TOKEN"]);
        if !development && let Some(problem) = weakness(given.as_ref()) {
            env.problem(format!("JWT_ACCESS_TOKEN {problem} (make one with: openssl rand -base64 48)"));
        }
        let access_ttl = Self::access_ttl_from_env(env);
        let refresh_ttl = env.duration(&["JWT_REFRESH_EXPIRED"], days(30));
        for (name, ttl) in [("JWT_ACCESS_EXPIRED", access_ttl), ("JWT_REFRESH_EXPIRED", refresh_ttl)] {
            // The original read "7d" as 19 years; nothing sensible lives longer than one.
            if ttl < Duration::from_secs(1) || ttl > days(366) {
                env.problem(format!("{name} should be between a second and a year"));
            }
        }
        let access_secret = given.unwrap_or_else(|| Secret::new(DEVELOPMENT_SECRET));
        Self { access_secret, access_ttl, refresh_ttl }
    }

    /// Whether the secret would be refused outside of development mode: others may know it.
    pub fn is_weak(&self) -> bool {
        weakness(Some(&self.access_secret)).is_some()
    }

    /// With a weak secret any client can forge any account, so it is allowed only where no other machine can connect.
    /// `setting` names the variable that decides that.
    pub fn refuse_weak_unless(&self, is_here: bool, setting: &str, env: &mut Env) {
        // Outside of development mode, `from_env` has refused it already.
        if self.is_weak() && !is_here && env.is_development() {
            env.problem(format!(
                "JWT_ACCESS_TOKEN is not a secret, which CHATCHIT_ENV=development allows only when {setting} is a \
                 loopback address (make a secret with: openssl rand -base64 48)"
            ));
        }
    }

    /// Says at the start that the secret is weak.
    pub fn warn_if_weak(&self) {
        if self.is_weak() {
            tracing::warn!(
                "Development mode: JWT_ACCESS_TOKEN is not a secret, so any client of this machine can pose as any user"
            );
        }
    }
}

fn weakness(secret: Option<&Secret>) -> Option<String> {
    let Some(secret) = secret else { return Some("is missing".into()) };
    let text = secret.expose();
    if text.len() < SECRET_BYTES_MIN {
        return Some(format!("is shorter than {SECRET_BYTES_MIN} bytes"));
    }
    let lower = text.to_ascii_lowercase();
    let is_known = PLACEHOLDERS.iter().any(|known| lower.contains(known));
    let mut bytes: Vec<u8> = text.bytes().collect();
    bytes.sort_unstable();
    bytes.dedup();
    (is_known || bytes.len() < 8).then(|| "is a placeholder, not a secret".into())
}

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

#[cfg(test)]
mod tests {
    use super::super::env::tests::problems;
    use super::*;

    const STRONG: &str = "pZ4n0Qy7sVb1mK9xTf3LwR8dGh2JcE6u";

    #[test]
    fn outside_development_only_a_real_secret_is_accepted() {
        let check = |pairs: &[(&str, &str)], accepted: bool| {
            let found = problems(|env| drop(AuthConfig::from_env(env)), pairs);
            assert_eq!(found.is_empty(), accepted, "{pairs:?}: {found:?}");
        };
        check(&[("JWT_ACCESS_TOKEN", STRONG)], true);
        check(&[], false);
        check(&[("JWT_ACCESS_TOKEN", "short")], false);
        check(&[("JWT_ACCESS_TOKEN", DEVELOPMENT_SECRET)], false);
        check(&[("JWT_ACCESS_TOKEN", "your-super-secret-access-token-key-change-me")], false);
        check(&[("JWT_ACCESS_TOKEN", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")], false);
        check(&[("NODE_ENV", "production")], false);
        check(&[("NODE_ENV", "development")], true);
        check(&[("CHATCHIT_ENV", "production"), ("NODE_ENV", "development")], false);
        check(&[("JWT_ACCESS_TOKEN", STRONG), ("JWT_ACCESS_EXPIRED", "604800000")], false);
    }

    #[test]
    fn what_others_reach_has_a_secret_even_in_development() {
        let check = |pairs: &[(&str, &str)], is_here: bool, accepted: bool| {
            let read = |env: &mut Env| AuthConfig::from_env(env).refuse_weak_unless(is_here, "BIND", env);
            let found = problems(read, pairs);
            assert_eq!(found.is_empty(), accepted, "{pairs:?}: {found:?}");
        };
        let development = ("CHATCHIT_ENV", "development");
        check(&[development], true, true);
        check(&[development], false, false);
        check(&[development, ("JWT_ACCESS_TOKEN", "short")], false, false);
        check(&[development, ("JWT_ACCESS_TOKEN", STRONG)], false, true);
        check(&[("JWT_ACCESS_TOKEN", STRONG)], false, true);
        // Outside of development mode a missing secret is one problem, not two.
        let read = |env: &mut Env| AuthConfig::from_env(env).refuse_weak_unless(false, "BIND", env);
        assert_eq!(problems(read, &[]).len(), 1);
    }

    #[test]
    fn secrets_are_not_printed() {
        let mut env = Env::from_pairs([("JWT_ACCESS_TOKEN", STRONG)]);
        let auth = AuthConfig::from_env(&mut env);
        assert!(!format!("{auth:?}").contains(STRONG));
        assert!(!auth.is_weak());
        assert_eq!(auth.access_ttl, days(7));
    }
}
