//! Logins that ended before their tokens: one sorted set, so that it and its mark are lost together.

use std::sync::LazyLock;
use std::time::Duration;

use protocol::ids::LoginId;

use super::link::{ANSWER, Lua};
use super::{Redis, millis};
use crate::directory::DirectoryError;
use crate::directory::metrics::bounded;
use crate::limits::DIRECTORY_FIELDS_MAX;

static END_LOGINS: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("../scripts/end_logins.lua")));
static ENDED_LOGINS: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("../scripts/ended_logins.lua")));

static HAS_ALL: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("../scripts/has_all_logins.lua")));

impl Redis {
    pub(in crate::directory) async fn end_logins(
        &self,
        ended: &[(LoginId, Duration)],
    ) -> Result<Vec<LoginId>, DirectoryError> {
        let mut news = Vec::new();
        for some in ended.chunks(DIRECTORY_FIELDS_MAX) {
            let call = END_LOGINS.on([self.0.keys.logins()]);
            let call =
                some.iter().fold(call, |call, (login, ttl)| call.arg(login.0).arg(millis(*ttl).max(1)));
            let answer = self.0.link.call::<Vec<i64>>(call);
            news.extend(bounded("end_logins", ANSWER * 2, answer).await?.into_iter().map(LoginId));
        }
        Ok(news)
    }

    pub(in crate::directory) async fn ended_logins(&self) -> Result<Vec<LoginId>, DirectoryError> {
        let call = ENDED_LOGINS.on([self.0.keys.logins()]);
        let answer =
            async { Ok(self.0.link.call::<Vec<i64>>(call).await?.into_iter().map(LoginId).collect()) };
        bounded("ended_logins", ANSWER * 2, answer).await
    }

    pub(in crate::directory) async fn has_all_ended_logins(&self) -> Result<bool, DirectoryError> {
        let call = HAS_ALL.on([self.0.keys.logins()]);
        bounded("has_all_ended_logins", ANSWER * 2, async { Ok(self.0.link.call::<u8>(call).await? == 1) })
            .await
    }
}
