//! The input of a handler: the user, the parameters, the body.

use matchit::Params;
use protocol::ids::UserId;
use protocol::{Account, ApiRequest};

use super::input::{self, Query};
use super::response::Refusal;
use crate::ctx::Ctx;

/// A request that its route's row lets in.
pub struct Call<'a> {
    /// The worker's surroundings, with the connections that the route may use.
    pub ctx: &'a Ctx,
    /// As the gateway passed it on.
    pub request: &'a ApiRequest,
    /// The part after `?`.
    pub query: Query<'a>,
    pub(super) params: Params<'a, 'a>,
}

impl Call<'_> {
    /// The user's account.
    ///
    /// # Errors
    /// 401: the route is public, and the request has no token.
    pub fn account(&self) -> Result<&Account, Refusal> {
        self.request.account.as_ref().ok_or_else(Refusal::no_token)
    }

    /// The id of the user.
    ///
    /// # Errors
    /// As [`Self::account`].
    pub fn user(&self) -> Result<UserId, Refusal> {
        self.account().map(|account| account.user)
    }

    /// An id in the path, by its name.
    ///
    /// # Errors
    /// 400: the parameter is not an id.
    pub fn id(&self, name: &str) -> Result<i64, Refusal> {
        input::id(self.params.get(name).unwrap_or_default())
    }
}
