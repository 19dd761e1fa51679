// Sockets at a fixed rate, then many in one moment. On k6/ws, which blocks its VU but shows the answer to an upgrade:
// k6/websockets hides it, like a browser. BUDGET: how many upgrades per second the cluster promises (UPGRADES_PER_S of
// all gateways), if the storm is to go beyond it.
import ws from "k6/ws";
import exec from "k6/execution";
import { sleep } from "k6";
import { Counter, Trend } from "k6/metrics";
import { options as common, sizes, URL } from "./lib/settings.js";
import { people } from "./lib/people.js";
import { native } from "./lib/native.js";
import { socketio } from "./lib/socketio.js";
import { HEARS } from "./lib/protocol.js";
import { summary } from "./lib/summary.js";

const BUDGET = Number(__ENV.BUDGET || 0);
const SIZE = sizes({
  smoke: { perSecond: 10, seconds: 4, storm: 60, handshakeMs: 1_000 },
  full: { perSecond: 250, seconds: 30, storm: 600, handshakeMs: 250 },
});
const STEADY = SIZE.perSecond * SIZE.seconds;
// Sockets stay open for so long, and a storm's are all back within so long, `Retry-After` is 5 s at most.
const HOLD_MS = 500;
const STORM_S = 25;

const opened = new Counter("sockets_opened");
// From the request to `ready`, the attempt that was taken.
const handshake = new Trend("handshake_ms", true);
// The same from the first attempt on, waits included.
const admitted = new Trend("storm_admitted_ms", true);
const refused = new Counter("upgrades_refused");
const unsaid = new Counter("refused_without_retry_after");
// Neither taken nor refused as PROTOCOL.md says.
const failed = new Counter("upgrades_failed");

export const options = common({
  scenarios: {
    steady: {
      executor: "constant-arrival-rate", rate: SIZE.perSecond, timeUnit: "1s", duration: `${SIZE.seconds}s`,
      preAllocatedVUs: SIZE.perSecond * 2, gracefulStop: "10s", exec: "steady",
    },
    storm: {
      executor: "per-vu-iterations", vus: SIZE.storm, iterations: 1, maxDuration: `${STORM_S}s`,
      startTime: `${SIZE.seconds + 1}s`, gracefulStop: "1s", exec: "storm",
    },
  },
  thresholds: {
    sockets_opened: [`count>=${STEADY + SIZE.storm}`],
    // The cluster took the rate, and so did k6.
    "sockets_opened{scenario:steady}": [`count>=${STEADY}`],
    "handshake_ms{scenario:steady}": [`p(95)<${SIZE.handshakeMs}`],
    dropped_iterations: ["count==0"],
    upgrades_failed: ["count==0"],
    "upgrades_refused{scenario:steady}": ["count==0"],
    // Beyond the budget the door was shut, and not in the client's face.
    ...(BUDGET ? { "upgrades_refused{scenario:storm}": ["count>0"] } : {}),
    refused_without_retry_after: ["count==0"],
  },
});

export const setup = () => ({ people: people(8) });

export function steady(made) {
  connect(made);
}

export function storm(made) {
  const since = Date.now();
  for (;;) {
    const refusal = connect(made, () => admitted.add(Date.now() - since));
    if (!refusal) return;
    sleep(refusal.comeAgainS);
  }
}

// One attempt and, when it is taken, the socket's whole life; when it is refused, when to come again.
function connect(made, onReady = () => {}) {
  const turn = exec.scenario.iterationInTest;
  const person = made.people[turn % made.people.length];
  const form = turn % 2 === 0 ? native : socketio;
  const asked = Date.now();
  let isReady = false;
  const answer = ws.connect(URL.replace(/^http/, "ws") + form.path, { headers: form.headers(person.token) }, (socket) => {
    socket.on("message", (text) => {
      const heard = form.read(text, person.token);
      if (heard.reply) socket.send(heard.reply);
      if (heard.event !== HEARS.ready) return;
      isReady = true;
      handshake.add(Date.now() - asked);
      opened.add(1);
      onReady();
      socket.setTimeout(() => socket.close(1000), HOLD_MS);
    });
    // No `ready`, no socket.
    socket.setTimeout(() => socket.close(1000), 10_000);
  });
  if (isReady) return null;
  const comeAgainS = Number(answer.headers && answer.headers["Retry-After"]);
  if (answer.status === 503) refused.add(1);
  else failed.add(1);
  if (answer.status === 503 && !comeAgainS) unsaid.add(1);
  return { comeAgainS: comeAgainS || 1 };
}

export const handleSummary = summary("connect", {
  question: "How many sockets per second does the cluster take, how long is a handshake, and what hears who is too much?",
  did: `${SIZE.perSecond} sockets per second for ${SIZE.seconds} s, then ${SIZE.storm} in one moment` +
    (BUDGET ? ` at a door that opens ${BUDGET} per second` : ""),
  show: ["handshake_ms", "storm_admitted_ms", "upgrades_refused"],
});
