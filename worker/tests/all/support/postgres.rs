//! A store on a database of its own for each test, and what tests of it say most often.
//!
//! The database is dropped by [`Database::finish`]; a failed test leaves its own behind, to be looked at.

use std::time::Duration;

use protocol::events::message::{CallStatus, CallType, MessageType, SendMessage};
use protocol::ids::{ConversationId, Guid, LoginId, UserId};
pub use testing::connect as open;
use tokio_postgres::Client;
use worker::features::accounts::{NewAccount, NewLogin};
use worker::features::conversations::{NewConversation, NewParticipant, ParticipantType};
use worker::features::messages::{NewMessage, Saved, SavedMessage};
use worker::store::Store;

/// A migrated, empty database.
pub struct Database {
    pub store: Store,
    pub url: String,
    /// For what the store has no function for.
    pub client: Client,
    database: testing::Database,
}

impl Database {
    /// None: there is no PostgreSQL here, and the test is left out.
    pub async fn fresh() -> Option<Self> {
        let database = testing::Database::fresh("chatchit_test").await?;
        let url = database.url.clone();
        let store = Store::connect(&url, 8).await.expect("the store connects");
        Some(Self { store, client: open(&url).await, url, database })
    }

    /// The same database on another server.
    pub fn on(&self, server: &str) -> String {
        self.database.on(server)
    }

    /// Drops it.
    pub async fn finish(self) {
        drop(self.client);
        drop(self.store);
        self.database.finish().await;
    }

    /// An account named after somebody, with a hash nobody can log in with.
    pub async fn user(&self, name: &str) -> UserId {
        self.user_with(name, "no hash").await
    }

    /// An account with this password hash.
    pub async fn user_with(&self, name: &str, password: &str) -> UserId {
        let email = format!("{name}@example.com");
        let new = NewAccount {
            email: &email,
            phone: name,
            password,
            first_name: name,
            middle_name: None,
            last_name: "Example",
            preferences: None,
        };
        self.store.create_account(new).await.expect("the store answers").expect("nobody has that name").id
    }

    /// A login with this as the digest of its refresh token; all its tokens live for an hour.
    pub async fn login(&self, user: UserId, first: [u8; 32]) -> LoginId {
        let hour = Duration::from_secs(3_600);
        let new = NewLogin { user, first: &first, refresh_ttl: hour, access_ttl: hour, address: &[0; 32] };
        self.store.begin_login(new).await.expect("the store answers").expect("the account is good")
    }

    /// A conversation of these; the first leads.
    pub async fn conversation(&self, users: &[UserId]) -> ConversationId {
        let participants = users.iter().enumerate().map(|(at, user)| NewParticipant {
            user: *user,
            participant_type: if at == 0 { ParticipantType::Lead } else { ParticipantType::Member },
        });
        let new = NewConversation {
            title: "talk",
            creator: users[0],
            channel_id: 0,
            avatar_url: "",
            participants: participants.collect(),
        };
        self.store.create_conversation(&new).await.expect("the store answers").expect("all may be in it")
    }

    /// Says something, once.
    pub async fn say(&self, sender: UserId, conversation: ConversationId, guid: &str) -> SavedMessage {
        let saved = self.store.save_messages(&[text(sender, conversation, guid)]).await.expect("saved");
        match saved[..] {
            [Saved::New(row)] => row,
            ref other => panic!("not new: {other:?}"),
        }
    }

    /// One number.
    pub async fn count(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.expect("the query works").get(0)
    }
}

/// A text message whose content is its guid.
pub fn text(sender: UserId, conversation: ConversationId, guid: &str) -> NewMessage {
    let event = SendMessage {
        conversation,
        guid: None,
        message_type: MessageType::Text,
        content: guid.to_owned(),
        call_type: CallType::Voice,
        call_status: CallStatus::Ended,
        attachments: vec![],
        context: None,
    };
    NewMessage { sender, event, guid: Guid::new(guid).expect("a guid") }
}
