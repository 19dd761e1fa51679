//! Skeleton.

use common::protocol::{ApiRequest, ApiResponse};

use crate::ctx::Ctx;

/// Answers a request.
pub async fn answer(_ctx: &Ctx, _request: ApiRequest) -> ApiResponse {
    ApiResponse { status: 404, body: Vec::new() }
}
