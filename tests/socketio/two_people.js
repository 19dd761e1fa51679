// Alice and Bob with the stock client: alice sends, hears messageQueued and messageProcessed, and
// both hear messageComing. A bad token is a connect_error. Exits 0, or says what was wrong.
import { io } from "socket.io-client";

const { url, conversation, alice, bob, guid } = JSON.parse(process.argv[2]);
const open = (token) => io(url, { transports: ["websocket"], auth: { token }, reconnection: false, forceNew: true });
const fail = (why) => { console.error(why); process.exit(1); };
setTimeout(() => fail("not everything came within 30 s"), 30_000).unref();

// The next event of this name, or a failure.
const next = (socket, event) => new Promise((resolve) => socket.once(event, resolve));
const equal = (what, got, wanted) => { if (got !== wanted) fail(`${what}: ${got} is not ${wanted}`); };

const stranger = open("not.a.token");
stranger.on("connect", () => fail("a bad token was accepted"));
const refusal = await next(stranger, "connect_error");
if (!refusal.message) fail("connect_error without a message");
console.log("bad token:", refusal.message);
stranger.close();

// The first event of this name that is as it should be.
const until = (socket, event, isSo) => new Promise((resolve) => {
  socket.on(event, (data) => { if (isSo(data)) resolve(data); });
});

const [a, b] = [open(alice), open(bob)];
const green = [a, b].map((socket) => until(socket, "listOnline", ({ listOnline }) => listOnline.includes(conversation)));
for (const socket of [a, b]) {
  socket.on("connect_error", (error) => fail(`connect_error: ${error.message}`));
  socket.on("sendMessageError", (error) => fail(`sendMessageError: ${JSON.stringify(error)}`));
}
await Promise.all([a, b].map((socket) => next(socket, "connect")));
console.log("both are connected");
await Promise.all(green);
console.log("both see that somebody is there");

const heard = Promise.all([
  next(a, "messageQueued"), next(a, "messageProcessed"), next(a, "messageComing"), next(b, "messageComing"),
]);
a.emit("sendMessage", { conversationId: conversation, messageType: "TEXT", content: "xin chào", guid });
const [queued, processed, own, coming] = await heard;
equal("messageQueued.guid", queued.guid, guid);
equal("messageProcessed.guid", processed.guid, guid);
equal("messageProcessed.seq", processed.seq, 1);
for (const message of [own, coming]) {
  equal("messageComing.id", message.id, processed.messageId);
  equal("messageComing.content", message.content, "xin chào");
  equal("messageComing.conversationId", message.conversationId, conversation);
}
console.log("message", processed.messageId, "went to both");
a.close();
b.close();
