// A UUID of version 7 (RFC 9562), as PROTOCOL.md advises: the time in milliseconds, then random bits, so that names
// made one after the other lie side by side in an index.
export function uuidV7(now = Date.now()) {
  const digits = (count) => Array.from({ length: count }, () => Math.floor(Math.random() * 16).toString(16)).join("");
  const time = now.toString(16).padStart(12, "0");
  const variant = "89ab"[Math.floor(Math.random() * 4)];
  return `${time.slice(0, 8)}-${time.slice(8)}-7${digits(3)}-${variant}${digits(3)}-${digits(12)}`;
}
