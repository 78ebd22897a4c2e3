// The page's modules without a browser: amounts, event folding, backoff, the clock, and the client over a fake socket
// and a clock that jumps. Run with `node --test client.test.mjs`; it brings `pages.test.mjs` and `accounts.test.mjs` along.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import {
  GavelClient,
  MAX_AMOUNT,
  OffsetEstimate,
  afterClose,
  applyEvent,
  applyEvents,
  backoff,
  formatAmount,
  parseAmount,
  standing,
  stepAt,
} from "../../static/assets/gavel-client.js";
import { World, lot, placed } from "./fake-world.mjs";
import "./accounts.test.mjs";
import "./pages.test.mjs";

describe("amounts", () => {
  const read = [
    // text, scale, value or error
    ["150", 0, 150],
    [" 1 500 ", 0, 1500],
    ["1,500", 0, 1500],
    ["12,345,678", 0, 12345678],
    ["1.5", 0, "decimals"],
    ["12.34", 2, 1234],
    ["12,34", 2, 1234],
    ["12.3", 2, 1230],
    ["12.", 2, 1200],
    [".5", 2, 50],
    ["1,234.56", 2, 123456],
    ["1.234,56", 2, 123456],
    ["1'234.56", 2, 123456],
    ["1,234", 2, 123400],
    ["1.234", 2, "decimals"],
    ["0.1", 2, 10],
    ["0.29", 2, 29],
    ["1,500", 3, "ambiguous"],
    ["0,500", 3, "ambiguous"],
    ["1,500", 4, "ambiguous"],
    ["1.500", 3, 1500],
    ["1.500", 4, 15_000],
    ["1,50", 3, 1500],
    ["1,5000", 4, 15_000],
    ["1234,567", 3, 1_234_567],
    ["1,234,567", 3, 1_234_567_000],
    ["1,234.567", 3, 1_234_567],
    ["1.234,567", 3, 1_234_567],
    ["1,23,456", 0, "format"],
    ["1.2.3", 2, "format"],
    ["-5", 0, "format"],
    ["1e3", 0, "format"],
    ["abc", 0, "format"],
    [".", 2, "format"],
    ["", 0, "empty"],
    ["   ", 0, "empty"],
    ["9007199254740991", 0, MAX_AMOUNT],
    ["9007199254740992", 0, "range"],
    ["90071992547409.91", 2, MAX_AMOUNT],
    ["90071992547409.92", 2, "range"],
    ["99999999999999999999999999", 0, "range"],
  ];
  for (const [text, scale, expect] of read) {
    test(`reads ${JSON.stringify(text)} with ${scale} decimals`, () => {
      assert.deepEqual(parseAmount(text, scale), typeof expect === "string" ? { error: expect } : { value: expect });
    });
  }

  const shown = [
    [0, 0, "0"],
    [1234567, 0, "1,234,567"],
    [0, 2, "0.00"],
    [5, 2, "0.05"],
    [123456, 2, "1,234.56"],
    [-250, 2, "−2.50"],
    [1_234_567, 3, "1,234.567"],
    [1_234_567, 4, "123.4567"],
    [MAX_AMOUNT, 2, "90,071,992,547,409.91"],
  ];
  for (const [value, scale, expect] of shown) {
    test(`shows ${value} with ${scale} decimals as ${expect}`, () => {
      assert.equal(formatAmount(value, scale), expect);
      if (value >= 0) assert.deepEqual(parseAmount(expect, scale), { value });
      if (value >= 0) assert.deepEqual(parseAmount(formatAmount(value, scale, false), scale), { value });
    });
  }

  test("the step is the last row at or below the price", () => {
    const rows = [{ from: 0, step: 5 }, { from: 100, step: 10 }, { from: 500, step: 25 }];
    assert.deepEqual([0, 99, 100, 499, 500, 9000].map((price) => stepAt(rows, price)), [5, 5, 10, 10, 25, 25]);
  });
});

describe("events", () => {
  const at = (seq, body) => ({ epoch: 3, seq, at: "2026-01-01T00:00:00.000Z", ...body });

  test("each event changes what it names and the position", () => {
    const start = lot({ rules: { ...lot().rules, buy_now_price: 200 } });
    const steps = [
      [placed(1, "bob", 150), { price: 150, leader: "bob", bid_count: 1, minimum_bid: 160, buy_now_available: true }],
      [placed(2, "amy", 200), { price: 200, leader: "amy", bid_count: 2, buy_now_available: false }],
      [at(3, { extended: { closes_at: "2026-01-01T00:02:00.000Z", extensions: 1 } }), { closes_at: "2026-01-01T00:02:00.000Z", extensions: 1 }],
      [at(4, { paused: { remaining_ms: 5000, reason: "x" } }), { status: "paused", remaining_ms: 5000 }],
      [at(5, { extended: { closes_at: "2026-01-01T00:03:00.000Z", extensions: 1 } }), { closes_at: "2026-01-01T00:03:00.000Z", remaining_ms: 65_000 }],
      [at(6, { resumed: { closes_at: "2026-01-01T00:04:00.000Z" } }), { status: "open", remaining_ms: null, closes_at: "2026-01-01T00:04:00.000Z" }],
      [at(7, { changed: { title: "New", description: null, minimum_bid: 210, reserve_met: true } }), { title: "New", description: "", minimum_bid: 210, reserve_met: true }],
      [at(8, { changed: { rules: { ...start.rules, buy_now_price: 900 } } }), { buy_now_available: true }],
      [at(9, { closed: { outcome: { sold: { winner: "amy", price: 200 } } } }), { status: "closed", outcome: { sold: { winner: "amy", price: 200 } }, buy_now_available: false }],
      [at(10, { settled: {} }), { settled: true }],
    ];
    let now = start;
    for (const [event, expect] of steps) {
      const next = applyEvent(now, event);
      for (const [field, value] of Object.entries(expect)) assert.deepEqual(next[field], value, `${field} after seq ${event.seq}`);
      assert.deepEqual(next.position, { epoch: 3, seq: event.seq });
      assert.notEqual(next, now);
      now = next;
    }
    assert.equal(start.price, null, "the lot before is untouched");
  });

  test("opening, cancelling, dropping and withdrawing", () => {
    const opened = applyEvent(lot({ status: "scheduled" }), at(1, { opened: { closes_at: null } }));
    assert.deepEqual([opened.status, opened.closes_at], ["open", null]);
    assert.equal(applyEvent(lot(), at(1, { price_dropped: { price: 90 } })).price, 90);
    assert.equal(applyEvent(lot(), at(1, { cancelled: { reason: null } })).status, "cancelled");
    assert.equal(applyEvent(lot(), at(1, { registered: { bidders: ["bob"] } })).position.seq, 1);
    const back = applyEvent(lot(), at(1, { bid_retracted: placed(1, "bob", 150).bid_placed }));
    assert.equal(back.leader, "bob");
  });

  test("own.leading follows the leader until the server says more", () => {
    const mine = lot({ own: { leading: true, max: 300 }, leader: "amy" });
    assert.deepEqual(applyEvent(mine, placed(1, "bob", 310), "amy").own, { leading: false, max: 300 });
    // Where the lot has aliases, a bidder is known by its own.
    const hidden = { ...mine, access: { registration: "none", aliases: true, alias: "#7KQ2M9XD" } };
    assert.equal(applyEvent(hidden, placed(1, "#7KQ2M9XD", 310), "amy").own.leading, true);
    assert.equal(applyEvent(hidden, placed(1, "amy", 310), "amy").own.leading, false);
  });

  test("what is in the lot already is skipped, a gap or an unknown event breaks", () => {
    const start = lot({ position: { epoch: 3, seq: 5 } });
    const known = applyEvents(start, [placed(4, "x", 120), placed(5, "x", 130), placed(6, "y", 140)]);
    assert.deepEqual([known.broken, known.lot.price, known.applied.length], [false, 140, 1]);
    const gap = applyEvents(start, [placed(6, "y", 140), placed(8, "z", 160)]);
    assert.deepEqual([gap.broken, gap.lot.position.seq, gap.applied.length], [true, 6, 1]);
    const unknown = applyEvents(start, [at(6, { teleported: {} })]);
    assert.deepEqual([unknown.broken, unknown.lot], [true, start]);
    assert.equal(applyEvent(lot({ status: "draft" }), at(1, { changed: { opens_at: "2026-01-02T00:00:00.000Z" } })), null);
  });

  test("seq goes on across epochs", () => {
    const { lot: next, broken } = applyEvents(lot({ position: { epoch: 3, seq: 5 } }), [{ ...placed(6, "y", 140), epoch: 9 }]);
    assert.deepEqual([broken, next.position], [false, { epoch: 9, seq: 6 }]);
  });
});

describe("time and patience", () => {
  test("backoff is full jitter below a doubling, capped bound", () => {
    for (let attempt = 0; attempt < 40; attempt++) {
      const bound = Math.min(15_000, 500 * 2 ** attempt);
      assert.equal(backoff(attempt, () => 0), 0);
      assert.ok(backoff(attempt, () => 0.999999) < bound);
      assert.ok(backoff(attempt, () => 0.999999) >= bound * 0.99);
    }
  });

  test("close codes", () => {
    for (const code of [1000, 1001, 1006, 1011, 1012, 4001, 4002, 4003, 4004]) assert.equal(afterClose(code), "reconnect", code);
    for (const code of [4500, 4501, 4502, 4503]) assert.equal(afterClose(code), "stop", code);
  });

  test("the sample with the shortest round trip decides the offset", () => {
    const estimate = new OffsetEstimate();
    assert.equal(estimate.offset, null);
    estimate.add(1000, 1400, 6250); // slow way back: off by 50
    estimate.add(2000, 2020, 7010);
    estimate.add(3000, 3300, 8100);
    assert.deepEqual([estimate.offset, estimate.rtt], [5000, 20]);
  });

  test("old samples go, and a clock that jumped starts over", () => {
    const estimate = new OffsetEstimate(2);
    estimate.add(0, 10, 1005);
    estimate.add(100, 140, 1120);
    estimate.add(200, 240, 1220);
    assert.equal(estimate.rtt, 40);
    estimate.add(300, 400, 61_350);
    assert.deepEqual([estimate.offset, estimate.rtt], [61_000, 100]);
    estimate.add(500, 400, 1); // answered before it was asked: no sample
    estimate.add(500, 510, NaN);
    assert.equal(estimate.offset, 61_000);
  });
});

describe("the client", () => {
  test("offers the token as a subprotocol, learns who it is and the time", async () => {
    const world = new World();
    const client = await world.online();
    assert.deepEqual(world.socket.protocols, ["gavel.json.v1", "gavel.bearer.t0ken"]);
    assert.equal(client.session.bidder, "amy");
    assert.equal(Math.round(client.timing.offset), world.serverAhead);
    const anonymous = new GavelClient({ url: "ws://x", ...world.parts() });
    anonymous.connect();
    assert.deepEqual(world.socket.protocols, ["gavel.json.v1"]);
  });

  test("applies pushes of several messages in one frame, and joins again on a gap", async () => {
    const world = new World();
    const client = await world.online();
    const joining = client.join("L");
    world.answer("join", { joined: world.joined(lot()) });
    await joining;
    world.push([placed(1, "bob", 150)], [placed(2, "amy", 160)]);
    assert.equal(client.lot("L").leader, "amy");
    world.push([placed(4, "bob", 180)]);
    assert.deepEqual(world.sent("join").position, { epoch: 3, seq: 2 });
    const seen = [];
    client.on("lot", (_, change) => seen.push(...change.events.map((event) => event.seq)));
    const events = [placed(3, "cat", 170), placed(4, "bob", 180)];
    world.answer("join", { joined: { ...world.joined(client.lot("L")), lot: lot({ price: 180, leader: "bob" }), position: { epoch: 3, seq: 4 }, recovered: true, events } });
    await world.settle();
    assert.deepEqual(seen, [3, 4]);
    assert.deepEqual([client.lot("L").leader, client.lot("L").position.seq], ["bob", 4]);
  });

  test("resumes every joined lot from its position after a lost connection", async () => {
    const world = new World();
    const client = await world.online();
    const joining = client.join("L");
    world.answer("join", { joined: world.joined(lot()) });
    await joining;
    world.push([placed(1, "bob", 150)]);
    const changes = [];
    client.on("lot", (_, change) => changes.push(change));
    world.socket.drop(1006);
    await world.settle();
    assert.equal(client.state, "waiting");
    await world.comeBack();
    assert.deepEqual(world.sent("join"), { lot: "L", position: { epoch: 3, seq: 1 } });
    world.answer("join", { joined: { ...world.joined(lot({ price: 160, leader: "cat" })), position: { epoch: 3, seq: 2 }, recovered: true, events: [placed(2, "cat", 160)] } });
    await world.settle();
    assert.deepEqual(changes.map((change) => [change.kind, change.resumed, change.events.length]), [["snapshot", true, 1]]);
    assert.equal(client.lot("L").leader, "cat");
  });

  test("a join that did not recover replaces the lot and says so", async () => {
    const world = new World();
    const client = await world.online();
    const joining = client.join("L");
    world.answer("join", { joined: world.joined(lot()) });
    await joining;
    const changes = [];
    client.on("lot", (_, change) => changes.push(change));
    world.frame({ push: { lot: "L", resync: { ...world.joined(lot({ price: 900 })), position: { epoch: 4, seq: 77 } } } });
    assert.deepEqual([changes[0].kind, changes[0].resumed, client.lot("L").position.seq], ["snapshot", false, 77]);
    world.frame({ push: { lot: "L", own: { leading: false, max: 400 } } });
    assert.deepEqual(client.lot("L").own, { leading: false, max: 400 });
  });

  test("one's own bid is not called outbid while its push is still on the way", async () => {
    const world = new World();
    const client = await world.online();
    const joining = client.join("L");
    world.answer("join", { joined: world.joined(lot({ own: null })) });
    await joining;
    world.push([placed(1, "bob", 150)]);
    const stands = [];
    client.on("lot", (lot) => stands.push(standing(lot, "amy")));
    const bidding = client.bid("L", { amount: 160, max: 400 });
    world.answer("bid", { receipt: { bid_id: "generated", lot: "L", seq: 3, max: 400, price: 180, leading: true } });
    await bidding;
    assert.deepEqual(client.lot("L").own, { leading: true, max: 400, seq: 3 });
    // Another's bid that came just before; its word on the own standing is of then.
    world.push([placed(2, "cat", 170)]);
    world.frame({ push: { lot: "L", own: { leading: false, max: 300 } } });
    world.push([placed(3, "amy", 180)]);
    world.frame({ push: { lot: "L", own: { leading: true, max: 400 } } });
    assert.ok(!stands.includes("outbid"), stands.join());
    assert.equal(stands.at(-1), "leads");
    world.push([placed(4, "bob", 410)]);
    assert.equal(stands.at(-1), "outbid");
    world.frame({ push: { lot: "L", own: { leading: false, max: 400 } } });
    assert.deepEqual([stands.at(-1), client.lot("L").own.max], ["outbid", 400]);
  });

  test("a bid that another's maximum beat is outbid at once, an old receipt changes nothing", async () => {
    const world = new World();
    const client = await world.online();
    const joining = client.join("L");
    world.answer("join", { joined: world.joined(lot({ own: null, leader: "bob", price: 150, position: { epoch: 3, seq: 5 } })) });
    await joining;
    client.bid("L", { amount: 160, bid_id: "B1" });
    world.answer("bid", { receipt: { bid_id: "B1", lot: "L", seq: 6, max: 160, price: 170, leading: false } });
    await world.settle();
    assert.equal(standing(client.lot("L"), "amy"), "outbid");
    client.bid("L", { amount: 120, bid_id: "B0", retry: true });
    world.answer("bid", { receipt: { bid_id: "B0", lot: "L", seq: 2, max: 120, price: 120, leading: true } });
    await world.settle();
    assert.deepEqual(client.lot("L").own, { leading: false, max: 160, seq: 6 });
    assert.equal(standing(client.lot("L"), null), "");
  });

  test("a rejoin that fails inside the server is tried again, more and more patiently", async () => {
    const world = new World();
    const client = await world.online();
    client.join("L").catch(() => {});
    world.answer("join", { joined: world.joined(lot()) });
    await world.settle();
    const lost = [];
    client.on("lost", (id, error) => lost.push([id, error.code]));
    world.push([placed(5, "bob", 150)]); // a gap
    const waits = [];
    for (let joins = world.count("join"); joins < 5; joins++) {
      const since = world.now;
      world.refuse("join", { code: "internal", temporary: false });
      await world.settle();
      await world.advance(60_000, () => world.count("join") > joins);
      waits.push(world.now - since);
    }
    assert.deepEqual(waits, [...waits].sort((a, b) => a - b));
    assert.ok(waits.at(-1) > waits[0], waits.join());
    world.answer("join", { joined: world.joined(lot({ price: 150, position: { epoch: 3, seq: 5 } })) });
    await world.settle();
    assert.deepEqual([client.lot("L").price, lost], [150, []]);
  });

  test("a rejoin refused for good is told, and the lot can be joined anew", async () => {
    const world = new World();
    const client = await world.online();
    client.join("L").catch(() => {});
    world.answer("join", { joined: world.joined(lot()) });
    await world.settle();
    const lost = [];
    client.on("lost", (id, error) => lost.push([id, error.code]));
    world.push([placed(5, "bob", 150)]);
    world.refuse("join", { code: "limit_exceeded", temporary: false });
    await world.settle();
    assert.deepEqual([lost, client.lot("L")], [[["L", "limit_exceeded"]], null]);
    const again = client.join("L");
    world.answer("join", { joined: world.joined(lot({ price: 150 })) });
    assert.equal((await again).price, 150);
  });

  test("a visitor without a token is let in by the server's word alone, not by the time it tells", async () => {
    for (const [answer, state] of [[async () => false, "denied"], [async () => true, "online"], [() => Promise.reject(new Error("away")), "online"]]) {
      const world = new World({ verify: answer });
      const client = new GavelClient({ url: "ws://x", ...world.parts() });
      const states = [];
      client.on("state", (next) => states.push(next));
      client.connect();
      world.socket.open();
      await world.settle();
      assert.deepEqual(states, ["connecting", state]);
    }
    const world = new World({ verify: () => new Promise(() => {}) });
    const client = new GavelClient({ url: "ws://x", ...world.parts() });
    client.connect();
    world.socket.open();
    await world.advance(60_000, () => world.sockets.length > 1);
    assert.equal(world.sockets.length, 2, "a question without an answer is a lost connection");
  });

  test("an unanswered bid goes again under its bid_id, marked as a retry", async () => {
    const world = new World();
    const client = await world.online();
    const bidding = client.bid("L", { amount: 150, max: 400, bid_id: "B1" });
    assert.deepEqual(world.sent("bid"), { lot: "L", bid_id: "B1", amount: 150, max: 400 });
    world.socket.drop(1012);
    await world.comeBack();
    assert.deepEqual(world.sent("bid"), { lot: "L", bid_id: "B1", amount: 150, max: 400, retry: true });
    world.answer("bid", { receipt: { bid_id: "B1", lot: "L", seq: 7, max: 400, price: 150, leading: true } });
    assert.equal((await bidding).seq, 7);
    assert.equal(world.count("bid"), 1, "once on this connection");
  });

  test("a temporary refusal is tried again, a final one is not", async () => {
    const world = new World();
    const client = await world.online();
    const bidding = client.bid("L", { amount: 150, bid_id: "B1" });
    world.refuse("bid", { code: "unavailable", temporary: true });
    await world.advance(5_000, () => world.sent("bid").retry === true);
    world.refuse("bid", { code: "bid_too_low", temporary: false, minimum: 160 });
    await assert.rejects(bidding, { code: "bid_too_low", minimum: 160, bid_id: "B1" });
  });

  test("nothing is sent while offline", async () => {
    const world = new World();
    const client = await world.online();
    world.socket.drop(1006);
    await world.settle();
    await assert.rejects(client.bid("L", { amount: 1 }), { code: "offline" });
  });

  test("stops for good on 4503, goes on after 4004", async () => {
    const world = new World();
    const client = await world.online();
    const bidding = client.bid("L", { amount: 150, bid_id: "B1" });
    world.socket.drop(4503);
    await assert.rejects(bidding, { code: "stopped" });
    assert.equal(client.state, "stopped");
    await world.advance(60_000);
    assert.equal(world.sockets.length, 1);

    const other = new World();
    await other.online();
    other.socket.drop(4004);
    await other.comeBack();
    assert.equal(other.sockets.length, 2);
  });

  test("a token the server does not take ends in denied", async () => {
    const world = new World({ verify: async () => false });
    const client = new GavelClient({ url: "ws://x", token: "bad", ...world.parts() });
    client.connect();
    world.socket.drop(1006);
    await world.settle();
    assert.equal(client.state, "denied");
    await world.advance(60_000);
    assert.equal(world.sockets.length, 1);
  });

  test("a connection that never opens is given up, a token that cannot be sent is denied", async () => {
    const world = new World();
    const client = new GavelClient({ url: "ws://x", ...world.parts() });
    client.connect();
    await world.advance(60_000, () => world.sockets.length > 1);
    assert.equal(world.sockets.length, 2);

    class Picky {
      constructor() {
        throw new SyntaxError("bad subprotocol");
      }
    }
    const other = new GavelClient({ url: "ws://x", token: "no token", ...world.parts(), WebSocket: Picky });
    other.connect();
    assert.equal(other.state, "denied");
  });

  test("a connection that answers nothing is given up", async () => {
    const world = new World();
    const client = await world.online();
    world.deaf = true;
    await world.advance(45_000, () => client.state === "waiting" || world.sockets.length > 1);
    assert.notEqual(client.state, "online");
  });
});
