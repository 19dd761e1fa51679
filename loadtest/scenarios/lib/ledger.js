// What was promised in one conversation against what was shown and kept. It judges by guid and seq, as a careful
// client would; the words are swarm's (loadtest/README.md).
import { Counter } from "k6/metrics";

const lost = new Counter("lost");
const doubled = new Counter("doubled");
const reordered = new Counter("reordered");
const acknowledged = new Counter("acknowledged");
const processed = new Counter("processed");
const deliveries = new Counter("deliveries");

// How many conversations were judged: who was interrupted has found nothing, and acquits nobody.
const judged = new Counter("judged");

// For every scenario that sends messages, into so many conversations.
export const nothingLost = (conversations) => ({
  lost: ["count==0"], doubled: ["count==0"], reordered: ["count==0"], judged: [`count==${conversations}`],
});

export class Ledger {
  constructor(viewers) {
    this.messages = new Map(); // guid -> what is known of it
    this.guids = new Map(); // seq -> guid
    this.heads = Array(viewers).fill(0); // the highest seq shown to each
    this.seen = Array.from({ length: viewers }, () => new Set()); // seqs
  }

  // Put on the wire for the first time; due at a time of its own, whatever the cluster did meanwhile.
  sent(guid, sender, dueAt) {
    this.messages.set(guid, { sender, dueAt, acknowledged: false, processed: false, isRepeated: false, seq: 0, shownTo: 0 });
    return this.messages.get(guid);
  }

  // `messageQueued`, or 201: from here on it must not be lost.
  acknowledge(guid) {
    const message = this.messages.get(guid);
    if (!message || message.acknowledged) return undefined;
    message.acknowledged = true;
    acknowledged.add(1);
    return message;
  }

  // `messageProcessed`: it has its seq, which it may have been shown under before.
  process(guid, seq) {
    const message = this.name(guid, seq);
    if (!message || message.processed) return undefined;
    message.processed = true;
    processed.add(1);
    return message;
  }

  // A guid has one seq and a seq one guid, whoever says so.
  name(guid, seq) {
    const message = this.messages.get(guid);
    if (!message) return undefined;
    const contradicts = (message.seq && message.seq !== seq) || (this.guids.get(seq) ?? guid) !== guid;
    if (contradicts) doubled.add(1);
    message.seq = seq;
    this.guids.set(seq, guid);
    return message;
  }

  // A viewer is shown a message; the message, if it is the first time. What is held already is a repeat, which a
  // client drops. `isLive`: not out of `sync`, so it has to come in order on its socket.
  show(viewer, { guid, seq }, isLive) {
    const message = this.name(guid, seq);
    if (!message || this.seen[viewer].has(seq)) return undefined;
    if (isLive && seq < this.heads[viewer]) reordered.add(1);
    this.seen[viewer].add(seq);
    this.heads[viewer] = Math.max(this.heads[viewer], seq);
    message.shownTo += 1;
    deliveries.add(1);
    return message;
  }

  // The seq up to which a viewer holds everything: what it says in `sync`.
  holds(viewer) {
    let seq = 0;
    while (this.seen[viewer].has(seq + 1)) seq += 1;
    return seq;
  }

  // Whether nothing is awaited any more.
  isComplete() {
    const viewers = this.seen.length;
    return [...this.messages.values()].every((message) => message.processed && message.shownTo === viewers);
  }

  // The verdict, with the history as REST tells it.
  judge(history) {
    const kept = new Set();
    for (const { guid, seq } of history) {
      if (kept.has(guid)) doubled.add(1);
      kept.add(guid);
      this.name(guid, seq);
    }
    const latest = {}; // sender -> seq
    for (const [guid, message] of this.messages) {
      // One socket sent them in this order, so they are kept in it.
      if (!message.isRepeated && message.seq && message.seq < (latest[message.sender] || 0)) reordered.add(1);
      if (!message.isRepeated) latest[message.sender] = Math.max(message.seq, latest[message.sender] || 0);
      if (message.acknowledged && !kept.has(guid)) lost.add(1);
      if (kept.has(guid)) lost.add(this.seen.length - message.shownTo);
    }
    // Seqs are 1, 2, 3, ...: what is missing was somebody's message.
    lost.add(Math.max(0, ...history.map((row) => row.seq)) - history.length);
    judged.add(1);
  }
}
