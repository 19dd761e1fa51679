// People in one conversation, each with sockets, whose ledger is kept: what chat, fanout, reconnect and
// slow-reader have in common.
import { Counter } from "k6/metrics";
import { HEARS, SAYS } from "./protocol.js";
import { conversation } from "./people.js";
import { Ledger } from "./ledger.js";
import { Socket, pause } from "./socket.js";
import { history } from "./rest.js";

const refused = new Counter("refused");

// How long answers and deliveries may take after the last message before they count as lost.
const SETTLE_MS = 10_000;

export class Room {
  // `seats`: `[person, form]` for each socket.
  constructor(members, seats) {
    this.members = members;
    this.id = conversation(members);
    this.ledger = new Ledger(seats.length);
    this.sockets = seats.map(([person, form], viewer) => this.attend(new Socket(person, form), viewer));
    this.count = 0;
    // What a scenario measures: (message, arrival).
    this.onQueued = () => {};
    this.onProcessed = () => {};
    this.onShown = () => {};
  }

  attend(socket, viewer) {
    const { ledger } = this;
    return socket
      .on(HEARS.queued, ({ guid }, at) => {
        const message = ledger.acknowledge(guid);
        if (message) this.onQueued(message, at);
      })
      .on(HEARS.processed, ({ guid, seq }, at) => {
        const message = ledger.process(guid, seq);
        if (message) this.onProcessed(message, at);
      })
      .on(HEARS.coming, (coming, at) => {
        if (coming.conversationId !== this.id) return;
        const message = ledger.show(viewer, coming, true);
        if (message) this.onShown(message, at, viewer);
      })
      .on(HEARS.refused, (reject) => this.repeatLater(socket, reject))
      .on(HEARS.exception, () => refused.add(1));
  }

  open() {
    return Promise.all(this.sockets.map((socket) => socket.open()));
  }

  // Sends a message that is due at `dueAt`.
  say(viewer, dueAt, content) {
    this.count += 1;
    const guid = `k6-${this.id}-${this.count}`;
    const event = { conversationId: this.id, guid, messageType: "TEXT", content };
    this.ledger.sent(guid, viewer, dueAt).event = event;
    this.sockets[viewer].says(SAYS.sendMessage, event);
  }

  // `busy` is repeated under the same guid when it says; everything else is final.
  async repeatLater(socket, { guid, retryInMs }) {
    const message = this.ledger.messages.get(guid);
    refused.add(1);
    if (!message || !retryInMs) return;
    await pause(retryInMs);
    if (socket.closed === null) socket.says(SAYS.sendMessage, message.event);
  }

  // Messages at fixed times from `start` on, `perSecond` of them, in turn by the viewers `senders`.
  async talk({ start, perSecond, count, senders, content }) {
    for (let n = 0; n < count; n += 1) {
      const dueAt = start + (n * 1_000) / perSecond;
      if (dueAt > Date.now()) await pause(dueAt - Date.now());
      this.say(senders[n % senders.length], dueAt, content(n));
    }
  }

  // Everything that was sent is answered and shown to all, or its time is over.
  async settle() {
    const deadline = Date.now() + SETTLE_MS;
    while (!this.ledger.isComplete() && Date.now() < deadline) await pause(20);
  }

  // What a viewer missed, put into the ledger; the answer to its `sync`, null when there was none.
  async catchUp(viewer) {
    const synced = await this.sockets[viewer].sync({ [this.id]: this.ledger.holds(viewer) });
    for (const { messages } of (synced || { missed: [] }).missed) {
      messages.forEach((message) => this.ledger.show(viewer, message, false));
    }
    return synced;
  }

  // Settles, lets those who miss something say `sync`, judges, and closes.
  async end() {
    await this.settle();
    const head = this.count;
    for (let viewer = 0; viewer < this.sockets.length; viewer += 1) {
      if (this.ledger.holds(viewer) < head && this.sockets[viewer].closed === null) await this.catchUp(viewer);
    }
    this.ledger.judge(history(this.members[0].token, this.id));
    await Promise.all(this.sockets.map((socket) => socket.close()));
  }
}
