// What the pages are made of, without a browser: addresses, long lists, which lots are shown and in what order.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Listing } from "../../static/assets/listing.js";
import { LotList, byClose, byEnd } from "../../static/assets/lot-list.js";
import { oneAtATime } from "../../static/assets/one-at-a-time.js";
import { route } from "../../static/assets/routes.js";
import { FakeRest, lot } from "./fake-world.mjs";

describe("addresses", () => {
  const id = "0192aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee";
  for (const written of [id, id.toUpperCase(), id.replaceAll("-", ""), `${id}/`, `%7B${id}%7D`, `urn:uuid:${id}`]) {
    test(`/lots/${written} names the lot as the server does`, () => assert.deepEqual(route(`/lots/${written}`), { page: "lot", id }));
  }

  test("what is no id is left as it is, the rest is the list", () => {
    assert.deepEqual(route("/lots/seven"), { page: "lot", id: "seven" });
    assert.deepEqual(route("/lots/%E0%A4%A"), { page: "lot", id: "%E0%A4%A" });
    assert.deepEqual(route("/"), { page: "list" });
  });
});

describe("long lists", () => {
  const numbers = (from, to) => Array.from({ length: to - from }, (_, at) => ({ seq: from + at }));

  async function read(listing, atMost) {
    const all = [];
    for await (const items of listing.pages(undefined, atMost)) all.push(...items.map((item) => item.seq));
    return all;
  }

  test("a second reading goes on from the last page", async () => {
    const rest = new FakeRest({ "/bids": numbers(0, 1_200) });
    const listing = new Listing(rest, "/bids");
    assert.equal((await read(listing)).length, 1_200);
    rest.lists["/bids"].push(...numbers(1_200, 1_600));
    rest.asked = [];
    const more = await read(listing);
    assert.deepEqual([more[0], more.at(-1), rest.asked.length], [1_000, 1_599, 2]);
  });

  test("one that is cut says so, and can be read to its end", async () => {
    const rest = new FakeRest({ "/bids": numbers(0, 1_700) });
    const listing = new Listing(rest, "/bids");
    assert.equal((await read(listing, 2)).at(-1), 999);
    assert.equal(listing.cut, true);
    assert.deepEqual(await read(listing, 2), numbers(1_000, 1_700).map((item) => item.seq));
    assert.equal(listing.cut, false);
  });

  test("an answer that fails loses nothing of what was read", async () => {
    const rest = new FakeRest({ "/bids": numbers(0, 1_200) });
    const listing = new Listing(rest, "/bids");
    const all = new Set();
    rest.failAt = 2;
    await assert.rejects(async () => {
      for await (const items of listing.pages()) items.forEach((item) => all.add(item.seq));
    });
    for (const seq of await read(listing)) all.add(seq);
    assert.equal(all.size, 1_200);
  });
});

describe("asking often", () => {
  test("runs once at a time, and once more for all that was asked meanwhile", async () => {
    let runs = 0;
    let finish;
    let rest;
    const work = oneAtATime(() => new Promise((resolve) => ((runs += 1), (finish = resolve))), 1_000, (run) => ((rest = run), () => (rest = null)));
    const settle = () => new Promise((resolve) => setImmediate(resolve));
    for (let times = 0; times < 5; times++) work.ask();
    assert.equal(runs, 1);
    finish();
    await settle();
    work.ask();
    assert.equal(runs, 1, "a pause after each");
    rest();
    assert.equal(runs, 2);
    finish();
    await settle();
    rest();
    assert.equal(runs, 2, "nobody asked again");
    work.ask();
    assert.equal(runs, 3);
    work.stop();
    finish();
    await settle();
    work.ask();
    assert.equal(runs, 3);
  });
});

describe("the list of lots", () => {
  const NOW = Date.parse("2026-01-02T00:00:00.000Z");
  const at = (minutes) => new Date(NOW + minutes * 60_000).toISOString();
  const many = (number, fields) => Array.from({ length: number }, (_, index) => lot({ id: `${fields(index).status}-${index}`, created_at: at(-9_000 + index), ...fields(index) }));
  const statuses = (lists) => new FakeRest({ "/v1/lots?status=open": [], "/v1/lots?status=paused": [], "/v1/lots?status=scheduled": [], "/v1/lots?status=closed": [], "/v1/lots?status=cancelled": [], ...lists });
  const ids = (lots) => lots.map((one) => one.id);

  test("holds every live lot, also beyond the first page", async () => {
    const rest = statuses({ "/v1/lots?status=open": many(1_203, () => ({ status: "open" })) });
    const { lots } = await new LotList(rest).read([], NOW);
    assert.equal(lots.length, 1_203);
    assert.ok(ids(lots).includes("open-1202"));
  });

  test("holds the last to have ended, wherever the list has them", async () => {
    const closed = many(1_200, (index) => ({ status: "closed", closes_at: at(-1_200 + index) }));
    closed[3].closes_at = at(-0.5); // created early, ended late
    const rest = statuses({ "/v1/lots?status=closed": closed });
    const list = new LotList(rest);
    const { lots } = await list.read([], NOW);
    assert.deepEqual(ids(lots.sort(byEnd(NOW))).slice(0, 3), ["closed-3", "closed-1199", "closed-1198"]);
    assert.equal(lots.length, 24);
    // The next reading costs a page, and forgets nothing.
    rest.asked = [];
    closed.push(lot({ id: "late", status: "closed", closes_at: at(0), created_at: at(0) }));
    const again = await list.read([], NOW);
    assert.deepEqual(ids(again.lots.sort(byEnd(NOW))).slice(0, 3), ["late", "closed-3", "closed-1199"]);
    assert.equal(rest.asked.filter((path) => path.includes("closed")).length, 1);
  });

  test("a lot that left the live lists unseen is asked for; one that is gone is told", async () => {
    const rest = statuses({});
    rest.items["/v1/lots/a"] = lot({ id: "a", status: "closed" });
    const { lots, gone } = await new LotList(rest).read(["a", "b"], NOW);
    assert.deepEqual([ids(lots), gone], [["a"], ["b"]]);
  });

  test("hammer sales come last, live and ended", () => {
    const lots = [lot({ id: "hammer", closes_at: null }), lot({ id: "later", closes_at: at(9) }), lot({ id: "paused", status: "paused", closes_at: at(1) }), lot({ id: "soon", closes_at: at(2) }), lot({ id: "gavel", closes_at: null })];
    assert.deepEqual(ids(lots.sort(byClose)), ["soon", "later", "gavel", "hammer", "paused"]);
    const ended = [lot({ id: "hammer", closes_at: null }), lot({ id: "old", closes_at: at(-9) }), lot({ id: "early", closes_at: at(500) }), lot({ id: "new", closes_at: at(-2) })];
    assert.deepEqual(ids(ended.sort(byEnd(NOW))), ["early", "new", "old", "hammer"]);
    const seen = (one) => (one.id === "hammer" ? NOW - 60_000 : undefined);
    assert.deepEqual(ids(ended.sort(byEnd(NOW, seen))), ["early", "hammer", "new", "old"]);
  });
});
