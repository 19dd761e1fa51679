//! The programs' descriptions of themselves: one hash, beside the leases.

use ::redis::cmd;
use protocol::ids::NodeId;

use super::link::ANSWER;
use super::{Redis, millis};
use crate::directory::DirectoryError;
use crate::directory::keys::CARDS_TTL;
use crate::directory::metrics::bounded;

impl Redis {
    pub(in crate::directory) async fn write_card(
        &self,
        node: NodeId,
        card: &[u8],
    ) -> Result<(), DirectoryError> {
        bounded("write_card", ANSWER * 2, async {
            let (mut set, mut expire) = (cmd("HSET"), cmd("PEXPIRE"));
            set.arg(self.0.keys.cards()).arg(node.to_string()).arg(card);
            expire.arg(self.0.keys.cards()).arg(millis(CARDS_TTL));
            self.0.link.ask::<u64>(&set).await?;
            self.0.link.ask::<u64>(&expire).await.map(drop)
        })
        .await
    }

    pub(in crate::directory) async fn cards(&self) -> Result<Vec<Vec<u8>>, DirectoryError> {
        let mut values = cmd("HVALS");
        values.arg(self.0.keys.cards());
        bounded("cards", ANSWER * 2, self.0.link.ask(&values)).await
    }

    pub(in crate::directory) async fn drop_cards(&self, nodes: &[NodeId]) -> Result<(), DirectoryError> {
        bounded("drop_cards", ANSWER * 2, self.unlink_cards(nodes)).await
    }

    pub(super) async fn unlink_cards(&self, nodes: &[NodeId]) -> anyhow::Result<()> {
        if nodes.is_empty() {
            return Ok(());
        }
        let mut delete = cmd("HDEL");
        delete.arg(self.0.keys.cards());
        nodes.iter().for_each(|node| {
            delete.arg(node.to_string());
        });
        self.0.link.ask::<u64>(&delete).await.map(drop)
    }
}
