//! The canary's section of the environment.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use client::Site;
use common::config::{Env, Secret};
use common::limits::NAME_CHARS_MAX;

use crate::account::Credentials;

/// The configuration of the canary.
#[derive(Clone, Debug)]
pub struct CanaryConfig {
    /// `CANARY_GATEWAYS`: `host:port`, comma-separated. A name of several addresses is each of them.
    pub gateways: Vec<String>,
    /// `CANARY_FRONT`: `http://host:port` or `https://host`: the door that people come in through,
    /// before all gateways. Watched like one more gateway.
    pub front: Option<Site>,
    /// `CANARY_EMAIL` (`canary@chatchit.invalid`) with `speaker.` and `listener.` before it, and
    /// `CANARY_PASSWORD`: the two accounts, registered at the first start.
    pub accounts: [Credentials; 2],
    /// `ADMIN_BIND` (127.0.0.1) and `ADMIN_PORT` (9092): health and metrics. Port 0: none.
    pub admin: Option<SocketAddr>,
}

impl CanaryConfig {
    /// Reads the section; problems stay in `env` until its `finish`.
    pub fn from_env(env: &mut Env) -> Self {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let admin = SocketAddr::new(env.number(&["ADMIN_BIND"], here), env.number(&["ADMIN_PORT"], 9092));
        let gateways = env.parsed(&["CANARY_GATEWAYS"], "host:port, comma-separated", gateways);
        let (url, more) = (env.text(&["CANARY_FRONT"]), env.text(&["CHATCHIT_CA_FILE"]));
        if gateways.is_none() && url.is_none() {
            env.problem(
                "CANARY_GATEWAYS is missing: name the gateways, host:port, comma-separated (or CANARY_FRONT alone)"
                    .into(),
            );
        }
        let front = url.and_then(|url| front(env, &url, more.as_deref()));
        let password = env.secret(&["CANARY_PASSWORD"]);
        if password.is_none() {
            env.problem(
                "CANARY_PASSWORD is missing: that of the canary's two accounts, at least 6 characters".into(),
            );
        }
        let is_email = |text: &str| {
            let fits = text.len() + "listener.".len() <= NAME_CHARS_MAX && worker::rest::text::is_email(text);
            fits.then(|| text.to_lowercase())
        };
        let email = env.parsed(&["CANARY_EMAIL"], "an e-mail", is_email);
        let email = email.unwrap_or_else(|| "canary@chatchit.invalid".to_owned());
        let password = password.unwrap_or_else(|| Secret::new(""));
        let account = |name: &str| Credentials {
            email: format!("{name}.{email}"),
            name: name.to_owned(),
            password: password.clone(),
        };
        Self {
            gateways: gateways.unwrap_or_default(),
            front,
            accounts: [account("speaker"), account("listener")],
            admin: (admin.port() != 0).then_some(admin),
        }
    }
}

/// A URL, and with `https` the authorities to trust.
fn front(env: &mut Env, url: &str, more: Option<&str>) -> Option<Site> {
    match Site::parse(url, more.map(Path::new)) {
        Ok(site) => Some(site),
        Err(err) => {
            env.problem(format!("CANARY_FRONT: {err:#}"));
            None
        }
    }
}

/// `a:1, b:2`
fn gateways(text: &str) -> Option<Vec<String>> {
    let listed = text.split(',').map(str::trim).filter(|one| !one.is_empty());
    let is_place = |one: &str| {
        let (host, port) = one.rsplit_once(':')?;
        let is_host = !host.is_empty() && !host.contains(['/', '@', ' ']);
        (is_host && port.parse::<u16>().is_ok_and(|port| port > 0)).then(|| one.to_owned())
    };
    let all: Option<Vec<String>> = listed.map(is_place).collect();
    all.filter(|all| !all.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_addresses_or_names() {
        let check = |text: &str, expect: Option<&[&str]>| {
            let expect = expect.map(|all| all.iter().map(|&one| one.to_owned()).collect::<Vec<_>>());
            assert_eq!(gateways(text), expect, "{text:?}");
        };
        check("127.0.0.1:8080", Some(&["127.0.0.1:8080"]));
        check("gateway.chat.svc:8080, [::1]:9,", Some(&["gateway.chat.svc:8080", "[::1]:9"]));
        for bad in ["", " , ", "gateway", "gateway:http", "gateway:0", ":8080", "http://a:1", "a:1,b"] {
            check(bad, None);
        }
    }

    #[test]
    fn what_is_missing_is_said_at_once() {
        let problems = |pairs: &[(&str, &str)]| {
            let mut env = Env::from_pairs(pairs.iter().copied());
            let config = CanaryConfig::from_env(&mut env);
            (config, env.finish().err().map_or_else(Vec::new, |err| err.0))
        };
        let (_, found) = problems(&[]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("CANARY_GATEWAYS") && found[1].contains("CANARY_PASSWORD"), "{found:?}");
        let (config, found) = problems(&[("CANARY_FRONT", "http://a"), ("CANARY_PASSWORD", "hunter22")]);
        assert!(found.is_empty() && config.gateways.is_empty() && config.front.is_some(), "{found:?}");
        let (_, found) = problems(&[("CANARY_FRONT", "a:1"), ("CANARY_PASSWORD", "hunter22")]);
        assert!(found.len() == 1 && found[0].starts_with("CANARY_FRONT: 'a:1' should be"), "{found:?}");
        let (config, found) = problems(&[("CANARY_GATEWAYS", "a:1"), ("CANARY_PASSWORD", "hunter22")]);
        assert!(found.is_empty() && !format!("{config:?}").contains("hunter22"), "{found:?}");
        assert_eq!(config.accounts[1].email, "listener.canary@chatchit.invalid");
        let (_, found) =
            problems(&[("CANARY_GATEWAYS", "a:1"), ("CANARY_PASSWORD", "x"), ("CANARY_EMAIL", "x")]);
        assert!(found.len() == 1 && found[0].contains("an e-mail"), "{found:?}");
    }
}
