// A bare `ws` server: checks an HS256 token at the upgrade, answers what it hears, and sends a
// payload to everybody when told to.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

function isValid(token) {
  const [head, claims, signature] = (token ?? "").split(".");
  if (!signature) return false;
  const expect = createHmac("sha256", process.env.SECRET).update(`${head}.${claims}`).digest();
  const given = Buffer.from(signature, "base64url");
  if (given.length !== expect.length || !timingSafeEqual(given, expect)) return false;
  return JSON.parse(Buffer.from(claims, "base64url")).exp > Date.now() / 1000;
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
