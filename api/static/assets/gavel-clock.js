// The server's time as seen from here, and how long to wait before trying again. Pure: clocks and chance are passed in.

/** How far apart two samples may be beyond what their round trips explain, ms: clocks drift a little. */
const DRIFT_MS = 100;

/**
 * Estimates the offset between a local clock (milliseconds) and the server's from request/answer pairs.
 * The answer with the shortest round trip among the last `keep` wins: its error is at most half that trip.
 * A sample that contradicts the one in use means that a clock jumped (a sleep, a correction): the older ones are forgotten.
 */
export class OffsetEstimate {
  #samples = [];
  #keep;

  constructor(keep = 8) {
    this.#keep = keep;
  }

  /** `sent` and `received` on the local clock; `server` is the server's time in the answer, ms since 1970. */
  add(sent, received, server) {
    const rtt = received - sent;
    if (!(rtt >= 0) || !Number.isFinite(server)) return;
    const offset = server - (sent + rtt / 2);
    const best = this.best;
    if (best && Math.abs(offset - best.offset) > (rtt + best.rtt) / 2 + DRIFT_MS) this.#samples = [];
    this.#samples.push({ rtt, offset });
    if (this.#samples.length > this.#keep) this.#samples.shift();
  }

  get best() {
    return this.#samples.reduce((best, one) => (best === null || one.rtt < best.rtt ? one : best), null);
  }

  /** Milliseconds to add to the local clock, or null before the first sample. */
  get offset() {
    return this.best?.offset ?? null;
  }

  /** Round trip of the sample in use, ms. */
  get rtt() {
    return this.best?.rtt ?? null;
  }
}

/**
 * Exponential backoff with full jitter: anywhere in 0 … min(cap, base · 2^attempt).
 * `attempt` counts from 0; `random` gives 0 ≤ x < 1.
 */
export function backoff(attempt, random = Math.random, base = 500, cap = 15_000) {
  return Math.floor(random() * Math.min(cap, base * 2 ** Math.min(attempt, 30)));
}

/** What a close code asks of a client: `reconnect` or `stop`. */
export function afterClose(code) {
  return code >= 4500 && code <= 4503 ? "stop" : "reconnect";
}
