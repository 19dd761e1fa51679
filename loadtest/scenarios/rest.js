// A person's REST: who am I, what do I have, what was said, and saying something. Logging in is apart: it costs a
// core its password's hash, and one address may do it twice a second.
import exec from "k6/execution";
import { Counter, Trend } from "k6/metrics";
import { options as common, sizes } from "./lib/settings.js";
import { nothingLost } from "./lib/ledger.js";
import { uuidV7 } from "./lib/guid.js";
import { PASSWORD, conversation, people } from "./lib/people.js";
import { ask, history } from "./lib/rest.js";
import { summary } from "./lib/summary.js";

// One person sends 10 per second over REST, so the rate is spread over them.
const SIZE = sizes({
  smoke: { people: 4, perSecond: 5, seconds: 5, logins: 5, readMs: 2_000, sendMs: 2_000, loginMs: 5_000 },
  full: { people: 16, perSecond: 40, seconds: 30, logins: 30, readMs: 150, sendMs: 250, loginMs: 1_000 },
});
const ROUNDS = SIZE.perSecond * SIZE.seconds;

const trends = Object.fromEntries(
  ["login", "me", "list", "history", "send"].map((name) => [name, new Trend(`${name}_ms`, true)]),
);
const done = new Counter("rounds");
const failed = new Counter("failed");
// Of the ledger's names, judged in teardown by what each round left behind.
const lost = new Counter("lost");
const doubled = new Counter("doubled");
const reordered = new Counter("reordered");
const judged = new Counter("judged");

export const options = common({
  scenarios: {
    rounds: {
      executor: "constant-arrival-rate", rate: SIZE.perSecond, timeUnit: "1s", duration: `${SIZE.seconds}s`,
      preAllocatedVUs: SIZE.perSecond * 2, exec: "round",
    },
    logins: {
      executor: "constant-arrival-rate", rate: 1, timeUnit: "1s", duration: `${SIZE.logins}s`,
      preAllocatedVUs: 5, exec: "login",
    },
  },
  thresholds: {
    ...nothingLost(SIZE.people),
    rounds: [`count>=${ROUNDS}`],
    failed: ["count==0"],
    dropped_iterations: ["count==0"],
    login_ms: [`p(95)<${SIZE.loginMs}`],
    me_ms: [`p(95)<${SIZE.readMs}`],
    list_ms: [`p(95)<${SIZE.readMs}`],
    history_ms: [`p(95)<${SIZE.readMs}`],
    send_ms: [`p(95)<${SIZE.sendMs}`],
  },
});

// Each person has a conversation with the next one.
export function setup() {
  const made = people(SIZE.people);
  const next = (at) => made[(at + 1) % made.length];
  return { people: made.map((one, at) => ({ ...one, conversation: conversation([one, next(at)]) })) };
}

function timed(name, status, method, path, rest) {
  const answer = ask(method, path, { name, ...rest });
  trends[name].add(answer.timings.duration);
  if (answer.status === status) return answer;
  failed.add(1);
  console.error(`${method} ${path}: ${answer.status} ${answer.body}`);
  return null;
}

export function login(made) {
  const turn = exec.scenario.iterationInTest;
  const { email } = made.people[turn % made.people.length];
  timed("login", 200, "POST", "/auth/login", { body: { email, password: PASSWORD } });
}

export function round(made) {
  const turn = exec.scenario.iterationInTest;
  const { id, token, conversation: where } = made.people[turn % made.people.length];
  const me = timed("me", 200, "GET", "/users/me", { token });
  if (me && me.json("data.id") !== id) failed.add(1);
  timed("list", 200, "GET", "/conversations?page=1&size=10", { token });
  const body = { conversationId: where, guid: uuidV7(), content: `round ${turn}` };
  const sent = timed("send", 201, "POST", "/chat/messages", { token, body });
  const read = timed("history", 200, "GET", `/conversations/${where}/message?page=1&size=100&order=desc`, { token });
  if (!sent || !read) return;
  // What was answered is in the history (the newest 100 are more than one conversation gets), once, under the seq that was told.
  const rows = read.json("data.result").filter(({ guid }) => guid === body.guid);
  if (rows.length === 0) lost.add(1);
  if (rows.length > 1 || (rows[0] && rows[0].seq !== sent.json("data.seq"))) doubled.add(1);
  done.add(1);
}

// Every round's message, of all people, is there to the end; seqs are 1, 2, 3, ...
export function teardown(made) {
  const kept = new Set();
  for (const { token, conversation: where } of made.people) {
    const seqs = history(token, where).map(({ guid, seq }) => {
      if (kept.has(guid)) doubled.add(1);
      kept.add(guid);
      return seq;
    });
    seqs.reverse().forEach((seq, at) => seq !== at + 1 && reordered.add(1));
    judged.add(1);
  }
  lost.add(Math.max(0, ROUNDS - kept.size));
}

export const handleSummary = summary("rest", {
  question: "How long are login, lists, histories and sending over REST?",
  did: `${SIZE.perSecond} rounds per second of 4 requests for ${SIZE.seconds} s, by ${SIZE.people} people; one login per second`,
  show: ["login_ms", "me_ms", "list_ms", "history_ms", "send_ms"],
});
