// A socket of a person on k6/websockets: many per VU, on the VU's event loop. Like a browser's it hides why an
// upgrade was refused, so it comes again with a back-off of its own. (connect.js sees the header: it uses k6/ws.)
import { WebSocket } from "k6/websockets";
import { Counter } from "k6/metrics";
import { URL } from "./settings.js";
import { HEARS, SAYS, backOffMs } from "./protocol.js";

// How often a socket had to come again before it was taken.
const retries = new Counter("socket_retries");

// A socket that is not ready after this long is no socket.
const OPEN_MS = 30_000;

// Waits on the event loop: the VU's other sockets go on.
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Socket {
  constructor(person, form) {
    this.person = person;
    this.form = form;
    this.handlers = {}; // event -> function(data, arrival in ms)
    this.isOpen = false; // ready, and not closed
    this.isLeaving = false; // we close it
    this.onlost = () => {}; // it was ready, and nobody wanted it closed
    this.onleft = () => {};
  }

  on(event, handler) {
    this.handlers[event] = handler;
    return this;
  }

  // Resolves when it is ready; again after it was closed.
  async open() {
    this.isLeaving = false;
    const deadline = Date.now() + OPEN_MS;
    for (let attempt = 0; ; attempt += 1) {
      if (await this.tries()) return this;
      if (Date.now() > deadline) throw new Error(`no socket within ${OPEN_MS} ms`);
      retries.add(1);
      await pause(backOffMs(attempt));
    }
  }

  // One attempt: whether it became ready.
  tries() {
    const ws = new WebSocket(URL.replace(/^http/, "ws") + this.form.path, null, {
      headers: this.form.headers(this.person.token),
      tags: { name: this.form.path },
    });
    this.ws = ws;
    return new Promise((resolve) => {
      ws.addEventListener("message", ({ data, timestamp }) => {
        const heard = this.form.read(data, this.person.token);
        if (heard.reply) ws.send(heard.reply);
        if (heard.event === HEARS.ready) {
          this.isOpen = true;
          resolve(true);
        }
        // The frame's arrival, not the moment in which this VU got round to it.
        const handler = heard.event && this.handlers[heard.event];
        if (handler) handler(heard.data, timestamp);
      });
      // A refusal and a broken line are followed by a close without a code.
      ws.addEventListener("error", () => {});
      ws.addEventListener("close", ({ code }) => {
        const wasOpen = this.isOpen;
        this.isOpen = false;
        resolve(false);
        if (this.isLeaving) this.onleft();
        else if (wasOpen) this.onlost(code || 1006);
      });
    });
  }

  says(event, data) {
    this.ws.send(this.form.write(event, data));
  }

  // What was missed since these seqs: `{"<conversation>": seq}`; null when there is no answer in time.
  sync(conversations, withinMs = 10_000) {
    if (!this.isOpen) return Promise.resolve(null);
    return new Promise((resolve) => {
      // Cleared when there is an answer: a VU ends when its last timer has.
      const timer = setTimeout(() => resolve(null), withinMs);
      const answered = (answer) => { clearTimeout(timer); resolve(answer); };
      this.on(HEARS.synced, answered).on(HEARS.syncRefused, () => answered(null));
      this.says(SAYS.sync, { conversations });
    });
  }

  // Resolves when the other side has closed too.
  close() {
    return new Promise((resolve) => {
      if (!this.isOpen) return resolve();
      this.isLeaving = true;
      this.onleft = resolve;
      this.ws.close(1000);
    });
  }
}
