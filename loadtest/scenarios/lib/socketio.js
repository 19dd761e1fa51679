// Socket.IO v5 over Engine.IO v4, as far as a client of one namespace without attachments needs it. Pure.
import { HEARS } from "./protocol.js";

// Engine.IO packets begin with 0 open, 2 ping, 3 pong, 4 message; in a message Socket.IO's with 0 connect,
// 2 event, 4 connect error.
export const socketio = {
  path: "/socket.io/?EIO=4&transport=websocket",
  headers: () => ({}), // the token goes into CONNECT
  write: (event, data) => `42${JSON.stringify([event, data])}`,
  read(text, token) {
    if (text.startsWith("42")) {
      const [event, data] = JSON.parse(text.slice(2));
      return { event, data };
    }
    if (text.startsWith("0")) return { reply: `40${JSON.stringify({ token })}` };
    if (text.startsWith("40")) return { event: HEARS.ready, data: JSON.parse(text.slice(2)) };
    if (text.startsWith("44")) throw new Error(`CONNECT was refused: ${text}`);
    if (text === "2") return { reply: "3" };
    return {};
  },
};
