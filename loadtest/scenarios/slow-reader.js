// People talk in long messages, and one member sleeps instead of reading. It is on k6/ws, where a handler that sleeps
// keeps its VU from reading, so that the kernel's buffers and then the gateway's outbox (256 KiB) fill. Its neighbours,
// on k6/websockets, must not notice.
import ws from "k6/ws";
import { sleep } from "k6";
import { Counter, Rate, Trend } from "k6/metrics";
import { options as common, sizes, URL } from "./lib/settings.js";
import { nothingLost } from "./lib/ledger.js";
import { conversation, people } from "./lib/people.js";
import { native } from "./lib/native.js";
import { socketio } from "./lib/socketio.js";
import { CLOSES, HEARS, SAYS, backOffMs } from "./lib/protocol.js";
import { Room } from "./lib/room.js";
import { history } from "./lib/rest.js";
import { pause } from "./lib/socket.js";
import { summary } from "./lib/summary.js";

// `sleepS`: at 1 MB per second the kernel's buffers between nginx and us are full after about 4 s, and then the outbox; a
// cut socket has 2 s more to take its close frame. Faster would be shorter, and a neighbour that a busy machine keeps
// from reading for a tenth of a second would be cut too.
const SIZE = sizes({
  smoke: { perSecond: 30, seconds: 7, sleepS: 5.3, shownMs: 3_000 },
  full: { perSecond: 30, seconds: 30, sleepS: 5.3, shownMs: 500 },
});
const COUNT = SIZE.perSecond * SIZE.seconds;
const BEGINS_MS = 2_000;
const MEMBERS = 5;
// 8,000 characters, the most there may be, of four bytes each.
const LONG = "🐢".repeat(8_000);
// Without a code when the line was gone before the close frame got through: 1006, or what k6/ws makes of a reset, 1001.
const CUT = [CLOSES.slow, 1006, 1001];

const shown = new Trend("neighbour_shown_ms", true);
const cuts = new Counter("slow_cut");
const cuts4000 = new Counter("slow_cut_4000");
const odd = new Counter("slow_closed_otherwise");
const held = new Counter("slow_held_live");
const bySync = new Counter("slow_held_by_sync");
// More than `sync` answers at once is a gap, which the history fills.
const byHistory = new Counter("slow_held_by_history");
const caughtUp = new Rate("slow_caught_up");

export const options = common({
  scenarios: {
    neighbours: { executor: "per-vu-iterations", vus: 1, iterations: 1, maxDuration: "90s", exec: "neighbours" },
    slow: { executor: "per-vu-iterations", vus: 1, iterations: 1, maxDuration: "90s", exec: "slow" },
  },
  thresholds: {
    ...nothingLost(1),
    processed: [`count==${COUNT}`],
    deliveries: [`count==${COUNT * (MEMBERS - 1)}`],
    neighbour_shown_ms: [`p(95)<${SIZE.shownMs}`],
    slow_cut: ["count>0"],
    slow_closed_otherwise: ["count==0"],
    slow_caught_up: ["rate==1"],
  },
});

export function setup() {
  const made = people(MEMBERS);
  return { people: made, conversation: conversation(made), at: Date.now() };
}

export async function neighbours(made) {
  const quick = made.people.slice(1);
  const seats = quick.map((person, n) => [person, n % 2 === 0 ? native : socketio]);
  const room = new Room(quick, seats, made.conversation);
  room.onShown = ({ dueAt }, now) => shown.add(now - dueAt);
  await room.open();
  await pause(Math.max(0, made.at + BEGINS_MS - Date.now()));
  const senders = seats.map((_, viewer) => viewer);
  await room.talk({ start: Date.now(), perSecond: SIZE.perSecond, count: COUNT, senders, content: () => LONG });
  await room.end();
}

// Reads, sleeps, reads; comes again when it is cut, with `sync` first; until it holds everything.
export function slow(made) {
  const seqs = new Set();
  const holds = () => {
    let seq = 0;
    while (seqs.has(seq + 1)) seq += 1;
    return seq;
  };
  const end = made.at + BEGINS_MS + SIZE.seconds * 1_000 + 40_000;
  let isAwake = false; // from the first cut on
  for (let attempt = 0; holds() < COUNT && Date.now() < end; attempt += 1) {
    if (attempt > 0) sleep(backOffMs(Math.min(attempt, 3)) / 1_000);
    const code = sit(made, { isAwake, seqs, holds, end });
    if (code === 1000 || code === null) continue;
    isAwake = true;
    cuts.add(1);
    if (code === CLOSES.slow) cuts4000.add(1);
    if (!CUT.includes(code)) odd.add(1);
  }
  caughtUp.add(holds() === COUNT);
}

// One life of its socket: the code it was closed with; null when there was none.
function sit({ people: [person], conversation: where }, { isAwake, seqs, holds, end }) {
  let code = null;
  ws.connect(URL.replace(/^http/, "ws") + native.path, { headers: native.headers(person.token) }, (socket) => {
    let awakeUntil = 0;
    const take = (messages, counter) => {
      const before = seqs.size;
      messages.forEach(({ seq }) => seqs.add(seq));
      counter.add(seqs.size - before);
      if (holds() === COUNT) socket.close(1000);
    };
    socket.on("message", (text) => {
      const { event, data } = native.read(text);
      if (event === HEARS.ready) socket.send(native.write(SAYS.sync, { conversations: { [where]: holds() } }));
      if (event === HEARS.coming && data.conversationId === where) take([data], held);
      if (event === HEARS.synced) {
        data.missed.forEach(({ messages }) => take(messages, bySync));
        if (data.gaps.length > 0) take(history(person.token, where, holds()), byHistory);
      }
      // Reads what is there for a tenth of a second, then nothing.
      if (isAwake || event !== HEARS.coming || Date.now() < awakeUntil) return;
      sleep(SIZE.sleepS);
      awakeUntil = Date.now() + 100;
    });
    socket.on("close", (why) => { code = why; });
    socket.setTimeout(() => socket.close(1000), Math.max(1, end - Date.now()));
  });
  return code;
}

export const handleSummary = summary("slow-reader", {
  question: "One member does not read: are the others slowed, and does it get everything in the end?",
  did: `${MEMBERS} members, ${SIZE.perSecond} messages of 32 KB per second for ${SIZE.seconds} s, one reads every ${SIZE.sleepS} s`,
  show: ["neighbour_shown_ms", "slow_cut", "slow_cut_4000", "slow_held_live", "slow_held_by_sync", "slow_held_by_history", "sockets_cut", "refused"],
});
