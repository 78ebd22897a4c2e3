// A server's side of the socket and a clock, both in the test's hand, for the client's tests.

import { GavelClient } from "../../static/assets/gavel-client.js";

const START = Date.parse("2026-01-01T00:00:00.000Z");

/** An open lot without bids; `fields` on top. */
export function lot(fields = {}) {
  return {
    id: "L", title: "Lot", description: "", currency: { code: "DKP", scale: 0 }, funding: "open",
    rules: { format: "english", start_price: 100, buy_now_price: null, proxy: true, increments: [{ from: 0, step: 10 }] },
    opens_at: null, closes_at: "2026-01-01T00:01:00.000Z", soft_close: null, status: "open", price: null, leader: null,
    bid_count: 0, minimum_bid: 100, reserve_met: null, buy_now_available: false, extensions: 0, remaining_ms: null,
    position: { epoch: 3, seq: 0 }, outcome: null, settled: false, ...fields,
  };
}

/** The event of an accepted bid that leads. */
export function placed(seq, bidder, price) {
  return {
    epoch: 3, seq, at: "2026-01-01T00:00:10.000Z",
    bid_placed: { bidder, amount: price, price, leader: bidder, bid_count: seq, minimum_bid: price + 10, reserve_met: null },
  };
}

export class World {
  sockets = [];
  now = START;
  serverAhead = 7_000;
  /** Swallows every request, as a connection does that died without a word. */
  deaf = false;
  #timers = new Set();
  #verify;
  #client = null;

  constructor({ verify = async () => true } = {}) {
    this.#verify = verify;
  }

  /** What a client takes from its surroundings. */
  parts() {
    const world = this;
    return {
      verify: this.#verify,
      clock: () => this.now,
      random: () => 0.5,
      newId: () => "generated",
      after: (run, ms) => {
        const timer = { at: this.now + ms, run };
        this.#timers.add(timer);
        return () => this.#timers.delete(timer);
      },
      WebSocket: class extends FakeSocket {
        constructor(url, protocols) {
          super(world, protocols);
        }
      },
    };
  }

  get socket() {
    return this.sockets.at(-1);
  }

  /** A client of bidder amy, not connected. */
  client() {
    return (this.#client = new GavelClient({ url: "ws://x", token: "t0ken", ...this.parts() }));
  }

  /** A connected one. */
  async online() {
    const client = this.client();
    await this.welcome();
    return client;
  }

  /** Connects the last client. */
  async welcome() {
    const client = this.#client;
    client.connect();
    this.socket.open();
    await this.settle();
    if (client.state !== "online") throw new Error(`the client is ${client.state}`);
  }

  /** Lets the next connection attempt happen and succeed. */
  async comeBack() {
    const before = this.sockets.length;
    await this.settle();
    await this.advance(60_000, () => this.sockets.length > before);
    this.socket.open();
    await this.settle();
  }

  /** Moves the clock from timer to timer, at most `ms`, until `done()`. */
  async advance(ms, done = () => false) {
    const end = this.now + ms;
    while (!done()) {
      const next = [...this.#timers].sort((a, b) => a.at - b.at)[0];
      if (!next || next.at > end) break;
      this.#timers.delete(next);
      this.now = Math.max(this.now, next.at);
      next.run();
      await this.settle();
    }
    if (!done()) this.now = end;
  }

  /** Until all that was promised has happened. */
  settle() {
    return new Promise((resolve) => setImmediate(resolve));
  }

  frame(...messages) {
    this.socket.onmessage?.({ data: messages.map((message) => JSON.stringify(message)).join("\n") });
  }

  /** One frame with a push for each list of events. */
  push(...lists) {
    this.frame(...lists.map((events) => ({ push: { lot: "L", events } })));
  }

  #request(name) {
    const request = this.socket.requests.findLast((one) => name in one);
    if (!request) throw new Error(`no ${name} was sent`);
    return request;
  }

  /** The body of the last request of this name on the present connection. */
  sent(name) {
    return this.#request(name)[name];
  }

  count(name) {
    return this.socket.requests.filter((one) => name in one).length;
  }

  answer(name, ok) {
    this.frame({ id: this.#request(name).id, ok });
  }

  refuse(name, error) {
    this.frame({ id: this.#request(name).id, error: { message: error.code, ...error } });
  }

  serverTime() {
    return new Date(this.now + this.serverAhead).toISOString();
  }

  joined(state) {
    return { lot: state, position: state.position, recovered: false, events: [], server_time: this.serverTime() };
  }
}

class FakeSocket {
  readyState = 0;
  requests = [];

  constructor(world, protocols) {
    this.world = world;
    this.protocols = protocols;
    world.sockets.push(this);
  }

  open() {
    this.readyState = 1;
    this.onopen();
  }

  drop(code) {
    this.readyState = 3;
    this.onclose?.({ code });
  }

  close() {
    this.readyState = 3;
  }

  /** Introductions and the time are answered by themselves, the rest by the test. */
  send(text) {
    const request = JSON.parse(text);
    this.requests.push(request);
    if (this.world.deaf) return;
    const reply = (ok) => queueMicrotask(() => this.onmessage?.({ data: JSON.stringify({ id: request.id, ok }) }));
    if (request.auth) reply({ session: { bidder: "amy", role: "bidder", server_time: this.world.serverTime(), limits: {} } });
    if (request.time) reply({ time: { server_time: this.world.serverTime() } });
  }
}

/** Lists and single things over REST. A list's key is its path with the query that selects it; pages are told by cursors. */
export class FakeRest {
  asked = [];
  items = {};
  /** The number of the answer that fails, counted from 0; null: none. */
  failAt = null;

  constructor(lists) {
    this.lists = lists;
  }

  async get(path) {
    this.asked.push(path);
    if (this.failAt === this.asked.length - 1) throw Object.assign(new Error("away"), { code: "unavailable", status: 503 });
    const [name, query] = path.split("?");
    const { limit, cursor = "0", ...select } = Object.fromEntries(new URLSearchParams(query));
    const list = this.lists[`${name}${Object.keys(select).length > 0 ? `?${new URLSearchParams(select)}` : ""}`];
    if (list) {
      const end = Number(cursor) + Number(limit);
      return { items: list.slice(Number(cursor), end), next: end < list.length ? String(end) : null };
    }
    if (this.items[path]) return this.items[path];
    throw Object.assign(new Error("nothing there"), { code: "not_found", status: 404 });
  }
}
