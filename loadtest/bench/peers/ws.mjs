// A bare `ws` server: checks an HS256 token at the upgrade, answers whatever it hears with `pong`,
// pings every 25 s (as the documentation of `ws` shows it), and sends numbered contents to everybody
// when told to.
import { createServer } from "node:http";
import jwt from "jsonwebtoken";
import { WebSocketServer } from "ws";

function isValid(token) {
  try {
    return jwt.verify(token, process.env.SECRET, { algorithms: ["HS256"] });
  } catch {
    return false;
  }
}

function onPong() {
  this.isAlive = true;
}

const wss = new WebSocketServer({ noServer: true, perMessageDeflate: false });
const server = createServer((request, response) => {
  const query = new URL(request.url, "http://x").searchParams;
  const [first, times, bytes] = ["first", "times", "bytes"].map((name) => +query.get(name));
  for (let at = first; at < first + times; at++) {
    const content = `~${String(at).padStart(8, "0")}`.padEnd(bytes, ".");
    const data = Buffer.from(JSON.stringify({ event: "messageComing", data: { content } }));
    for (const socket of wss.clients) socket.send(data, { binary: false });
  }
  response.end("ok");
});
server.on("upgrade", (request, socket, head) => {
  if (!isValid(request.headers.authorization?.slice(7))) return socket.destroy();
  wss.handleUpgrade(request, socket, head, (ws) => {
    ws.isAlive = true;
    ws.on("pong", onPong);
    ws.on("message", () => ws.send('{"event":"pong","data":{}}'));
    ws.on("error", () => {});
    ws.send('{"event":"ready","data":{}}');
  });
});
setInterval(() => {
  for (const socket of wss.clients) {
    if (!socket.isAlive) {
      socket.terminate();
      continue;
    }
    socket.isAlive = false;
    socket.ping();
  }
}, 25_000);
server.listen(+process.env.PORT, "127.0.0.1", 4096);
