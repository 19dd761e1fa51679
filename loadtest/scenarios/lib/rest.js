// REST of common/PROTOCOL.md. Blocks the VU, so it is for what happens before, after and between.
import http from "k6/http";
import { sleep } from "k6";
import { URL } from "./settings.js";

// Told to wait longer than this all in all, a call gives up. Registering is limited to one account in 2 s.
const PATIENCE_S = 240;

// One request: the answer as it came. `name` groups its figures, because paths hold ids.
export function ask(method, path, { token, body, name } = {}) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const text = body === undefined ? null : JSON.stringify(body);
  return http.request(method, URL + path, text, { headers, tags: { name: name || path }, timeout: "20s" });
}

// Repeats what was answered "come again" when it says so; the `data` of the success, or an exception.
// Only for what may be repeated: reading, and sending under a guid.
export function data(method, path, rest) {
  for (let waited = 0; ; ) {
    const answer = ask(method, path, rest);
    if (answer.status >= 200 && answer.status < 300) return answer.json("data");
    const comeAgain = [429, 502, 503].includes(answer.status) && Number(answer.headers["Retry-After"] || 1);
    if (!comeAgain || waited > PATIENCE_S) throw new Error(`${method} ${path}: ${answer.status} ${answer.body}`);
    sleep(comeAgain);
    waited += comeAgain;
  }
}

// The history of a conversation, newest first, down to what is held already.
export function history(token, conversation, held = 0) {
  const rows = [];
  for (let before = Number.MAX_SAFE_INTEGER; before > held + 1; ) {
    const path = `/conversations/${conversation}/message?before=${before}&limit=100`;
    const page = data("GET", path, { token, name: "history" });
    rows.push(...page.result.slice().reverse());
    if (page.result.length === 0) break;
    before = page.result[0].seq;
  }
  return rows;
}
