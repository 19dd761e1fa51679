//! Presence: online and offline.

use serde::Serialize;

use super::row::{Acknowledged, Judged, Way};
use crate::ids::{ConversationId, UserId};
use crate::lane::Lane;
use crate::reject::Reject;
use crate::time::Timestamp;
use crate::{client_events, server_events};

/// `getOnlineUsers`: which of the asker's contacts are online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetOnlineUsers;

client_events! {
    GetOnlineUsers = "getOnlineUsers" {
        way: Way::Lane(Lane::Low),
        acknowledged: Acknowledged::Answered,
        refusal: Some(GET_ONLINE_USERS_ERROR),
        judged: |_| Judged::default(),
    }
}

impl GetOnlineUsers {
    /// The event ignores its data.
    fn read(_data: &str) -> Result<Self, Reject> {
        Ok(Self)
    }
}

/// `userOnline`: a contact has come online.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserOnline {
    /// The contact.
    pub user_id: UserId,
    /// The time when a program noticed it.
    pub timestamp: Timestamp,
}

/// `userOffline`: a contact has been gone for
/// [`PRESENCE_GRACE_MS`](crate::limits::PRESENCE_GRACE_MS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserOffline {
    /// The contact.
    pub user_id: UserId,
    /// The time when a program noticed it.
    pub timestamp: Timestamp,
}

/// `onlineUsers`: the answer to `getOnlineUsers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OnlineUsers {
    /// Contacts that are online.
    pub users: Vec<UserId>,
}

/// `listOnline`: the recipient's conversations in which another member is online (Socket.IO form
/// only).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListOnline {
    /// The conversations.
    pub list_online: Vec<ConversationId>,
}

server_events! {
    UserOnline = "userOnline", Some(Lane::Low);
    UserOffline = "userOffline", Some(Lane::Low);
    OnlineUsers = "onlineUsers", Some(Lane::Low);
    ListOnline = "listOnline", Some(Lane::Low);
    "getOnlineUsersError" => GET_ONLINE_USERS_ERROR, Some(Lane::Low);
}

#[cfg(test)]
mod tests {
    use super::super::row::ServerEvent;
    use super::*;

    #[test]
    fn events_are_written_as_clients_read_them() {
        let gone = ServerEvent::from(UserOffline { user_id: UserId(7), timestamp: Timestamp(0) });
        assert_eq!(gone.data(), r#"{"userId":7,"timestamp":"1970-01-01T00:00:00.000Z"}"#);
        let list = ServerEvent::from(ListOnline { list_online: vec![ConversationId(7)] });
        assert_eq!((list.name(), list.data()), ("listOnline", r#"{"listOnline":[7]}"#));
    }
}
