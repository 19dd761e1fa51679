// Accounts and conversations. Passwords are slow to hash by design, so a run of several scenarios makes its
// accounts once (accounts.js) and hands them on in a file; a scenario alone makes its own.
import http from "k6/http";
import { PROFILE, URL } from "./settings.js";
import { ask, data } from "./rest.js";

export const PASSWORD = "K6-Passw0rd";
// Accounts of a run: as many as one address may register at once, less a few.
export const PEOPLE = { smoke: 16, full: 60 }[PROFILE];

const made = __ENV.PEOPLE ? JSON.parse(open(__ENV.PEOPLE)) : [];

// The first `count` accounts: `{id, email, token}`.
export function people(count) {
  if (made.length >= count) return made.slice(0, count);
  const found = [];
  for (let at = 0; at < count; at += 8) {
    found.push(...register(Array.from({ length: Math.min(8, count - at) }, (_, n) => at + n)));
  }
  return found;
}

// A few at once: more would only wait for a core to be hashed on.
function register(numbers) {
  const post = (path, body) => [
    "POST", URL + path, JSON.stringify(body),
    { headers: { "Content-Type": "application/json" }, tags: { name: path }, timeout: "60s" },
  ];
  const email = (number) => `k6-${number}@example.test`;
  http.batch(numbers.map((number) => post("/auth/register", {
    email: email(number), password: PASSWORD, phone: `+888${number}`, firstName: "K6", lastName: `No${number}`,
  })));
  // Whether each was made now or long ago, or not yet because there were too many, the login says.
  return numbers.map((number) => {
    const login = data("POST", "/auth/login", { body: { email: email(number), password: PASSWORD } });
    return { id: login.user.id, email: email(number), token: login.accessToken };
  });
}

// A new conversation of these people: its id. Its history begins at seq 1.
export function conversation(members) {
  const participants = members.slice(1).map((one) => ({ userId: one.id, type: "MEMBER" }));
  const body = { title: "k6", participants };
  // Not repeated: it would make a second one.
  const answer = ask("POST", "/conversations/create", { token: members[0].token, body });
  if (answer.status !== 201) throw new Error(`a conversation: ${answer.status} ${answer.body}`);
  return answer.json("data.id");
}
