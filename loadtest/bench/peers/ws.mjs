// A bare `ws` server: checks an HS256 token at the upgrade, answers what it hears, and sends a
// payload to everybody when told to.
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

const wss = new WebSocketServer({ noServer: true, perMessageDeflate: false });
const server = createServer((request, response) => {
  const query = new URL(request.url, "http://x").searchParams;
  const text = JSON.stringify({ event: "messageComing", data: { content: ".".repeat(+query.get("bytes")) } });
  const data = Buffer.from(text);
  for (let at = 0; at < +query.get("times"); at++) {
    for (const socket of wss.clients) socket.send(data, { binary: false });
  }
  response.end("ok");
});
server.on("upgrade", (request, socket, head) => {
  if (!isValid(request.headers.authorization?.slice(7))) return socket.destroy();
  wss.handleUpgrade(request, socket, head, (ws) => {
    ws.on("message", (data) => ws.send(data, { binary: false }));
    ws.on("error", () => {});
    ws.send('{"event":"ready","data":{}}');
  });
});
server.listen(+process.env.PORT, "127.0.0.1", 4096);
