//! How large an envelope and a batch may be, on every backend of the bus.

use common::bus::{Envelope, PublishError};
use common::limits::{BATCH_ENVELOPES_MAX, ENVELOPE_BYTES_MAX};
use protocol::Lane;

use crate::support::bus as support;
use crate::support::bus::{deadline, envelope};

contract! {
    /// Too large is refused, the largest is carried.
    the_largest_envelope_is_carried => |rig| {
        let bus = rig.bus().await;
        let large = |bytes| Envelope { body: vec![7; bytes].into(), ..envelope("high.sendMessage", 1, "") };
        let room = ENVELOPE_BYTES_MAX - large(0).encoded_len();
        assert_eq!(bus.publish(large(room + 1)).await, Err(PublishError::TooLarge));
        support::publish(&bus, large(room)).await;
        support::publish(&bus, large(room)).await;
        let mut consumer = bus.consume(Lane::High).await.unwrap();
        assert_eq!(support::take_bytes(&mut consumer, 2).await, 2 * room);
    }

    /// A batch has at most so many envelopes.
    batches_are_bounded => |rig| {
        let bus = rig.bus().await;
        let receipts = support::enqueue_numbered(&bus, 1, 1_000);
        assert!(receipts.await.iter().all(support::taken));
        let mut consumer = bus.consume(Lane::High).await.unwrap();
        let mut count = 0;
        while count < 1_000 {
            let batch = deadline(consumer.next()).await.unwrap();
            assert!(batch.envelopes.len() <= BATCH_ENVELOPES_MAX);
            count += batch.envelopes.len();
            batch.ack();
        }
    }
}
