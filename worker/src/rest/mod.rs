//! REST over the bus: one table of routes, one file per area.
//!
//! Shapes, sentences and status codes are the original's, where the original was right; the seed's
//! paths are aliases in the same table. Every read and write checks membership in its statement.
//! What must keep an order (sending) goes through its lane like everything else.
//!
//! Not here: HTTP itself (the gateway), and paths of the gateway's own.

/// What comes in, checked; and what is wrong with it, in sentences.
pub(crate) mod input;

/// E-mails, names, titles and passwords: what looks the same is the same.
pub mod text;

/// What goes out: the envelope of the original.
pub(crate) mod response;

use common::directory::Rate;
use protocol::{Account, ApiRequest, ApiResponse};

use self::input::Query;
use self::response::{Outcome, Refusal};
use crate::ctx::Ctx;
use crate::features::accounts::{self, Passwords};
use crate::features::messages::Answers;
use crate::features::{conversations, messages};

/// What the API needs beside the peers: one for each worker.
pub struct Desk {
    pub(crate) passwords: Passwords,
    pub(crate) answers: Answers,
    routes: Routes,
    pub(crate) rates: Rates,
}

/// How often, cluster-wide. A person mistypes; a machine guesses.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Messages of one user over REST.
    pub send_user: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self { send_user: Rate { burst: 60, per_second: 10.0 } }
    }
}

impl Default for Desk {
    fn default() -> Self {
        Self::new(Rates::default())
    }
}

impl Desk {
    /// A desk with these limits.
    pub fn new(rates: Rates) -> Self {
        Self { passwords: Passwords::default(), answers: Answers::default(), routes: Routes::new(), rates }
    }
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Register,
    Login,
    Refresh,
    Logout,
    Me,
    Conversations,
    Conversation,
    CreateConversation,
    History,
    ChatHistory,
    ChatMessage,
    Send,
}

/// The one table of routes.
///
/// `GET /chat/messages/:id` is two things: the original's message by its id, and in the seed's list
/// the messages of a conversation. With paging in the query (`page`, `limit`, `size`, `before`) it
/// is the seed's, without it the original's.
const ROUTES: &[(&str, &str, Route)] = &[
    ("POST", "/auth/register", Route::Register),
    ("POST", "/auth/login", Route::Login),
    ("POST", "/auth/refresh", Route::Refresh),
    ("POST", "/auth/logout", Route::Logout),
    ("GET", "/users/me", Route::Me),
    ("GET", "/users/profile", Route::Me),
    ("GET", "/conversations", Route::Conversations),
    ("GET", "/chat/conversations", Route::Conversations),
    ("GET", "/conversations/{id}", Route::Conversation),
    ("POST", "/conversations/create", Route::CreateConversation),
    ("POST", "/chat/conversations", Route::CreateConversation),
    ("GET", "/conversations/{id}/message", Route::History),
    ("GET", "/chat/conversations/{id}/messages", Route::ChatHistory),
    ("GET", "/chat/messages/{id}", Route::ChatMessage),
    ("POST", "/chat/messages", Route::Send),
];

impl Route {
    /// These are asked without a token, or with one that has expired.
    const fn is_public(self) -> bool {
        matches!(self, Self::Register | Self::Login | Self::Refresh)
    }
}

struct Routes {
    gets: matchit::Router<Route>,
    posts: matchit::Router<Route>,
}

impl Routes {
    fn new() -> Self {
        let mut routes = Self { gets: matchit::Router::new(), posts: matchit::Router::new() };
        for (method, path, route) in ROUTES {
            let router = if *method == "GET" { &mut routes.gets } else { &mut routes.posts };
            router.insert(*path, *route).expect("no two lines of the table are in each other's way");
        }
        routes
    }

    fn find<'a>(&self, method: &str, path: &'a str) -> Option<(Route, Option<&'a str>)> {
        let router = match method {
            "GET" | "HEAD" => &self.gets,
            "POST" => &self.posts,
            _ => return None,
        };
        // As Express does: a slash at the end changes nothing.
        let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
        let found = router.at(path).ok()?;
        Some((*found.value, found.params.get("id")))
    }
}

/// Answers a request.
pub async fn answer(ctx: &Ctx, request: ApiRequest) -> ApiResponse {
    match route(ctx, &request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn route(ctx: &Ctx, request: &ApiRequest) -> Outcome {
    let Some((route, id)) = ctx.desk.routes.find(&request.method, &request.path) else {
        return Err(Refusal::not_found(format!("Cannot {} {}", request.method, request.path)));
    };
    if route.is_public() {
        return match route {
            Route::Register => accounts::register(ctx, request).await,
            Route::Login => accounts::login(ctx, request).await,
            _ => accounts::refresh(ctx, request).await,
        };
    }
    let Some(account) = request.account.as_ref() else {
        return Err(Refusal::unauthorized("Token không hợp lệ"));
    };
    of_account(ctx, request, account, route, id).await
}

async fn of_account(
    ctx: &Ctx,
    request: &ApiRequest,
    account: &Account,
    route: Route,
    id: Option<&str>,
) -> Outcome {
    let user = account.user;
    let query = Query::parse(&request.query);
    let id = id.map(input::id).transpose()?;
    match (route, id) {
        (Route::Logout, _) => accounts::logout(ctx, account).await,
        (Route::Me, _) => accounts::me(ctx, user).await,
        (Route::Conversations, _) => conversations::list(ctx, user, &query).await,
        (Route::Conversation, Some(id)) => conversations::one(ctx, user, id).await,
        (Route::CreateConversation, _) => conversations::create(ctx, user, &request.body).await,
        (Route::History, Some(id)) => messages::history_page(ctx, user, id, &query).await,
        (Route::ChatHistory, Some(id)) => messages::chat_history(ctx, user, id, &query).await,
        (Route::ChatMessage, Some(id)) if query.pages() => {
            messages::chat_history(ctx, user, id, &query).await
        }
        (Route::ChatMessage, Some(id)) => messages::message(ctx, user, id).await,
        (Route::Send, _) => messages::send_over_rest(ctx, user, &request.body).await,
        _ => Err(Refusal::not_found(format!("Cannot {} {}", request.method, request.path))),
    }
}

/// Takes one token of a cluster-wide bucket.
pub(crate) async fn limit(ctx: &Ctx, key: String, rate: Rate) -> Result<(), Refusal> {
    ctx.directory.take_tokens(&key, 1, rate).await?.map_err(Refusal::too_many)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_the_table_is_found_and_nothing_else() {
        let routes = Routes::new();
        for (method, path, route) in ROUTES {
            let (path, id) = (path.replace("{id}", "7"), path.contains("{id}").then_some("7"));
            assert_eq!(routes.find(method, &path), Some((*route, id)), "{method} {path}");
            assert_eq!(routes.find(method, &format!("{path}/")), Some((*route, id)));
            assert_eq!(routes.find("PUT", &path), None);
        }
        for path in ["/", "", "/init", "/auth", "/auth/login/x", "/conversations//message"] {
            assert_eq!(routes.find("GET", path), None, "{path}");
        }
        assert_eq!(routes.find("GET", "/auth/login"), None);
    }
}
