// Two people per VU, one native and one Socket.IO, talk at a fixed rate.
import { Counter, Trend } from "k6/metrics";
import { options as common, sizes } from "./lib/settings.js";
import { nothingLost } from "./lib/ledger.js";
import { people } from "./lib/people.js";
import { native } from "./lib/native.js";
import { socketio } from "./lib/socketio.js";
import { Room } from "./lib/room.js";
import { summary } from "./lib/summary.js";

// A smoke shares its cores with a build and other tests: its bars are those of a person's patience.
const SIZE = sizes({
  smoke: { rooms: 3, perSecond: 10, seconds: 5, queuedMs: 1_000, shownMs: 2_000 },
  full: { rooms: 30, perSecond: 10, seconds: 30, queuedMs: 100, shownMs: 200 },
});
const COUNT = SIZE.perSecond * SIZE.seconds;

// From the moment in which a message was due until its sender, or the other one, heard.
const queued = new Trend("queued_ms", true);
const processed = new Trend("processed_ms", true);
const shown = new Trend("shown_ms", true);
const sent = new Counter("sent");

export const options = common({
  scenarios: {
    rooms: { executor: "per-vu-iterations", vus: SIZE.rooms, iterations: 1, maxDuration: `${SIZE.seconds + 60}s` },
  },
  thresholds: {
    ...nothingLost(SIZE.rooms),
    sent: [`count==${SIZE.rooms * COUNT}`],
    acknowledged: [`count==${SIZE.rooms * COUNT}`],
    processed: [`count==${SIZE.rooms * COUNT}`],
    deliveries: [`count==${2 * SIZE.rooms * COUNT}`],
    queued_ms: [`p(95)<${SIZE.queuedMs}`],
    processed_ms: [`p(95)<${SIZE.shownMs}`],
    shown_ms: [`p(95)<${SIZE.shownMs}`],
  },
});

export const setup = () => ({ people: people(2 * Math.min(SIZE.rooms, 8)) });

export default async function (made) {
  const at = 2 * (__VU - 1) % made.people.length;
  const [alice, bob] = made.people.slice(at, at + 2);
  const room = new Room([alice, bob], [[alice, native], [bob, socketio]]);
  room.onQueued = ({ dueAt }, now) => queued.add(now - dueAt);
  room.onProcessed = ({ dueAt }, now) => processed.add(now - dueAt);
  // To the other one: one's own comes back too.
  room.onShown = ({ sender, dueAt }, now, viewer) => viewer !== sender && shown.add(now - dueAt);
  await room.open();
  // A start of its own for each room: not all in the same millisecond.
  const start = Date.now() + 200 + Math.random() * 500;
  const content = (n) => `xin chào ${n}`;
  await room.talk({ start, perSecond: SIZE.perSecond, count: COUNT, senders: [0, 1], content });
  sent.add(room.count);
  await room.end();
}

export const handleSummary = summary("chat", {
  question: "How long until a message is queued, processed, shown? Is any lost?",
  did: `${SIZE.rooms} rooms of two, ${SIZE.rooms * SIZE.perSecond} messages per second for ${SIZE.seconds} s`,
  show: ["queued_ms", "processed_ms", "shown_ms", "refused", "sockets_cut", "socket_retries"],
});
