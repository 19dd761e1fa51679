// The native form: one text frame, one event. Pure.
export const native = {
  path: "/ws",
  headers: (token) => ({ Authorization: `Bearer ${token}` }),
  write: (event, data) => JSON.stringify({ event, data }),
  // `{event, data}`: every text is an event. `ready` is the first.
  read: (text) => JSON.parse(text),
};
