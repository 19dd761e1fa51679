// A bare Socket.IO server: checks an HS256 token of the CONNECT packet, joins a room, answers
// `ping`, and emits to the room when told to.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { Server } from "socket.io";

function isValid(token) {
  const [head, claims, signature] = (token ?? "").split(".");
  if (!signature) return false;
  const expect = createHmac("sha256", process.env.SECRET).update(`${head}.${claims}`).digest();
  const given = Buffer.from(signature, "base64url");
  if (given.length !== expect.length || !timingSafeEqual(given, expect)) return false;
  return JSON.parse(Buffer.from(claims, "base64url")).exp > Date.now() / 1000;
}

const server = createServer((request, response) => {
  const query = new URL(request.url, "http://x").searchParams;
  const data = { content: ".".repeat(+query.get("bytes")) };
  for (let at = 0; at < +query.get("times"); at++) io.to("all").emit("messageComing", data);
  response.end("ok");
});
const io = new Server(server, { transports: ["websocket"], perMessageDeflate: false, serveClient: false });
io.use((socket, next) => (isValid(socket.handshake.auth.token) ? next() : next(new Error("Invalid token"))));
io.on("connection", (socket) => {
  socket.join("all");
  socket.on("ping", () => socket.emit("pong", {}));
});
server.listen(+process.env.PORT, "127.0.0.1", 4096);
