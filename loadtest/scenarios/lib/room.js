// People in one conversation, each with sockets, whose ledger is kept: what chat, fanout, reconnect and
// slow-reader have in common.
import { Counter } from "k6/metrics";
import { HEARS, SAYS, backOffMs } from "./protocol.js";
import { conversation } from "./people.js";
import { uuidV7 } from "./guid.js";
import { Ledger } from "./ledger.js";
import { Socket, pause } from "./socket.js";
import { history } from "./rest.js";

const refused = new Counter("refused");
// Sockets that were closed although nobody had asked for it. Their people come back, as PROTOCOL.md says.
const cut = new Counter("sockets_cut");

// How long answers and deliveries may take after the last message before they count as lost.
const SETTLE_MS = 10_000;

export class Room {
  // `seats`: `[person, form]` for each socket. The conversation is a new one, unless it is given.
  constructor(members, seats, id = conversation(members)) {
    this.members = members;
    this.id = id;
    this.ledger = new Ledger(seats.length);
    this.sockets = seats.map(([person, form], viewer) => this.attend(new Socket(person, form), viewer));
    this.count = 0;
    this.away = new Set(); // viewers who lost their socket and have not said yet what was not acknowledged
    // What a scenario measures: (message, arrival).
    this.onQueued = () => {};
    this.onProcessed = () => {};
    this.onShown = () => {};
  }

  attend(socket, viewer) {
    const { ledger } = this;
    socket.onlost = (code) => this.comeBack(viewer, code);
    return socket
      .on(HEARS.lapsed, () => this.catchUp(viewer))
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
    const guid = uuidV7();
    const event = { conversationId: this.id, guid, messageType: "TEXT", content };
    this.ledger.sent(guid, viewer, dueAt).event = event;
    if (!this.away.has(viewer)) this.sockets[viewer].says(SAYS.sendMessage, event);
  }

  // Again a socket, what was missed, and what nobody has acknowledged, in its order, under the same guids.
  async comeBack(viewer, code) {
    cut.add(1, { code: String(code) });
    this.away.add(viewer);
    const socket = this.sockets[viewer];
    await pause(backOffMs(0));
    await socket.open();
    await this.catchUp(viewer);
    if (!socket.isOpen) return; // lost again
    for (const message of this.ledger.messages.values()) {
      if (message.sender === viewer && !message.acknowledged) this.repeat(socket, message);
    }
    this.away.delete(viewer);
  }

  // `busy` is repeated under the same guid when it says; everything else is final.
  async repeatLater(socket, { guid, retryInMs }) {
    const message = this.ledger.messages.get(guid);
    refused.add(1);
    if (!message || !retryInMs) return;
    await pause(retryInMs);
    if (socket.isOpen) this.repeat(socket, message);
  }

  // Others may have overtaken it meanwhile: its place is no longer promised.
  repeat(socket, message) {
    message.isRepeated = true;
    socket.says(SAYS.sendMessage, message.event);
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
    const { ledger, sockets, id } = this;
    const synced = await sockets[viewer].sync({ [id]: ledger.holds(viewer) });
    if (!synced) return null;
    const missed = synced.missed.flatMap(({ messages }) => messages);
    // More than an answer holds.
    if (synced.gaps.length > 0) missed.push(...history(sockets[viewer].person.token, id, ledger.holds(viewer)));
    missed.forEach((message) => ledger.show(viewer, message, false));
    return synced;
  }

  // Settles, lets those who miss something say `sync`, judges, and closes.
  async end() {
    await this.settle();
    const head = this.count;
    for (let viewer = 0; viewer < this.sockets.length; viewer += 1) {
      if (this.ledger.holds(viewer) < head && this.sockets[viewer].isOpen) await this.catchUp(viewer);
    }
    this.ledger.judge(history(this.members[0].token, this.id));
    await Promise.all(this.sockets.map((socket) => socket.close()));
  }
}
