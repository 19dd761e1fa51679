//! Sends a ledger's acknowledgements to the broker.

use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};

use super::super::ledger::Word;
use super::connection::Live;

/// Acknowledges and gives back.
pub(super) async fn say(live: &Live, channel: &Channel, words: Vec<Word>) -> anyhow::Result<()> {
    for word in words {
        match word {
            Word::Through(tag) => {
                live.answer(channel.basic_ack(tag, BasicAckOptions { multiple: true })).await?;
            }
            Word::One(tag) => {
                live.answer(channel.basic_ack(tag, BasicAckOptions { multiple: false })).await?
            }
            Word::GiveBack(tag) => {
                let options = BasicNackOptions { multiple: false, requeue: true };
                live.answer(channel.basic_nack(tag, options)).await?;
            }
        }
    }
    Ok(())
}
