// The words of common/PROTOCOL.md that the scenarios use, and no others: a test compares this file with it.

export const SAYS = {
  sendMessage: "sendMessage",
  sync: "sync",
};

export const HEARS = {
  ready: "ready",
  queued: "messageQueued",
  processed: "messageProcessed",
  coming: "messageComing",
  synced: "synced",
  refused: "sendMessageError",
  syncRefused: "syncError",
  exception: "exception",
  goingAway: "server.going_away",
  lapsed: "server.lapsed",
};

export const CLOSES = {
  slow: 4000,
};

// Back-off of a client that does not see why it was refused: 0.5 s, doubled up to 30 s, with jitter over all of it.
export function backOffMs(attempt) {
  return Math.random() * Math.min(30_000, 500 * 2 ** attempt);
}
