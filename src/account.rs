//! People of the commands that are clients: an account that is registered when it is first needed,
//! its login, its conversation with another one. All of it over REST, as any client does it.

use anyhow::{Context as _, bail};
use client::{RefusedRequest, Site};
use common::config::Secret;
use common::random;
use serde_json::{Value, json};

/// Pages of a person's conversations that are searched for the one of two people. Strangers may
/// have added a person to any number of conversations.
const PAGES_MAX: usize = 10;

/// The name and the password of a person.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub email: String,
    pub name: String,
    pub password: Secret,
}

/// The account is there, and this is not its password: trying again will not help.
#[derive(Debug, thiserror::Error)]
#[error("the password is not that of {0}")]
pub struct WrongPassword(String);

/// A person who is logged in.
#[derive(Clone, Debug)]
pub struct SignedIn {
    pub id: i64,
    pub token: String,
}

impl Credentials {
    /// Logs in; registers first when the e-mail has no account yet.
    pub async fn enter(&self, site: &Site) -> anyhow::Result<SignedIn> {
        let first = match self.log_in(site).await {
            Err(err) if is_refused(&err, 401, "") => err,
            entered => return entered.with_context(|| format!("{} cannot log in", self.email)),
        };
        let registered = self.register(site).await;
        let is_there = registered.as_ref().is_err_and(|err| is_refused(err, 400, "email already exists"));
        if !is_there {
            registered.with_context(|| format!("{} cannot register", self.email))?;
        }
        match self.log_in(site).await {
            // Else somebody else registered it just now.
            Err(err) if is_there && is_refused(&err, 401, "") => {
                Err(first.context(WrongPassword(self.email.clone())))
            }
            entered => entered.with_context(|| format!("{} cannot log in", self.email)),
        }
    }

    async fn log_in(&self, site: &Site) -> anyhow::Result<SignedIn> {
        let credentials = json!({ "email": self.email, "password": self.password.expose() });
        let answer = site.post("/auth/login", None, &credentials).await?;
        let data = &answer["data"];
        Ok(SignedIn {
            id: data["user"]["id"].as_i64().context("the login has no user")?,
            token: data["accessToken"].as_str().context("the login has no token")?.to_owned(),
        })
    }

    async fn register(&self, site: &Site) -> anyhow::Result<()> {
        let digits: String = random::bytes::<10>().map(|byte| char::from(b'0' + byte % 10)).iter().collect();
        let account = json!({
            "email": self.email, "password": self.password.expose(), "phone": format!("+84{digits}"),
            "firstName": self.name, "lastName": "Demo", "role": "USER",
        });
        site.post("/auth/register", None, &account).await.map(drop)
    }
}

/// Whether the answer has this status, and contains this text.
fn is_refused(err: &anyhow::Error, status: u16, words: &str) -> bool {
    err.downcast_ref::<RefusedRequest>()
        .is_some_and(|refusal| refusal.status == status && refusal.body.contains(words))
}

impl SignedIn {
    /// The conversation of exactly these two, under this title; created at the first use.
    pub async fn conversation_with(&self, site: &Site, other: &Self, title: &str) -> anyhow::Result<i64> {
        if self.id == other.id {
            bail!("a conversation needs two people");
        }
        for number in 1..=PAGES_MAX {
            let page = site.get(&format!("/conversations?page={number}&size=100"), &self.token).await?;
            let listed = page["data"]["result"].as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(found) = listed.iter().find(|one| self.is_of_us(other, one) && one["title"] == title)
            {
                return found["id"].as_i64().context("the conversation has no id");
            }
            if listed.is_empty() {
                break;
            }
        }
        let participants =
            json!([{ "userId": self.id, "type": "LEAD" }, { "userId": other.id, "type": "MEMBER" }]);
        let wanted = json!({ "title": title, "participants": participants });
        let made = site.post("/conversations/create", Some(&self.token), &wanted).await?;
        made["data"]["id"].as_i64().context("the conversation has no id")
    }

    /// Whether one of the two created it and only the two are in it. The title proves nothing: a stranger
    /// may create a conversation of any title, and add both of them to it.
    fn is_of_us(&self, other: &Self, conversation: &Value) -> bool {
        let mut members: Vec<Option<i64>> = conversation["participants"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| one["userId"].as_i64())
            .collect();
        members.sort_unstable();
        let mut us = [Some(self.id), Some(other.id)];
        us.sort_unstable();
        let is_whole = conversation["participantCount"].as_u64() == Some(2);
        is_whole && members == us && us.contains(&conversation["creatorId"].as_i64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_of_two_has_no_stranger_in_it() {
        let person = |id| SignedIn { id, token: String::new() };
        let (me, other) = (person(7), person(9));
        let of = |creator: i64, count: u64, members: &[i64]| {
            let members: Vec<Value> = members.iter().map(|id| json!({ "userId": id })).collect();
            json!({ "id": 1, "creatorId": creator, "participantCount": count, "participants": members })
        };
        for good in [of(7, 2, &[7, 9]), of(9, 2, &[9, 7])] {
            assert!(me.is_of_us(&other, &good) && other.is_of_us(&me, &good), "{good}");
        }
        for bad in [
            of(5, 3, &[5, 7, 9]),
            of(5, 2, &[7, 9]),
            of(7, 3, &[7, 9]),
            of(7, 2, &[7, 5]),
            of(7, 1, &[7]),
            json!({}),
        ] {
            assert!(!me.is_of_us(&other, &bad), "{bad}");
        }
    }
}
