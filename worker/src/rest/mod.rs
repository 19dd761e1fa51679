//! REST over the bus: from a request to the row of a route, and from there to its function.
//!
//! The rows come from `features`. A request is looked up, its permission checked, its place taken
//! and its rate charged, in this order; then the row's function answers it, with connections of the
//! row's budget. Shapes, sentences and status codes are the original's, where the original was right.
//!
//! Not here: HTTP itself and paths of the gateway's own (the gateway), what a route does (features).

/// The input of a handler.
pub mod call;

/// Concurrency and rate limits.
mod gate;

/// The input of requests, checked.
pub mod input;

/// Fields of bodies, and what is wrong with them.
pub mod fields;

/// E-mails, names, titles and passwords: what looks the same is the same.
pub mod text;

/// Responses, in the shape of the original.
pub mod response;

/// A row of the table.
pub mod route;

/// From a method and a path to a row.
mod router;

use common::directory::ClusterRate;
use common::limits::{STORE_CONNECTIONS_HEAVY, STORE_CONNECTIONS_REST};
use protocol::{ApiRequest, ApiResponse};

pub use self::call::Call;
use self::gate::Gate;
use self::input::Query;
use self::response::{Outcome, Refusal};
use self::route::{Budget, Route};
use self::router::{Found, Router};
use crate::ctx::Ctx;

/// Connections to PostgreSQL that REST has for itself.
#[derive(Clone, Copy, Debug)]
pub struct Pools {
    /// Of cheap routes, and of `sync`.
    pub cheap: usize,
    /// Of heavy routes.
    pub heavy: usize,
}

impl Default for Pools {
    fn default() -> Self {
        Self { cheap: STORE_CONNECTIONS_REST, heavy: STORE_CONNECTIONS_HEAVY }
    }
}

/// What answering REST needs: the routes, the bounds, and the surroundings with each budget's
/// connections. One for each worker.
pub struct RestState {
    router: Router,
    gate: Gate,
    cheap: Ctx,
    heavy: Ctx,
}

impl RestState {
    /// Nothing is connected before it is needed.
    ///
    /// # Errors
    /// A pool of connections cannot be made.
    pub fn new(
        ctx: &Ctx,
        rows: impl IntoIterator<Item = &'static Route>,
        pools: Pools,
    ) -> anyhow::Result<Self> {
        let with = |name, connections| -> anyhow::Result<Ctx> {
            Ok(Ctx { store: ctx.store.beside(name, connections)?, ..ctx.clone() })
        };
        let (cheap, heavy) = (with("cheap", pools.cheap)?, with("heavy", pools.heavy)?);
        Ok(Self { router: Router::new(rows), gate: Gate::default(), cheap, heavy })
    }

    /// The surroundings of what is cheap.
    pub(crate) fn cheap(&self) -> &Ctx {
        &self.cheap
    }

    /// Tells how the pools are now.
    pub(crate) fn measure(&self) {
        self.cheap.store.measure();
        self.heavy.store.measure();
    }

    /// Answers a request.
    pub async fn answer(&self, request: &ApiRequest) -> ApiResponse {
        self.respond(request).await.unwrap_or_else(Refusal::into_response)
    }

    async fn respond(&self, request: &ApiRequest) -> Outcome {
        let cannot = || format!("Cannot {} {}", request.method, request.path);
        let (route, params) = match self.router.find(&request.method, &request.path) {
            Found::Route(route, params) => (route, params),
            Found::OtherMethods(allow) => return Err(Refusal::other_methods(cannot(), allow)),
            Found::Unknown => return Err(Refusal::not_found(cannot())),
        };
        route.permission.check(request.account.as_ref())?;
        let person = request.account.as_ref().map(|account| account.user);
        let _pass = self.gate.enter(route, person)?;
        let ctx = match route.budget {
            Budget::Cheap => &self.cheap,
            Budget::Heavy => &self.heavy,
        };
        let query = Query::parse(&request.query);
        if let Some(user) = person {
            gate::charge(&ctx.directory, route.class, user, &query).await?;
        }
        (route.handler)(Call { ctx, request, query, params }).await
    }
}

/// Takes tokens of a cluster-wide bucket.
pub(crate) async fn limit(ctx: &Ctx, key: String, cost: u32, rate: ClusterRate) -> Result<(), Refusal> {
    ctx.directory.take_tokens(&key, cost, rate).await?.map_err(Refusal::too_many)
}
