// Everybody's sockets drop in the same moment. Messages are sent over REST while nobody is there; then all come
// again, each after a time of its own, and `sync` has to say exactly what was missed.
import { Counter, Trend } from "k6/metrics";
import { options as common, sizes } from "./lib/settings.js";
import { nothingLost } from "./lib/ledger.js";
import { uuidV7 } from "./lib/guid.js";
import { people } from "./lib/people.js";
import { native } from "./lib/native.js";
import { socketio } from "./lib/socketio.js";
import { Room } from "./lib/room.js";
import { pause } from "./lib/socket.js";
import { data } from "./lib/rest.js";
import { summary } from "./lib/summary.js";

// Each VU is a room of four people; MISSED messages are sent into it while it is empty. `dropAfterS`: from the
// run's start to the drop, the time that all rooms have to open their sockets.
const MEMBERS = 4;
const MISSED = 4;
const SIZE = sizes({
  smoke: { rooms: 3, socketsEach: 1, dropAfterS: 5, jitterMs: 1_000, backMs: 8_000 },
  full: { rooms: 15, socketsEach: 5, dropAfterS: 15, jitterMs: 5_000, backMs: 10_000 },
});
const SOCKETS = MEMBERS * SIZE.socketsEach;
const TOTAL = SIZE.rooms * SOCKETS;

const back = new Counter("sockets_back");
// `sync` said something else than exactly what was missed.
const wrong = new Counter("sync_wrong");
// From the moment in which a socket wanted back until it held everything.
const resumed = new Trend("resumed_ms", true);
const synced = new Trend("synced_ms", true);

export const options = common({
  scenarios: { rooms: { executor: "per-vu-iterations", vus: SIZE.rooms, iterations: 1, maxDuration: "90s" } },
  thresholds: {
    ...nothingLost(SIZE.rooms),
    sockets_back: [`count==${TOTAL}`],
    sync_wrong: ["count==0"],
    resumed_ms: [`p(95)<${SIZE.backMs}`],
  },
});

export const setup = () => ({ people: people(Math.min(MEMBERS * SIZE.rooms, 16)), at: Date.now() });

export default async function (made) {
  const members = Array.from({ length: MEMBERS }, (_, n) => made.people[(MEMBERS * __VU + n) % made.people.length]);
  const seats = Array.from({ length: SOCKETS }, (_, n) => [members[n % MEMBERS], n % 2 === 0 ? native : socketio]);
  const room = new Room(members, seats);
  await room.open();
  // So that there is something that nobody misses.
  await room.talk({ start: Date.now(), perSecond: 20, count: 4, senders: [0, 1], content: (n) => `before ${n}` });
  await room.settle();

  const dropAt = made.at + SIZE.dropAfterS * 1_000;
  await pause(Math.max(0, dropAt - Date.now()));
  await Promise.all(room.sockets.map((socket) => socket.close()));
  const missed = Array.from({ length: MISSED }, () => sendOverRest(room, members[0]));
  await Promise.all(room.sockets.map((_, viewer) => resume(room, viewer, missed)));

  await room.talk({ start: Date.now(), perSecond: 20, count: 4, senders: [0, 1], content: (n) => `after ${n}` });
  await room.end();
}

// Kept when it is answered; its seq.
function sendOverRest(room, person) {
  room.count += 1;
  const guid = uuidV7();
  room.ledger.sent(guid, "rest", Date.now());
  const body = { conversationId: room.id, guid, content: "while you were away" };
  const { seq } = data("POST", "/chat/messages", { token: person.token, body });
  room.ledger.acknowledge(guid);
  room.ledger.process(guid, seq);
  return seq;
}

async function resume(room, viewer, missed) {
  await pause(Math.random() * SIZE.jitterMs);
  const wanted = Date.now();
  await room.sockets[viewer].open();
  const ready = Date.now();
  const answer = await room.catchUp(viewer);
  synced.add(Date.now() - ready);
  resumed.add(Date.now() - wanted);
  back.add(1);
  const said = ((answer || { missed: [] }).missed.find((one) => one.conversationId === room.id) || { messages: [] });
  const seqs = said.messages.map(({ seq }) => seq);
  if (String(seqs) !== String(missed)) {
    wrong.add(1);
    console.error(`missed ${missed}, sync said ${JSON.stringify(answer)}`);
  }
}

export const handleSummary = summary("reconnect", {
  question: "All sockets drop at once and come again: when do they hold exactly what they missed?",
  did: `${TOTAL} sockets in ${SIZE.rooms} rooms drop in one moment and come again within ${SIZE.jitterMs / 1_000} s`,
  show: ["resumed_ms", "synced_ms", "sockets_cut", "socket_retries", "refused"],
});
