//! People of the commands that are clients: an account that is registered when it is first needed,
//! its login, its conversation with another one. All of it over REST, as any client does it.

use anyhow::{Context as _, bail};
use common::config::Secret;
use serde_json::json;

use crate::data::random_text;
use crate::wire::{Refusal, Site};

/// Who somebody is.
#[derive(Clone, Debug)]
pub struct Account {
    pub email: String,
    pub name: String,
    pub password: Secret,
}

/// The account is there, and this is not its password: trying again will not help.
#[derive(Debug, thiserror::Error)]
#[error("the password is not that of {0}")]
pub struct WrongPassword(String);

/// Somebody who is logged in.
#[derive(Clone, Debug)]
pub struct Person {
    pub id: i64,
    pub token: String,
}

impl Account {
    /// Logs in; registers first when nobody has that e-mail yet.
    pub async fn enter(&self, site: &Site) -> anyhow::Result<Person> {
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

    async fn log_in(&self, site: &Site) -> anyhow::Result<Person> {
        let credentials = json!({ "email": self.email, "password": self.password.expose() });
        let answer = site.post("/auth/login", None, &credentials).await?;
        let data = &answer["data"];
        Ok(Person {
            id: data["user"]["id"].as_i64().context("the login has no user")?,
            token: data["accessToken"].as_str().context("the login has no token")?.to_owned(),
        })
    }

    async fn register(&self, site: &Site) -> anyhow::Result<()> {
        let digits: String =
            random_text().bytes().take(10).map(|byte| char::from(b'0' + byte % 10)).collect();
        let account = json!({
            "email": self.email, "password": self.password.expose(), "phone": format!("+84{digits}"),
            "firstName": self.name, "lastName": "Demo", "role": "USER",
        });
        site.post("/auth/register", None, &account).await.map(drop)
    }
}

/// Whether it was answered with this status, and says this.
fn is_refused(err: &anyhow::Error, status: u16, words: &str) -> bool {
    err.downcast_ref::<Refusal>()
        .is_some_and(|refusal| refusal.status == status && refusal.body.contains(words))
}

impl Person {
    /// The conversation of the two under this title, made at the first use.
    pub async fn conversation_with(&self, site: &Site, other: &Self, title: &str) -> anyhow::Result<i64> {
        if self.id == other.id {
            bail!("a conversation is of two");
        }
        let page = site.get("/conversations?page=1&size=100", &self.token).await?;
        let known = page["data"]["result"].as_array().into_iter().flatten();
        if let Some(id) = known.filter(|one| one["title"] == title).find_map(|one| one["id"].as_i64()) {
            return Ok(id);
        }
        let participants =
            json!([{ "userId": self.id, "type": "LEAD" }, { "userId": other.id, "type": "MEMBER" }]);
        let wanted = json!({ "title": title, "participants": participants });
        let made = site.post("/conversations/create", Some(&self.token), &wanted).await?;
        made["data"]["id"].as_i64().context("the conversation has no id")
    }
}
