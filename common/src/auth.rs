//! Tokens: the only place that says `jsonwebtoken`.
//!
//! An access token is HS256 over the claims that the original's clients read, plus the login it
//! descends from. Every refusal is [`Reject::Unauthorized`]: a client does not learn why a token
//! is bad. Expiry is exact, without leeway: the clock is passed in.
//!
//! Not here: refresh tokens (random, kept by the worker as digests) and logins that ended early
//! (the directory knows them).

use std::sync::Once;
use std::time::Duration;

use base64::Engine as _;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::config::AuthConfig;
use crate::limits::TOKEN_BYTES_MAX;
use protocol::ids::{LoginId, UserId};
use protocol::{Account, Person, Reject, Role, Timestamp};

/// Installs the one crypto provider of the process. Two providers in one process panic at the
/// first use of TLS, so every user of TLS calls this first; further calls do nothing.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that one is installed already, and only one is compiled in.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    });
}

/// What a token says, under the original's names.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    first_name: String,
    last_name: String,
    /// A number, as in the original.
    sub: i64,
    email: String,
    id: i64,
    #[serde(rename = "type")]
    role: Role,
    iat: i64,
    exp: i64,
    login: i64,
}

/// The claims that matter to us; the names are for the client.
#[derive(Deserialize)]
struct Essentials {
    id: i64,
    #[serde(rename = "type")]
    role: Role,
    exp: i64,
    login: i64,
}

/// A digest by which two programs check whether they sign with the same secret: the first 32 bits of
/// an HMAC of a fixed text. It reveals less about the secret than any token does.
fn digest(secret: &[u8]) -> u32 {
    install_crypto();
    let key = EncodingKey::from_secret(secret);
    let text =
        jsonwebtoken::crypto::sign(b"digest:", &key, Algorithm::HS256).expect("a byte key always signs");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    bytes.iter().take(4).fold(0, |digest, byte| digest << 8 | u32::from(*byte))
}

/// Checks tokens.
pub struct Verifier {
    secret_digest: u32,
    key: DecodingKey,
    validation: Validation,
    access_ttl: Duration,
}

impl Verifier {
    /// A verifier for tokens of this configuration.
    pub fn new(config: &AuthConfig) -> Self {
        install_crypto();
        let mut validation = Validation::new(Algorithm::HS256);
        // The library reads its own clock; we compare with the time we are given.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp"]);
        let key = DecodingKey::from_secret(config.access_secret.expose().as_bytes());
        let secret_digest = digest(config.access_secret.expose().as_bytes());
        Self { secret_digest, key, validation, access_ttl: config.access_ttl }
    }

    /// Equal for verifiers and signers of one secret.
    pub fn secret_digest(&self) -> u32 {
        self.secret_digest
    }

    /// The lifetime of a token, and the time for which an ended login must be remembered.
    pub fn access_ttl(&self) -> Duration {
        self.access_ttl
    }

    /// The account of a token.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Account, Reject> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Reject::Unauthorized);
        }
        let decoded = jsonwebtoken::decode::<Essentials>(token, &self.key, &self.validation);
        let claims = decoded.map_err(|_| Reject::Unauthorized)?.claims;
        if claims.exp <= now.0.div_euclid(1_000) || claims.id <= 0 {
            return Err(Reject::Unauthorized);
        }
        Ok(Account {
            user: UserId(claims.id),
            login: LoginId(claims.login),
            role: claims.role,
            expires_s: claims.exp,
        })
    }
}

/// Makes tokens.
pub struct Signer {
    secret_digest: u32,
    key: EncodingKey,
    ttl: Duration,
}

impl Signer {
    /// A signer for this configuration.
    pub fn new(config: &AuthConfig) -> Self {
        install_crypto();
        let key = EncodingKey::from_secret(config.access_secret.expose().as_bytes());
        let secret_digest = digest(config.access_secret.expose().as_bytes());
        Self { secret_digest, key, ttl: config.access_ttl }
    }

    /// Equal for verifiers and signers of one secret.
    pub fn secret_digest(&self) -> u32 {
        self.secret_digest
    }

    /// When a token made now ends, seconds since the epoch: [`Account::expires_s`].
    pub fn expires_s(&self, now: Timestamp) -> i64 {
        let ttl = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        now.0.div_euclid(1_000).saturating_add(ttl)
    }

    /// The refresh token that follows this one: as random as the first of its login, and always the same
    /// for the same token, so that nothing must be stored.
    pub fn successor(&self, shown: &str) -> String {
        self.keyed(&format!("refresh:{shown}"))
    }

    /// HMAC-SHA256 under the secret, base64url. No access token is signed over a text with a colon.
    fn keyed(&self, text: &str) -> String {
        jsonwebtoken::crypto::sign(text.as_bytes(), &self.key, Algorithm::HS256)
            .expect("a byte key always signs")
    }

    /// A token for this account, which ends at `account.expires_s`.
    pub fn sign(&self, account: &Account, person: &Person, now: Timestamp) -> String {
        let claims = Claims {
            first_name: person.first_name.clone(),
            last_name: person.last_name.clone(),
            sub: account.user.0,
            email: person.email.clone(),
            id: account.user.0,
            role: account.role,
            iat: now.0.div_euclid(1_000),
            exp: account.expires_s,
            login: account.login.0,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key)
            .expect("plain claims under a byte key always encode")
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Secret;

    const NOW: Timestamp = Timestamp(1_800_000_000_500);
    const NOW_S: i64 = 1_800_000_000;

    fn config(secret: &str) -> AuthConfig {
        AuthConfig {
            access_secret: Secret::new(secret),
            access_ttl: Duration::from_secs(900),
            refresh_ttl: Duration::from_secs(3_600),
        }
    }

    fn account() -> Account {
        Account { user: UserId(7), login: LoginId(9), role: Role::User, expires_s: NOW_S + 900 }
    }

    fn person() -> Person {
        Person {
            id: UserId(7),
            first_name: "Ánh".into(),
            last_name: "Trần".into(),
            email: "anh@example.org".into(),
        }
    }

    fn part(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    fn signed(algorithm: Algorithm, claims: &Value, secret: &str) -> String {
        install_crypto();
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    #[test]
    fn what_is_signed_is_verified_and_reads_as_the_original() {
        let (signer, verifier) = (Signer::new(&config("a")), Verifier::new(&config("a")));
        let account = Account { expires_s: signer.expires_s(NOW), ..account() };
        let token = signer.sign(&account, &person(), NOW);
        assert_eq!(verifier.verify(&token, NOW), Ok(account));

        let body = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let expected = json!({
            "firstName": "Ánh", "lastName": "Trần", "sub": 7, "email": "anh@example.org", "id": 7,
            "type": "USER", "iat": NOW_S, "exp": NOW_S + 900, "login": 9,
        });
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
    }

    #[test]
    fn everything_else_is_unauthorized() {
        let verifier = Verifier::new(&config("right"));
        let good = json!({"id": 7, "sub": 7, "type": "USER", "exp": NOW_S + 1, "login": 9});
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            signed(Algorithm::HS256, &claims, "right")
        };
        let without = |name: &str| {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(name);
            signed(Algorithm::HS256, &claims, "right")
        };
        let valid = signed(Algorithm::HS256, &good, "right");
        assert!(verifier.verify(&valid, NOW).is_ok(), "the good one is good");
        let pieces: Vec<_> = valid.split('.').collect();
        let none = part(&json!({"alg": "none", "typ": "JWT"}));
        let other = part(&json!({"id": 1, "sub": 1, "type": "ADMIN", "exp": NOW_S + 1, "login": 9}));

        let table = [
            ("expired now", with("exp", json!(NOW_S))),
            ("expired long ago", with("exp", json!(1))),
            ("expires in text", with("exp", json!("2099"))),
            ("expires at a fraction", with("exp", json!(9e18))),
            ("never expires", without("exp")),
            ("no id", without("id")),
            ("no role", without("type")),
            ("unknown role", with("type", json!("ROOT"))),
            ("no login", without("login")),
            ("id is text", with("id", json!("7"))),
            ("id is not positive", with("id", json!(0))),
            ("wrong secret", signed(Algorithm::HS256, &good, "wrong")),
            ("HS384", signed(Algorithm::HS384, &good, "right")),
            ("HS512", signed(Algorithm::HS512, &good, "right")),
            ("alg none, no signature", format!("{none}.{}.", pieces[1])),
            ("alg none, old signature", format!("{none}.{}.{}", pieces[1], pieces[2])),
            ("RS256 header", format!("{}.{}.{}", part(&json!({"alg": "RS256"})), pieces[1], pieces[2])),
            ("other claims", format!("{}.{other}.{}", pieces[0], pieces[2])),
            ("no signature", format!("{}.{}.", pieces[0], pieces[1])),
            ("two parts", format!("{}.{}", pieces[0], pieces[1])),
            ("four parts", format!("{valid}.x")),
            ("empty", String::new()),
            ("dots", "..".into()),
            ("garbage", "not a token".into()),
            ("not base64", "!!.!!.!!".into()),
            ("with Bearer", format!("Bearer {valid}")),
            ("too long", format!("{valid}{}", "A".repeat(TOKEN_BYTES_MAX))),
            ("not ASCII", "é.é.é".into()),
        ];
        for (name, token) in table {
            assert_eq!(verifier.verify(&token, NOW), Err(Reject::Unauthorized), "{name}");
        }
    }

    #[test]
    fn equal_secrets_have_equal_digests_and_no_token_carries_one() {
        let digest = |secret: &str| Verifier::new(&config(secret)).secret_digest();
        assert_eq!(digest("a"), Signer::new(&config("a")).secret_digest());
        assert_ne!(digest("a"), digest("b"));
        assert_ne!(digest("a"), 0);
    }

    #[test]
    fn a_token_ends_to_the_second() {
        let (signer, verifier) = (Signer::new(&config("a")), Verifier::new(&config("a")));
        let token = signer.sign(&account(), &person(), NOW);
        assert!(verifier.verify(&token, Timestamp((NOW_S + 900) * 1_000 - 1)).is_ok());
        assert!(verifier.verify(&token, Timestamp((NOW_S + 900) * 1_000)).is_err());
    }
}
