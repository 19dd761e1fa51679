//! Skeleton.

use std::collections::HashMap;

use common::ids::{ConversationId, Guid, MessageId, UserId};
use common::protocol::{ConversationKind, MessageRead, MessageView, Person, Reject, SendMessage, Timestamp};

#[derive(Clone)]
#[expect(missing_docs, reason = "skeleton")]
pub struct Store;

#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "skeleton")]
pub enum StoreError {
    #[error("{0}")]
    Reject(Reject),
    #[error("the database is away: {0}")]
    Unavailable(anyhow::Error),
    #[error("the statement failed: {0}")]
    Fault(anyhow::Error),
}

#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "skeleton")]
pub struct NewMessage {
    pub sender: UserId,
    pub event: SendMessage,
    pub guid: Guid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "skeleton")]
pub struct SavedMessage {
    pub message: MessageId,
    pub seq: u64,
    pub created_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "skeleton")]
pub enum Saved {
    New(SavedMessage),
    Repeat(SavedMessage),
}

#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "skeleton")]
pub struct Audience {
    pub kind: ConversationKind,
    pub members: Vec<Person>,
    pub blocked: Vec<(UserId, UserId)>,
}

#[expect(missing_docs, clippy::unused_async, unused_variables, reason = "skeleton")]
impl Store {
    pub async fn save_messages(&self, batch: &[NewMessage]) -> Result<Vec<Saved>, StoreError> {
        Err(StoreError::Fault(anyhow::anyhow!("skeleton")))
    }
    pub async fn audiences(
        &self,
        conversations: &[ConversationId],
    ) -> Result<HashMap<ConversationId, Audience>, StoreError> {
        Err(StoreError::Fault(anyhow::anyhow!("skeleton")))
    }
    pub async fn mark_read(
        &self,
        batch: &[(UserId, MessageRead)],
    ) -> Result<Vec<Result<Timestamp, Reject>>, StoreError> {
        Err(StoreError::Fault(anyhow::anyhow!("skeleton")))
    }
    pub async fn heads(
        &self,
        conversations: &[ConversationId],
    ) -> Result<HashMap<ConversationId, u64>, StoreError> {
        Err(StoreError::Fault(anyhow::anyhow!("skeleton")))
    }
    pub async fn messages_after(
        &self,
        wanted: &[(ConversationId, u64)],
        limit: usize,
    ) -> Result<Vec<MessageView>, StoreError> {
        Err(StoreError::Fault(anyhow::anyhow!("skeleton")))
    }
    pub async fn ping(&self) -> Result<(), StoreError> {
        Err(StoreError::Fault(anyhow::anyhow!("skeleton")))
    }
}
