// One sender, one room, many sockets: native and Socket.IO by turns. One VU, so that it sees all of them.
import { Trend } from "k6/metrics";
import { options as common, sizes } from "./lib/settings.js";
import { nothingLost } from "./lib/ledger.js";
import { PEOPLE, people } from "./lib/people.js";
import { native } from "./lib/native.js";
import { socketio } from "./lib/socketio.js";
import { Room } from "./lib/room.js";
import { summary } from "./lib/summary.js";

const SIZE = sizes({
  smoke: { sockets: 2 * PEOPLE, perSecond: 4, seconds: 4, allMs: 3_000 },
  full: { sockets: 4 * PEOPLE, perSecond: 5, seconds: 30, allMs: 500 },
});
const COUNT = SIZE.perSecond * SIZE.seconds;

// From the moment in which a message was due until the first, each, and the last socket had it.
const first = new Trend("first_ms", true);
const each = new Trend("each_ms", true);
const all = new Trend("all_ms", true);

export const options = common({
  scenarios: { room: { executor: "per-vu-iterations", vus: 1, iterations: 1, maxDuration: `${SIZE.seconds + 90}s` } },
  thresholds: {
    ...nothingLost(1),
    processed: [`count==${COUNT}`],
    deliveries: [`count==${COUNT * SIZE.sockets}`],
    all_ms: [`p(95)<${SIZE.allMs}`],
  },
});

export const setup = () => ({ people: people(PEOPLE) });

export default async function (made) {
  const seats = Array.from({ length: SIZE.sockets }, (_, n) => [
    made.people[n % PEOPLE], n % 2 === 0 ? native : socketio,
  ]);
  const room = new Room(made.people, seats);
  room.onShown = (message, now) => {
    message.latest = Math.max(message.latest || 0, now);
    each.add(now - message.dueAt);
    if (message.shownTo === 1) first.add(now - message.dueAt);
    if (message.shownTo === SIZE.sockets) all.add(message.latest - message.dueAt);
  };
  await room.open();
  const content = (n) => `to all ${n}`;
  await room.talk({ start: Date.now() + 500, perSecond: SIZE.perSecond, count: COUNT, senders: [0], content });
  await room.end();
}

export const handleSummary = summary("fanout", {
  question: "One sends, a room listens: how long until all have it?",
  did: `${PEOPLE} people with ${SIZE.sockets} sockets, ${SIZE.perSecond} messages per second for ${SIZE.seconds} s`,
  show: ["first_ms", "each_ms", "all_ms", "refused", "sockets_cut", "socket_retries"],
});
