//! What every backend of the bus promises: one suite. It always runs on memory, and on RabbitMQ
//! when `AMQP_URL` is set.

use std::time::Duration;

use bytes::Bytes;
use common::bus::{
    Arrival, Fate, Holding, LaneEnvelope, Pattern, PublishError, Quarantined, RequestError, Which,
};
use common::limits::PUBLISH_WINDOW_ENVELOPES_MAX;
use protocol::Lane;

use crate::support::bus as support;
use crate::support::bus::{deadline, drain_lane, envelope, numbered, subject};

contract! {
    /// Ok means that the envelope survives a crash of anything: the broker has it, or, where the bus
    /// keeps nothing, a consumer has kept it. Until then its publisher hears busy.
    ok_means_that_it_is_kept => |rig| {
        let bus = rig.bus().await;
        let mut consumer = bus.consume(Lane::High).await.unwrap();
        let outcome = tokio::spawn({
            let bus = bus.clone();
            async move { support::within_ms(1_000, bus.publish(envelope("high.sendMessage", 7, "one"))).await }
        });
        let held = deadline(consumer.next()).await.unwrap();
        let expected = if rig.keeps() { Ok(()) } else { Err(PublishError::Busy) };
        assert_eq!(outcome.await.unwrap(), expected, "somebody has it in hand, and no more");
        held.release();

        for kept_first in [true, false] {
            let outcome = support::outcome(&bus, envelope("high.sendMessage", 7, "two"));
            let mut batch = deadline(consumer.next()).await.unwrap();
            while batch.envelopes[0].envelope.body == "one" {
                batch.ack();
                batch = deadline(consumer.next()).await.unwrap();
            }
            if kept_first {
                batch.kept();
                assert_eq!(outcome.await, Ok(()), "kept is enough");
                batch.ack();
            } else {
                batch.ack();
                assert_eq!(outcome.await, Ok(()), "acknowledged is kept");
            }
        }
    }

    /// Of a batch that is worked on for long, what is kept already is said alone.
    one_of_a_batch_is_kept_before_the_others => |rig| {
        let bus = rig.bus().await;
        let one = support::outcome(&bus, envelope("high.sendMessage", 7, "one"));
        let mut other = Box::pin(support::outcome(&bus, envelope("high.sendMessage", 7, "other")));
        let mut consumer = bus.consume(Lane::High).await.unwrap();
        let mut batch = deadline(consumer.next()).await.unwrap();
        batch.kept_one(0);
        assert_eq!(one.await, Ok(()));
        if batch.envelopes.len() == 1 {
            batch.ack();
            batch = deadline(consumer.next()).await.unwrap();
        } else if !rig.keeps() {
            support::silent(&mut other).await;
        }
        batch.kept();
        assert_eq!(other.await, Ok(()));
        batch.ack();
    }

    /// What failed is not kept with the batch that it came in.
    what_is_set_aside_is_not_kept_yet => |rig| {
        let bus = rig.bus().await;
        let mut consumer = bus.consume(Lane::High).await.unwrap();
        let outcome = support::outcome(&bus, envelope("high.sendMessage", 7, "poison"));
        let batch = deadline(consumer.next()).await.unwrap();
        bus.retry(Lane::High, batch.envelopes[0].clone(), "it hurts").await.unwrap();
        batch.kept();
        batch.ack();
        let again = deadline(consumer.next()).await.unwrap();
        assert_eq!(again.envelopes[0].attempt, 1);
        again.ack();
        assert_eq!(outcome.await, Ok(()), "kept at the second try, before anybody said busy");

        let outcome = support::outcome(&bus, envelope("high.sendMessage", 7, "more poison"));
        let batch = deadline(consumer.next()).await.unwrap();
        let last = LaneEnvelope { attempt: 5, ..batch.envelopes[0].clone() };
        assert_eq!(bus.retry(Lane::High, last, "it hurts").await, Ok(Fate::Quarantined));
        batch.release();
        let expected = if rig.keeps() { Ok(()) } else { Err(PublishError::Busy) };
        assert_eq!(outcome.await, expected);
    }

    /// A consumer that comes later gets what waits for it.
    a_confirmed_envelope_waits_for_its_consumer => |rig| {
        let bus = rig.bus().await;
        support::publish(&bus, envelope("high.sendMessage", 7, "xin chào")).await;
        let mut consumer = rig.bus().await.consume(Lane::High).await.unwrap();
        let batch = deadline(consumer.next()).await.unwrap();
        assert_eq!(batch.lane, Lane::High);
        assert_eq!(batch.envelopes, [LaneEnvelope { envelope: envelope("high.sendMessage", 7, "xin chào"), attempt: 0 }]);
        batch.ack();
    }

    /// What waits is seen from outside while nobody is there to take it, and so is who is in line.
    what_waits_in_a_lane_is_seen_from_outside => |rig| {
        let bus = rig.bus().await;
        let mut lanes = rig.bus().await.watch_lanes();
        support::publish(&bus, envelope("high.sendMessage", 7, "a")).await;
        let waiting = deadline(async {
            loop {
                let seen = lanes.look().await.unwrap();
                if seen[0].batches > 0 { return seen; }
            }
        });
        let [high, medium, low] = waiting.await;
        assert_eq!((high.batches, high.consumers), (1, 0));
        assert_eq!((medium.batches, low.batches, low.consumers), (0, 0, 0));
        // The backlog is a time, so some has to pass.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let later = lanes.look().await.unwrap()[0];
        assert!(later.batches == 1 && later.backlog > high.backlog, "{later:?}");

        let mut consumer = bus.consume(Lane::High).await.unwrap();
        let batch = deadline(consumer.next()).await.unwrap();
        let high = lanes.look().await.unwrap()[0];
        assert_eq!((high.batches, high.backlog, high.consumers), (0, Duration::ZERO, 1), "in somebody's hands");
        batch.ack();
    }

    /// `*` is one token, `>` one or more at the tail; every subscriber gets every envelope.
    subscribers_get_what_their_pattern_wants => |rig| {
        let bus = rig.bus().await;
        let mut star = bus.subscribe(Pattern::new("news.*").unwrap()).await.unwrap();
        let mut tail = rig.bus().await.subscribe(Pattern::new("news.>").unwrap()).await.unwrap();
        for name in ["news.sport", "news.sport.tennis", "weather.today"] {
            let outcome = bus.publish(envelope(name, 1, name)).await;
            let is_news = name.starts_with("news");
            assert!(is_news && support::taken(&outcome) || outcome == Err(PublishError::NoRoute), "{name}");
        }
        support::publish(&bus, envelope("news.end", 1, "")).await;
        assert_eq!(support::until(&mut star, "news.end").await, ["news.sport", "news.end"]);
        let expect = ["news.sport", "news.sport.tennis", "news.end"];
        assert_eq!(support::until(&mut tail, "news.end").await, expect);
    }

    /// Nobody has to listen to control.
    control_is_sent_to_whoever_listens => |rig| {
        let bus = rig.bus().await;
        support::publish(&bus, envelope("control.gateways", 1, "early")).await;
        let pattern = Pattern::from(subject("control.gateways"));
        let mut first = bus.subscribe(pattern.clone()).await.unwrap();
        let mut second = rig.bus().await.subscribe(pattern).await.unwrap();
        support::publish(&bus, envelope("control.gateways", 1, "late")).await;
        for subscription in [&mut first, &mut second] {
            let Some(Arrival::Envelopes(heard)) = deadline(subscription.next()).await else { panic!("lapse") };
            assert_eq!(heard, [envelope("control.gateways", 1, "late")]);
        }
    }

    /// One member gets each envelope, and what it drops goes to another.
    a_group_member_that_fails_leaves_its_envelope_to_another => |rig| {
        let bus = rig.bus().await;
        let pattern = Pattern::new("job.*").unwrap();
        let mut first = bus.queue_subscribe(pattern.clone(), "workers").await.unwrap();
        support::publish(&bus, envelope("job.a", 1, "a")).await;
        let delivery = deadline(first.next()).await.unwrap();
        assert!(!delivery.wants_reply());
        let mut second = rig.bus().await.queue_subscribe(pattern, "workers").await.unwrap();
        drop(first);
        drop(delivery);
        let delivery = deadline(second.next()).await.unwrap();
        assert_eq!(delivery.envelope, envelope("job.a", 1, "a"));
        delivery.ack();
        support::publish(&bus, envelope("job.b", 1, "b")).await;
        let delivery = deadline(second.next()).await.unwrap();
        assert_eq!(delivery.envelope.body, "b");
        delivery.ack();
    }

    /// Members share the work; nothing is done twice.
    group_members_share => |rig| {
        let bus = rig.bus().await;
        let pattern = Pattern::new("job.*").unwrap();
        let mut members = Vec::new();
        for _ in 0..2 {
            members.push(rig.bus().await.queue_subscribe(pattern.clone(), "workers").await.unwrap());
        }
        for n in 0..100_u64 {
            support::publish(&bus, numbered("job.a", n, n)).await;
        }
        let [first, second] = members.try_into().ok().unwrap();
        let mut heard = support::take_deliveries([first, second], 100).await;
        heard.sort_unstable();
        assert_eq!(heard, (0..100).collect::<Vec<u64>>());
    }

    /// An answer comes back to who asked, from another node too.
    a_request_is_answered => |rig| {
        let bus = rig.bus().await;
        let mut server = rig.bus().await.queue_subscribe(Pattern::new("api.*").unwrap(), "api").await.unwrap();
        let serve = tokio::spawn(async move {
            while let Some(delivery) = server.next().await {
                assert!(delivery.wants_reply());
                let answer = [b"re: ", &delivery.envelope.body[..]].concat();
                delivery.reply(answer.into());
            }
        });
        let ask = |text: &'static str| bus.request(subject("api.auth"), Bytes::from(text), Duration::from_secs(5));
        let (one, two) = tokio::join!(ask("one"), ask("two"));
        assert_eq!((one.unwrap(), two.unwrap()), (Bytes::from("re: one"), Bytes::from("re: two")));
        serve.abort();
    }

    /// No responders is an answer, not a timeout: before anyone came, and after the last left.
    nobody_to_ask_is_known_at_once => |rig| {
        let bus = rig.bus().await;
        let ask = || bus.request(subject("api.auth"), Bytes::new(), Duration::from_secs(5));
        assert_eq!(support::within_ms(1_000, ask()).await, Err(RequestError::NoResponders));
        let member = bus.queue_subscribe(Pattern::new("api.*").unwrap(), "api").await.unwrap();
        drop(member);
        support::eventually(|| async { ask().await == Err(RequestError::NoResponders) }).await;
        assert_eq!(support::within_ms(1_000, ask()).await, Err(RequestError::NoResponders));
    }

    /// A server that is silent is a timeout.
    no_answer_is_a_timeout => |rig| {
        let bus = rig.bus().await;
        let mut server = bus.queue_subscribe(Pattern::new("api.*").unwrap(), "api").await.unwrap();
        let ask = bus.request(subject("api.auth"), Bytes::new(), Duration::from_millis(100));
        let hear = async { deadline(server.next()).await.unwrap() };
        let (answer, delivery) = tokio::join!(ask, hear);
        assert_eq!(answer, Err(RequestError::Timeout));
        delivery.ack();
    }

    /// Envelopes of one key keep their order, over many batches and shards.
    a_lane_keeps_the_order_of_each_key => |rig| {
        let bus = rig.bus().await;
        let receipts = support::enqueue_numbered(&bus, 40, 50);
        let mut consumer = rig.bus().await.consume(Lane::High).await.unwrap();
        let seen = drain_lane(&mut consumer, 40 * 50).await;
        support::assert_in_order(&seen, 40, 50);
        assert!(receipts.await.iter().all(support::taken));
    }

    /// A second consumer stands in line: it hears nothing of a shard while the first is there. What the first acknowledged as it
    /// left may come again: the broker may close its channel before it reads the last acknowledgements.
    one_consumer_at_a_time_has_a_shard => |rig| {
        let bus = rig.bus().await;
        let mut first = rig.bus().await.consume(Lane::High).await.unwrap();
        let mut second = rig.bus().await.consume(Lane::High).await.unwrap();
        for n in 0..20 {
            support::publish(&bus, numbered("high.sendMessage", n, n)).await;
        }
        assert_eq!(drain_lane(&mut first, 20).await.len(), 20);
        support::silent(second.next()).await;
        drop(first);
        support::publish(&bus, numbered("high.sendMessage", 3, 20)).await;
        loop {
            let batch = deadline(second.next()).await.expect("the shard came over");
            let seen: Vec<_> =
                batch.envelopes.iter().map(|e| (e.envelope.key, support::number(&e.envelope))).collect();
            let repeats = batch.redelivered && seen.iter().all(|(_, number)| *number < 20);
            batch.ack();
            if seen == [(3, 20)] {
                break;
            }
            assert!(repeats, "{seen:?}");
        }
    }

    /// Shards change hands under load: nothing is lost, the order holds.
    a_hand_over_keeps_order_and_loses_nothing => |rig| {
        let bus = rig.bus().await;
        let first = rig.bus().await.consume(Lane::High).await.unwrap();
        let second = rig.bus().await.consume(Lane::High).await.unwrap();
        let seen = support::hand_over(&bus, first, second, 64, 40).await;
        support::assert_in_order(&seen.merged, 64, 40);
        assert!(seen.first > 0 && seen.second > 0, "both worked: {} {}", seen.first, seen.second);
    }

    /// A batch that is given back comes again, in the same order, before what came later.
    a_released_batch_comes_again_in_order => |rig| {
        let bus = rig.bus().await;
        let mut consumer = bus.consume(Lane::High).await.unwrap();
        support::publish(&bus, numbered("high.sendMessage", 7, 0)).await;
        let first = deadline(consumer.next()).await.unwrap();
        support::publish(&bus, numbered("high.sendMessage", 7, 1)).await;
        let second = deadline(consumer.next()).await.unwrap();
        assert!(!second.is_revoked() && !first.redelivered && !second.redelivered);
        first.release();
        support::eventually(|| async { second.is_revoked() }).await;
        drop(second);
        let again = deadline(consumer.next()).await.unwrap();
        assert!(again.redelivered);
        drop(again);
        assert_eq!(drain_lane(&mut consumer, 2).await, [(7, 0), (7, 1)]);
    }

    /// A consumer that gives up a shard has its batches revoked; the next one gets them.
    what_is_given_up_is_revoked => |rig| {
        let bus = rig.bus().await;
        let mut first = rig.bus().await.consume(Lane::High).await.unwrap();
        let mut second = rig.bus().await.consume(Lane::High).await.unwrap();
        let everything: Vec<u16> = (0..common::limits::LANE_SHARDS).collect();
        support::publish(&bus, numbered("high.sendMessage", 7, 0)).await;
        let batch = deadline(first.next()).await.unwrap();
        second.hold(&everything);
        first.hold(&[]);
        support::eventually(|| async { batch.is_revoked() }).await;
        support::publish(&bus, numbered("high.sendMessage", 7, 1)).await;
        batch.release();
        assert_eq!(drain_lane(&mut second, 2).await, [(7, 0), (7, 1)]);
    }

    /// A replay puts it back on its lane as it was, and takes it out of quarantine.
    what_was_set_aside_goes_back_to_its_lane => |rig| {
        let bus = rig.bus().await;
        let aside = async |envelope| {
            let failed = LaneEnvelope { envelope, attempt: 5 };
            assert_eq!(bus.retry(Lane::High, failed, "poison").await, Ok(Fate::Quarantined));
        };
        let texts = async || {
            let aside = bus.quarantined(10).await.unwrap();
            let text = |one: &Quarantined| String::from_utf8(one.envelope.body.to_vec()).unwrap();
            aside.iter().map(text).collect::<Vec<_>>()
        };
        for text in ["a", "b", "c"] {
            aside(envelope("high.sendMessage", 7, text)).await;
        }
        aside(envelope("news.today", 7, "of no lane")).await;
        assert!(bus.quarantined(1).await.unwrap()[0].set_aside.is_some());
        let replayed = bus.replay(Which::Nth(9)).await;
        assert!(replayed.done.is_empty() && replayed.kept.is_empty() && replayed.failed.is_none());

        let replayed = bus.replay(Which::Nth(2)).await;
        assert!(replayed.failed.is_none() && replayed.kept.is_empty());
        assert_eq!(replayed.done[0].envelope, envelope("high.sendMessage", 7, "b"));
        assert_eq!(texts().await, ["a", "c", "of no lane"]);
        let mut consumer = rig.bus().await.consume(Lane::High).await.unwrap();
        let batch = deadline(consumer.next()).await.unwrap();
        assert_eq!(batch.envelopes, [LaneEnvelope { envelope: envelope("high.sendMessage", 7, "b"), attempt: 0 }]);
        batch.ack();

        let replayed = bus.replay(Which::All).await;
        assert!(replayed.failed.is_none());
        assert_eq!((replayed.done.len(), replayed.kept.len()), (2, 1));
        assert_eq!(texts().await, ["of no lane"]);
        let mut heard = Vec::new();
        while heard.len() < 2 {
            let batch = deadline(consumer.next()).await.unwrap();
            heard.extend(batch.envelopes.iter().map(|one| one.envelope.body.clone()));
            batch.ack();
        }
        assert_eq!(heard, ["a", "c"]);
    }

    /// Looking counts what waits and what is held, and takes nothing.
    an_operator_sees_how_much_waits_and_who_holds_it => |rig| {
        let bus = rig.bus().await;
        let first = envelope("high.sendMessage", 7, "first");
        support::publish(&bus, first.clone()).await;
        let of_key = async || {
            let depths = bus.depths().await.unwrap();
            assert_eq!((depths.lanes.len(), depths.retries.len()), (17, 5));
            *depths.lanes.iter().find(|depth| depth.lane == Lane::High && depth.waiting > 0).unwrap()
        };
        support::eventually(async || bus.depths().await.unwrap().lanes.iter().any(|depth| depth.waiting == 1)).await;
        assert_eq!((of_key().await.waiting, of_key().await.consumers), (1, 0));

        let mut consumer = rig.bus().await.consume(Lane::High).await.unwrap();
        let view = consumer.view();
        let batch = deadline(consumer.next()).await.unwrap();
        let shard = batch.shard;
        assert_eq!(view.held(), [Holding { shard, unacked: 1, oldest: Some(first) }]);
        let depth = bus.depths().await.unwrap().lanes[usize::from(shard)];
        assert_eq!((depth.shard, depth.waiting, depth.consumers), (shard, 0, 1));
        batch.ack();
        support::eventually(async || view.held().is_empty()).await;
        assert_eq!(bus.depths().await.unwrap().quarantine, 0);
    }

    /// Five delays, then quarantine, with the reason and the number of attempts.
    a_poison_envelope_climbs_the_ladder_into_quarantine => |rig| {
        let bus = rig.bus().await;
        let mut consumer = bus.consume(Lane::High).await.unwrap();
        support::publish(&bus, envelope("high.sendMessage", 7, "poison")).await;
        for attempt in 1..=2 {
            let batch = support::long_deadline(consumer.next()).await.unwrap();
            assert_eq!(batch.envelopes[0].attempt, attempt - 1);
            let fate = bus.retry(Lane::High, batch.envelopes[0].clone(), "it hurts").await;
            assert_eq!(fate, Ok(Fate::Delayed { attempt }));
            batch.ack();
        }
        let mut last = support::long_deadline(consumer.next()).await.unwrap();
        assert_eq!(last.envelopes[0].attempt, 2);
        last.envelopes[0].attempt = 5;
        let fate = bus.retry(Lane::High, last.envelopes[0].clone(), "it hurts").await;
        assert_eq!(fate, Ok(Fate::Quarantined));
        last.ack();
        for _ in 0..2 {
            let aside = bus.quarantined(10).await.unwrap();
            assert_eq!(aside.len(), 1, "it stays there");
            assert_eq!((aside[0].lane, aside[0].attempts, &aside[0].reason[..]), (Lane::High, 6, "it hurts"));
            assert_eq!(aside[0].envelope, envelope("high.sendMessage", 7, "poison"));
        }
    }

    /// Any consumer gets what is on the low lane, without shards.
    the_low_lane_has_one_queue => |rig| {
        let bus = rig.bus().await;
        let mut consumer = bus.consume(Lane::Low).await.unwrap();
        support::publish(&bus, envelope("low.typing", 7, "typing")).await;
        let batch = deadline(consumer.next()).await.unwrap();
        assert_eq!((batch.lane, batch.shard), (Lane::Low, 0));
        batch.ack();
    }

    /// More than the window at once is busy, and what was taken arrives.
    a_full_window_is_busy => |rig| {
        let bus = rig.bus().await;
        let over = 2 * PUBLISH_WINDOW_ENVELOPES_MAX as u64;
        let outcomes = support::enqueue_flood(&bus, over).await;
        let busy = outcomes.iter().filter(|outcome| **outcome == Err(PublishError::Busy)).count();
        assert!(busy > 0, "the window has an end");
        let kept = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let taken = if rig.keeps() { kept } else { PUBLISH_WINDOW_ENVELOPES_MAX };
        assert!(taken > 0, "what fits is taken");
        let mut consumer = bus.consume(Lane::High).await.unwrap();
        assert!(drain_lane(&mut consumer, taken).await.len() >= taken);
    }

    /// A drain waits for what is under way; afterwards the bus is closed.
    a_drain_flushes_and_closes => |rig| {
        let bus = rig.bus().await;
        let mut lane = bus.consume(Lane::Medium).await.unwrap();
        let mut subscription = bus.subscribe(Pattern::new("news.*").unwrap()).await.unwrap();
        let mut member = bus.queue_subscribe(Pattern::new("job.*").unwrap(), "workers").await.unwrap();
        let receipts = support::enqueue_numbered(&bus, 10, 20);
        bus.drain().await;
        assert!(receipts.await.iter().all(support::taken));
        assert!(deadline(lane.next()).await.is_none());
        assert!(deadline(member.next()).await.is_none());
        while let Some(arrival) = deadline(subscription.next()).await {
            assert!(matches!(arrival, Arrival::Lapse));
        }
        assert_eq!(bus.publish(envelope("high.sendMessage", 1, "")).await, Err(PublishError::Closed));
        let ask = bus.request(subject("api.auth"), Bytes::new(), Duration::from_secs(1));
        assert_eq!(ask.await, Err(RequestError::Closed));
    }

    /// A node that is gone is an answer.
    a_missing_node_is_no_route => |rig| {
        let bus = rig.bus().await;
        let gone = bus.publish(envelope("deliver.00000000000000ff", 1, "")).await;
        assert_eq!(gone, Err(PublishError::NoRoute));
        let here = Pattern::from(subject("deliver.00000000000000fe"));
        let mut inbox = rig.bus().await.subscribe(here).await.unwrap();
        support::publish(&bus, envelope("deliver.00000000000000fe", 1, "hello")).await;
        let Some(Arrival::Envelopes(heard)) = deadline(inbox.next()).await else { panic!("lapse") };
        assert_eq!(heard, [envelope("deliver.00000000000000fe", 1, "hello")]);
        drop(inbox);
        support::eventually(|| async {
            bus.publish(envelope("deliver.00000000000000fe", 1, "")).await == Err(PublishError::NoRoute)
        }).await;
    }
}
