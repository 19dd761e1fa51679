// A bare Socket.IO server: checks an HS256 token of the CONNECT packet, joins a room, answers
// `ping`, and emits numbered contents to the room when told to.
import { createServer } from "node:http";
import jwt from "jsonwebtoken";
import { Server } from "socket.io";

function isValid(token) {
  try {
    return jwt.verify(token, process.env.SECRET, { algorithms: ["HS256"] });
  } catch {
    return false;
  }
}

const server = createServer((request, response) => {
  const query = new URL(request.url, "http://x").searchParams;
  const [first, times, bytes] = ["first", "times", "bytes"].map((name) => +query.get(name));
  for (let at = first; at < first + times; at++) {
    const content = `~${String(at).padStart(8, "0")}`.padEnd(bytes, ".");
    io.to("all").emit("messageComing", { content });
  }
  response.end("ok");
});
const io = new Server(server, { transports: ["websocket"], perMessageDeflate: false, serveClient: false });
io.use((socket, next) => (isValid(socket.handshake.auth.token) ? next() : next(new Error("Invalid token"))));
io.on("connection", (socket) => {
  socket.join("all");
  socket.on("ping", () => socket.emit("pong", {}));
});
server.listen(+process.env.PORT, "127.0.0.1", 4096);
