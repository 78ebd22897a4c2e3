// A lot's history: every bid and every pause, extension and end, newest first. Filled from REST, continued by events;
// both are keyed by `seq`, so that whatever arrives twice or out of order ends in the same table.

import { arrange, el, setText, show } from "./dom.js";
import { Listing } from "./listing.js";
import { oneAtATime } from "./one-at-a-time.js";
import { eventKind, formatAmount, nameOn } from "./gavel-client.js";
import { clockTime, count, hue, money, outcomeWords, span } from "./format.js";

const SHOWN = 100;
/** Events that say nothing to who follows the bids. */
const SILENT = ["settled", "registered", "unregistered"];
/** Readings that are asked for in quick succession become one. */
const LOAD_EVERY_MS = 1_000;

/** `lot()` gives the lot as it is, `me()` this bidder's name or null, `now()` the server's time; `changed()` is called after news. */
export function lotHistory({ rest, id, lot, me, now, changed }) {
  const rows = new Map(); // seq → row
  const drawn = new Map(); // seq → table row
  let limit = SHOWN;
  let open = true;
  let pending = null;
  let loaded = false;

  const body = el("tbody");
  const status = el("p.empty", { role: "status" }, "Loading the history…");
  const bidList = new Listing(rest, `/v1/lots/${id}/bids`);
  const eventList = new Listing(rest, `/v1/lots/${id}/events`);
  const loading = oneAtATime(read, LOAD_EVERY_MS);
  const cutText = el("span");
  const cut = el("p.history-cut", { id: "history-cut", role: "status", hidden: true }, cutText, " ",
    el("button.quiet", { type: "button", onclick: () => loading.ask() }, "Read on"));
  const more = el("button.quiet", { type: "button", hidden: true, onclick: () => ((limit += 400), draw()) }, "Show more");
  const number = el("span.number");
  const unit = el("span.history-unit");
  const table = el("table.history", { hidden: true },
    el("caption.visually-hidden", {}, "Bids and events, newest first"),
    el("thead", {}, el("tr", {},
      el("th", { scope: "col" }, "Time"), el("th", { scope: "col" }, "Bidder"),
      el("th.amount", { scope: "col" }, "Bid"), el("th.amount", { scope: "col" }, "Price", unit), el("th", { scope: "col" }, "Leader"))),
    body);
  const element = el("section.history-section", { "aria-labelledby": "history-title" },
    el("h2", { id: "history-title" }, "History ", number), cut, table, status, more);

  /** Reads on from where the last reading was; rows already known stay. */
  async function read() {
    try {
      const bids = readOn(bidList, addBid);
      // The extras of the history are no reason to show none of it.
      const events = readOn(eventList, addEvent).catch(() => {});
      await Promise.all([bids, events]);
      loaded = true;
    } catch (error) {
      if (open && rows.size === 0) setText(status, error.status === 404 ? "" : "The history could not be loaded.");
    }
    later();
  }

  async function readOn(list, add) {
    for await (const items of list.pages(() => open)) {
      for (const item of items) add(item);
      later();
    }
  }

  function addBid(bid) {
    rows.set(bid.seq, { ...rows.get(bid.seq), ...bid, kind: "bid_placed", at: Date.parse(bid.at) });
  }

  function addEvent(event, fresh = false) {
    const kind = eventKind(event);
    if (kind === null || SILENT.includes(kind) || (kind === "changed" && event.changed.price == null)) return;
    if (kind === "bid_placed" && rows.has(event.seq)) return;
    rows.set(event.seq, { ...event[kind], kind, seq: event.seq, at: Date.parse(event.at), fresh });
  }

  /** Events applied to the joined lot. */
  function add(events) {
    for (const event of events) addEvent(event, loaded);
    if (events.length > 0) later();
  }

  /** A burst of events is drawn once. */
  function later() {
    pending ??= setTimeout(() => {
      pending = null;
      if (open && lot()) draw();
    }, 30);
  }

  function draw() {
    const newest = [...rows.values()].sort((a, b) => b.seq - a.seq);
    const elements = newest.slice(0, limit).map((row) => drawn.get(row.seq) ?? drawRow(row));
    arrange(body, elements);
    const bids = newest.filter((row) => row.kind === "bid_placed").length;
    setText(number, bids > 0 ? String(bidList.cut ? lot().bid_count : bids) : "");
    setText(unit, `, ${lot().currency.code}`);
    show(table, newest.length > 0);
    show(status, newest.length === 0);
    if (loaded) setText(status, ["closed", "cancelled"].includes(lot().status) ? "There were no bids." : "No bids yet.");
    show(cut, bidList.cut);
    if (bidList.cut) setText(cutText, "This table has a gap: the history is very long, and between its beginning and the newest lines a part has not been read.");
    show(more, newest.length > limit);
    setText(more, `Show more (${count(newest.length - limit, "older line")})`);
    element.dataset.loaded = String(loaded);
    changed();
  }

  function drawRow(row) {
    const time = el("time", { datetime: new Date(row.at).toISOString() }, clockTime(row.at, now()));
    const line = row.kind === "bid_placed" || row.kind === "bid_retracted" ? bidLine(row, time) : noteLine(row, time);
    if (row.fresh) line.classList.add("fresh");
    drawn.set(row.seq, line);
    return line;
  }

  function bidLine(row, time) {
    const { currency } = lot();
    const own = nameOn(lot(), me());
    const mine = row.bidder === own;
    const data = { seq: row.seq, kind: row.kind, bidder: row.bidder, amount: row.amount, price: row.price, leader: row.leader ?? "" };
    return el(`tr${mine ? ".mine" : ""}`, { data },
      el("td.when", {}, time),
      el("td.bidder", {}, person(row.bidder, mine), row.kind === "bid_retracted" ? el("span.tag", {}, "withdrawn") : null),
      el("td.amount", {}, formatAmount(row.amount, currency.scale)),
      el("td.amount.price", {}, formatAmount(row.price, currency.scale)),
      el("td.leader", {}, row.leader ? person(row.leader, row.leader === own) : "–"));
  }

  function person(name, mine) {
    return el("span.person", {}, el(`span.name-dot.hue-${hue(name)}`, { "aria-hidden": "true" }), el("span.name", {}, name), mine ? el("span.tag", {}, "you") : null);
  }

  function noteLine(row, time) {
    return el("tr.note", { data: { seq: row.seq, kind: row.kind } },
      el("td.when", {}, time), el("td", { colspan: 4 }, noteWords(row)));
  }

  function noteWords(row) {
    const because = row.reason ? `: ${row.reason}` : "";
    const until = row.closes_at ? clockTime(row.closes_at, now()) : null;
    switch (row.kind) {
      case "opened":
        return until ? `Opened, closes at ${until}` : "Opened";
      case "extended":
        return `Extended to ${until}${row.extensions > 0 ? ` (${count(row.extensions, "extension")} so far)` : ""}`;
      case "paused":
        return `Paused${row.remaining_ms != null ? ` with ${span(row.remaining_ms)} left` : ""}${because}`;
      case "resumed":
        return until ? `Resumed, closes at ${until}` : "Resumed";
      case "changed":
        return `The reserve was lowered; the price is now ${money(row.price, lot().currency)}`;
      case "price_dropped":
        return `The price dropped to ${money(row.price, lot().currency)}`;
      case "closed":
        return closedWords(row);
      case "cancelled":
        return `Cancelled${because}`;
      default:
        return row.kind;
    }
  }

  function closedWords(row) {
    const { headline, detail } = outcomeWords({ outcome: row.outcome, currency: lot().currency }, null);
    return `Closed. ${headline}${row.outcome?.sold ? ` ${detail}` : detail ? `: ${detail[0].toLowerCase()}${detail.slice(1, -1)}` : ""}`;
  }

  return {
    element,
    load: loading.ask,
    add,
    /** Accepted bids in order, for the chart. */
    bids: () => [...rows.values()].filter((row) => row.kind === "bid_placed").sort((a, b) => a.seq - b.seq),
    /** The last event of a kind, or null. */
    last: (kind) => [...rows.values()].reduce((last, row) => (row.kind === kind && row.seq > (last?.seq ?? -1) ? row : last), null),
    close: () => {
      open = false;
      clearTimeout(pending);
      loading.stop();
    },
  };
}
