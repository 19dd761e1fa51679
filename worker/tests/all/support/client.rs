//! Somebody who asks the API, without a gateway: the request as a gateway would pass it on.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::{IpAddr, Ipv4Addr};

use common::auth::Verifier;
use common::bus::Bus;
use common::config::{AuthConfig, Env};
use common::directory::Directory;
use protocol::ids::{LoginId, NodeId, UserId};
use protocol::{Account, ApiRequest, RequestHeaders, Role, Timestamp};
use serde_json::Value;
use worker::Ctx;
use worker::features::routes;
use worker::rest::{Pools, RestState};

/// The API over memory peers and a store.
pub struct Client {
    pub ctx: Ctx,
    pub rest: RestState,
    verifier: Verifier,
}

/// The configuration of a development machine.
pub fn auth_config() -> AuthConfig {
    let mut env = Env::from_pairs([("CHATCHIT_ENV", "development")]);
    AuthConfig::from_env(&mut env)
}

impl Client {
    pub fn new(store: worker::store::Store) -> Self {
        let auth = auth_config();
        let ctx = Ctx::new(NodeId(7), store, Directory::memory(), Bus::memory(), &auth);
        let rest = RestState::new(&ctx, routes(), Pools::default()).expect("pools are made");
        Self { ctx, rest, verifier: Verifier::new(&auth) }
    }

    /// Asks; the body is JSON or nothing. `who`: as this account, without a login of its own.
    pub async fn ask(&self, who: Option<UserId>, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let account =
            who.map(|user| Account { user, login: LoginId(0), role: Role::User, expires_s: i64::MAX });
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.raw(account, method, path, body).await
    }

    /// Asks without an account from this address; tells the status.
    pub async fn status_from(&self, address: &str, path: &str, body: &Value) -> u16 {
        let mut request = request(None, "POST", path, body.to_string().into_bytes());
        request.address = address.parse().expect("an address");
        self.rest.answer(&request).await.status
    }

    /// Asks with a token.
    pub async fn ask_with(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let account = self.verify(token);
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.raw(Some(account), method, path, body).await
    }

    pub fn verify(&self, token: &str) -> Account {
        self.verifier.verify(token, Timestamp::now()).expect("the token is good")
    }

    pub async fn raw(
        &self,
        account: Option<Account>,
        method: &str,
        path: &str,
        body: Vec<u8>,
    ) -> (u16, Value) {
        let response = self.rest.answer(&request(account, method, path, body)).await;
        let body = match response.body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&response.body).expect("an answer is JSON"),
        };
        if response.status >= 400 {
            assert_eq!(body["statusCode"], response.status, "{body}");
            assert!(body["error"].is_string(), "{body}");
        } else {
            assert_eq!(body["statusCode"], response.status, "{body}");
            assert!(body["message"].is_string(), "{body}");
        }
        (response.status, body)
    }
}

/// A request as a gateway passes it on.
pub fn request(account: Option<Account>, method: &str, path: &str, body: Vec<u8>) -> ApiRequest {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    ApiRequest {
        method: method.into(),
        path: path.into(),
        query: query.into(),
        account,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        body,
        headers: RequestHeaders::default(),
    }
}
