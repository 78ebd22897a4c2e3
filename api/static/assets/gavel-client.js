// A stand-alone client of Gavel's WebSocket protocol (`gavel.json.v1`): requests with ids and promises, joined lots
// that follow the server's state, reconnecting and resuming without a gap, bids that are never placed twice.
// It knows no page: it tells what happens through `on(…)`.

import { OffsetEstimate, afterClose, backoff } from "./gavel-clock.js";
import { afterOwnPush, afterReceipt, afterSnapshot, applyEvents } from "./gavel-lot.js";

export { OffsetEstimate, afterClose, backoff } from "./gavel-clock.js";
export { applyEvent, applyEvents, eventKind, nameOn, standing } from "./gavel-lot.js";
export { MAX_AMOUNT, formatAmount, parseAmount, stepAt } from "./amounts.js";

const TIME_SAMPLES = 5;
const CHECK_EVERY_MS = 20_000;
const ANSWER_WITHIN_MS = 10_000;
const STABLE_AFTER_MS = 5_000;
const BID_TRIES = 4;

/** A refusal or failure: `code` from the protocol, or `offline`, `disconnected`, `stopped`, `timeout` of this client's own. */
export class GavelError extends Error {
  constructor(error) {
    super(error.message ?? error.code);
    Object.assign(this, error);
    this.name = "GavelError";
  }
}

/**
 * Events told through `on(type, listener)`:
 * - `state` (state, detail): `idle`, `connecting`, `online`, `waiting` (`detail.retryAt` on the local clock), `denied`, `stopped`
 * - `session` (session): who the server says this is
 * - `lot` (lot, change): a joined lot changed; `change.kind` is `snapshot`, `events` or `own`; `change.events` were applied
 *   (a resume is both: `kind: "snapshot", resumed: true, events: […]`)
 * - `push` (push): one that is not of a lot
 * - `lost` (lot id, error): the server refuses to let this lot be followed; it is joined no more, what was shown of it grows old
 */
export class GavelClient {
  state = "idle";
  session = null;

  #options;
  #listeners = new Map();
  #socket = null;
  #nextId = 1;
  #requests = new Map(); // id → {resolve, reject}
  #lots = new Map(); // lot id → {lot, joining, waiters, failures}
  #bids = new Map(); // bid_id → {body, tries, resolve, reject, waiting}: sent, not answered for good
  #offset = new OffsetEstimate();
  #attempt = 0;
  #cancelRetry = null;
  #cancelCheck = null;
  #cancelStable = null;

  /**
   * `url`: `ws://…/v1/ws`. `token`: a JWT or null (anonymous). `verify`: asked when a connection fails before it opened;
   * resolves to false when the server refuses this token, so that the client stops instead of trying for ever.
   * The rest lets tests bring their own world.
   */
  constructor({ url, token = null, verify = async () => true, ...world }) {
    this.#options = {
      url,
      token,
      verify,
      WebSocket: world.WebSocket ?? globalThis.WebSocket,
      clock: world.clock ?? (() => performance.timeOrigin + performance.now()),
      random: world.random ?? Math.random,
      after: world.after ?? defaultAfter,
      newId: world.newId ?? newUuid,
    };
  }

  on(type, listener) {
    if (!this.#listeners.has(type)) this.#listeners.set(type, new Set());
    this.#listeners.get(type).add(listener);
    return () => this.#listeners.get(type).delete(listener);
  }

  // ---- what a page asks for ----

  connect() {
    this.#cancelRetry?.();
    this.#cancelRetry = null;
    if (this.#socket) return;
    const { url, token, WebSocket, after } = this.#options;
    const protocols = token ? ["gavel.json.v1", `gavel.bearer.${token}`] : ["gavel.json.v1"];
    this.#become("connecting");
    let socket;
    try {
      socket = new WebSocket(url, protocols);
    } catch {
      // Only a token that is no token at all cannot be written as a subprotocol.
      this.#stop("denied", { code: "unauthenticated" });
      return;
    }
    let opened = false;
    this.#socket = socket;
    this.#cancelCheck = after(() => this.#drop(4000, true), ANSWER_WITHIN_MS);
    socket.onopen = () => {
      opened = true;
      this.#cancelCheck();
      this.#opened();
    };
    socket.onmessage = (message) => this.#received(message.data);
    socket.onclose = (close) => this.#closed(close.code, opened);
  }

  /** Ends the connection for good; `connect()` starts again. */
  close() {
    this.#drop(1000);
    this.#cancelRetry?.();
    this.#stop("stopped", { code: 1000 });
  }

  /** The network is known to be gone: drop the connection and try again by the usual rules. */
  lostNetwork() {
    this.#drop(4000, true);
  }

  /** The network is back, or the machine woke up: connect now, or see whether the connection still lives. */
  wake() {
    this.#attempt = 0;
    if (this.state === "waiting") this.connect();
    else if (this.state === "online") this.time().catch(() => {});
  }

  /** A token that takes the place of the one before, of the same bidder: for this connection and the ones after it. */
  async renew(token) {
    this.#options.token = token;
    if (this.state !== "online") return;
    const { session } = await this.#request("auth", { token });
    this.session = session;
  }

  /** Sends any other request and resolves to its `ok`; rejects where it is refused or the connection is lost. */
  request(name, body) {
    if (this.state !== "online") return Promise.reject(new GavelError({ code: "offline", message: "not connected" }));
    return this.#request(name, body);
  }

  /** Resolves to the lot once joined. The lot stays joined across reconnects until `leave`. */
  join(id) {
    let entry = this.#lots.get(id);
    if (entry?.lot && this.state === "online" && !entry.joining) return Promise.resolve(entry.lot);
    if (!entry) this.#lots.set(id, (entry = { lot: null, joining: false, waiters: [], failures: 0 }));
    return new Promise((resolve, reject) => {
      entry.waiters.push({ resolve, reject });
      if (this.state === "online") this.#join(id);
    });
  }

  leave(id) {
    const entry = this.#lots.get(id);
    if (!entry) return;
    this.#lots.delete(id);
    for (const waiter of entry.waiters) waiter.reject(new GavelError({ code: "left", message: "the lot was left" }));
    if (this.state === "online") this.#request("leave", { lot: id }).catch(() => {});
  }

  /** The state of a joined lot, or null. */
  lot(id) {
    return this.#lots.get(id)?.lot ?? null;
  }

  /**
   * Places a bid and resolves to its receipt. A bid that was sent stays the client's business until it is answered: after a
   * reconnect, or a temporary refusal, it goes again under the same `bid_id` marked `retry`.
   */
  bid(lot, { amount, max = null, bid_id = this.#options.newId(), retry = false }) {
    if (this.state !== "online") return Promise.reject(new GavelError({ code: "offline", message: "not connected", bid_id }));
    const body = { lot, bid_id, amount, ...(max === null ? {} : { max }), ...(retry ? { retry } : {}) };
    return new Promise((resolve, reject) => {
      this.#bids.set(bid_id, { body, tries: 0, resolve, reject, waiting: false });
      this.#sendBid(bid_id);
    });
  }

  /** Asks for the server's time and adds it to the estimate. */
  async time() {
    const sent = this.#options.clock();
    const { time } = await this.#request("time", {});
    this.#sample(sent, time.server_time);
    return this.serverNow();
  }

  /** The server's time now, ms since 1970. Before the first sample it is the local clock. */
  serverNow() {
    return this.#options.clock() + (this.#offset.offset ?? 0);
  }

  /** `{offset, rtt}` of the estimate in ms, null before the first sample. */
  get timing() {
    return { offset: this.#offset.offset, rtt: this.#offset.rtt };
  }

  // ---- the connection ----

  async #opened() {
    const { token, after } = this.#options;
    const socket = this.#socket;
    try {
      if (token) {
        const { session } = await this.#request("auth", { token });
        this.session = session;
        this.#tell("session", session);
      } else if (!(await this.#welcome())) {
        // `time` is answered before anybody is asked who they are, so it proves nothing.
        if (this.#socket !== socket) return;
        throw new GavelError({ code: "unauthenticated" });
      }
      if (this.#socket !== socket) return;
      await this.time();
    } catch (error) {
      if (this.#socket !== socket || error.code === "disconnected") return;
      const refused = ["unauthenticated", "forbidden", "not_registered"].includes(error.code);
      this.#drop(1000, !refused);
      if (refused) this.#stop("denied", { code: error.code });
      return;
    }
    if (this.#socket !== socket) return;
    this.#become("online");
    this.#cancelStable = after(() => (this.#attempt = 0), STABLE_AFTER_MS);
    for (const id of this.#lots.keys()) this.#join(id);
    for (const [id, bid] of this.#bids) if (!bid.waiting) this.#sendBid(id);
    this.#check(socket, TIME_SAMPLES - 1);
  }

  /** Whether the server takes visitors like this one, as far as it can be asked. */
  async #welcome() {
    const { after, verify } = this.#options;
    const socket = this.#socket;
    this.#cancelCheck = after(() => this.#socket === socket && this.#drop(4000, true), ANSWER_WITHIN_MS);
    const cancel = this.#cancelCheck;
    const welcome = await verify().catch(() => true);
    cancel();
    return welcome;
  }

  /** A few quick time samples, then one now and then: it keeps the estimate fresh and notices a dead connection. */
  #check(socket, quick) {
    if (this.#socket !== socket) return;
    this.#cancelCheck = this.#options.after(() => {
      this.time().then(
        () => this.#check(socket, quick - 1),
        (error) => error.code !== "disconnected" && this.#check(socket, 0),
      );
    }, quick > 0 ? 50 : CHECK_EVERY_MS);
  }

  /** Forgets the socket at once (a dead one takes long to close) and optionally goes on as after a lost connection. */
  #drop(code, again = false) {
    const socket = this.#socket;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code);
    this.#lost();
    if (again) this.#retryLater(code);
  }

  #lost() {
    this.#socket = null;
    this.#cancelCheck?.();
    this.#cancelStable?.();
    for (const entry of this.#lots.values()) entry.joining = false;
    const requests = [...this.#requests.values()];
    this.#requests.clear();
    for (const { reject } of requests) reject(new GavelError({ code: "disconnected", message: "the connection was lost" }));
  }

  async #closed(code, opened) {
    this.#lost();
    if (afterClose(code) === "stop") return this.#stop(code === 4500 ? "denied" : "stopped", { code });
    this.#retryLater(code);
    if (!opened && !(await this.#options.verify().catch(() => true)) && this.state !== "online") {
      this.#cancelRetry?.();
      this.#drop(1000);
      this.#stop("denied", { code: "unauthenticated" });
    }
  }

  #retryLater(code) {
    const { after, clock, random } = this.#options;
    const delay = backoff(this.#attempt++, random);
    this.#cancelRetry = after(() => this.connect(), delay);
    this.#become("waiting", { code, retryAt: clock() + delay });
  }

  #stop(state, detail) {
    for (const [id, { reject }] of this.#bids) {
      reject(new GavelError({ code: "stopped", message: "the connection was closed before the answer", bid_id: id }));
    }
    this.#bids.clear();
    this.#become(state, detail);
  }

  #become(state, detail = {}) {
    this.state = state;
    this.#tell("state", state, detail);
  }

  #tell(type, ...args) {
    for (const listener of this.#listeners.get(type) ?? []) listener(...args);
  }

  // ---- requests and answers ----

  #request(name, body) {
    const socket = this.#socket;
    if (!socket || socket.readyState !== 1) {
      return Promise.reject(new GavelError({ code: "disconnected", message: "not connected" }));
    }
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const cancel = this.#options.after(() => {
        // A request without an answer means a dead connection, whatever the socket believes.
        if (this.#requests.has(id)) this.#drop(4000, true);
      }, ANSWER_WITHIN_MS);
      this.#requests.set(id, {
        resolve: (value) => (cancel(), resolve(value)),
        reject: (error) => (cancel(), reject(error)),
      });
      socket.send(JSON.stringify({ id, [name]: body }));
    });
  }

  #received(data) {
    for (const line of String(data).split("\n")) {
      if (line.trim() === "") continue;
      const message = JSON.parse(line);
      if (message.id !== undefined && message.id !== null) this.#answered(message);
      else if (message.push?.lot) this.#pushed(message.push);
      else if (message.push) this.#tell("push", message.push);
    }
  }

  #answered({ id, ok, error }) {
    const request = this.#requests.get(id);
    if (!request) return;
    this.#requests.delete(id);
    if (error) request.reject(new GavelError(error));
    else request.resolve(ok);
  }

  #sample(sent, serverTime) {
    this.#offset.add(sent, this.#options.clock(), Date.parse(serverTime));
  }

  // ---- joined lots ----

  async #join(id) {
    const entry = this.#lots.get(id);
    if (!entry || entry.joining) return;
    entry.joining = true;
    const position = entry.lot?.position;
    const sent = this.#options.clock();
    try {
      const { joined } = await this.#request("join", { lot: id, ...(position ? { position } : {}) });
      if (this.#lots.get(id) !== entry) return;
      entry.joining = false;
      entry.failures = 0;
      this.#sample(sent, joined.server_time);
      this.#adopt(entry, joined, position !== undefined);
      for (const waiter of entry.waiters.splice(0)) waiter.resolve(entry.lot);
    } catch (error) {
      if (this.#lots.get(id) !== entry || error.code === "disconnected") return;
      entry.joining = false;
      if (error.temporary || error.code === "internal") {
        const delay = error.retry_after_ms ?? 500 + backoff(entry.failures++, this.#options.random);
        this.#options.after(() => this.state === "online" && this.#lots.get(id) === entry && this.#join(id), delay);
        return;
      }
      this.#lots.delete(id);
      for (const waiter of entry.waiters) waiter.reject(error);
      this.#tell("lost", id, error);
    }
  }

  /** The server's word on a lot: after `join`, or instead of pushes this client was too slow for. */
  #adopt(entry, joined, again) {
    const before = entry.lot;
    const resumed = again && joined.recovered === true && before !== null;
    const { applied } = resumed ? applyEvents(before, joined.events ?? [], this.#me()) : { applied: [] };
    entry.lot = afterSnapshot(before, { ...joined.lot, position: joined.position ?? joined.lot.position });
    this.#tell("lot", entry.lot, { kind: "snapshot", first: before === null, resumed, events: applied });
  }

  #pushed(push) {
    const entry = this.#lots.get(push.lot);
    if (!entry) return;
    if (push.resync) {
      this.#adopt(entry, push.resync, true);
      return;
    }
    if (!entry.lot) return;
    if (push.own !== undefined) {
      entry.lot = afterOwnPush(entry.lot, push.own);
      this.#tell("lot", entry.lot, { kind: "own", events: [] });
    }
    if (push.events) {
      const { lot, applied, broken } = applyEvents(entry.lot, push.events, this.#me());
      entry.lot = lot;
      if (applied.length > 0) this.#tell("lot", lot, { kind: "events", events: applied });
      if (broken) this.#join(push.lot);
    }
  }

  #me() {
    return this.session?.bidder ?? null;
  }

  // ---- bids ----

  async #sendBid(id) {
    const bid = this.#bids.get(id);
    bid.waiting = false;
    bid.tries += 1;
    const body = bid.tries > 1 ? { ...bid.body, retry: true } : bid.body;
    try {
      const { receipt } = await this.#request("bid", body);
      this.#bids.delete(id);
      this.#receipt(receipt);
      bid.resolve(receipt);
    } catch (error) {
      // Lost on the way: it goes again once the connection is back. Whether it counted is for the server to say.
      if (error.code === "disconnected" || !this.#bids.has(id)) return;
      if (error.temporary && bid.tries < BID_TRIES) {
        bid.waiting = true;
        const delay = error.retry_after_ms ?? 250 + backoff(bid.tries, this.#options.random, 250, 2_000);
        this.#options.after(() => {
          bid.waiting = false;
          if (this.#bids.has(id) && this.state === "online") this.#sendBid(id);
        }, delay);
        return;
      }
      this.#bids.delete(id);
      error.bid_id = id;
      bid.reject(error);
    }
  }

  /** A receipt carries the maximum now in force; price and leader come with the events. */
  #receipt(receipt) {
    const entry = this.#lots.get(receipt.lot);
    if (!entry?.lot) return;
    const lot = afterReceipt(entry.lot, receipt, this.#me());
    if (lot === entry.lot) return;
    entry.lot = lot;
    this.#tell("lot", entry.lot, { kind: "own", events: [] });
  }
}

function defaultAfter(run, ms) {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}

/** A random UUID; `crypto.randomUUID` exists in secure contexts only, a plain-http server in a local network is none. */
function newUuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
