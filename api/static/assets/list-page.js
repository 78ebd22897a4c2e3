// The list of lots: live ones as cards that follow every bid over the one connection, then what comes and what was.

import { arrange, el, flash, setText, show } from "./dom.js";
import { clockTime, count, countdown, hue, money, outcomeWords, statusName } from "./format.js";
import { standing } from "./gavel-client.js";
import { ENDED, ENDED_SHOWN, LIVE, LotList, byClose, byEnd, byOpening } from "./lot-list.js";

/** The protocol's default bound on joined lots a socket. */
const JOINED_AT_MOST = 128;
const REFRESH_MS = 15_000;

const SECTIONS = [
  { key: "open", title: "Live now", statuses: ["open", "paused"], empty: "No lot is open right now." },
  { key: "scheduled", title: "Opening soon", statuses: ["scheduled"] },
  { key: "ended", title: "Recently ended", statuses: ENDED },
];

export function listPage({ client, rest, me, title }) {
  title("Lots");
  const cards = new Map(); // lot id → card
  const joined = new Set(); // what can still change is joined; the rest is read now and then
  const seenEnding = new Map(); // lot id → when it ended, ms
  const list = new LotList(rest);
  const notice = el("p.empty", { role: "status" }, "Loading the lots…");
  const sections = SECTIONS.map((section) => {
    const grid = el("ul.cards", { role: "list" });
    const empty = section.empty ? el("p.empty", { hidden: true }, section.empty) : null;
    const number = el("span.number");
    const element = el(`section.lots.lots-${section.key}`, { hidden: true, "aria-labelledby": `lots-${section.key}`, data: { section: section.key } },
      el("h2", { id: `lots-${section.key}` }, section.title, " ", number), grid, empty);
    return { ...section, grid, empty, number, element };
  });
  const element = el("div.list-page", { "data-page": "list" },
    el("h1", {}, "Lots"), notice, sections.map((section) => section.element));

  let mounted = true;
  let reading = false;
  const stop = [
    client.on("lot", (lot, change) => cards.has(lot.id) && update(lot, change)),
    // Its card lives on from the list alone.
    client.on("lost", (id) => joined.delete(id)),
    client.on("session", () => cards.forEach((card) => card.draw(card.lot))),
    client.on("state", (state) => state === "online" && refresh()),
  ];
  const refreshing = setInterval(() => document.visibilityState === "visible" && refresh(), REFRESH_MS);
  const ticking = setInterval(() => {
    const now = client.serverNow();
    for (const card of cards.values()) card.tick(now);
  }, 200);
  refresh();

  async function refresh() {
    if (reading) return;
    reading = true;
    try {
      const known = [...cards.values()].filter((card) => LIVE.includes(card.lot.status) && client.lot(card.lot.id) === null);
      const { lots, gone } = await list.read(known.map((card) => card.lot.id), client.serverNow());
      if (!mounted) return;
      show(notice, false);
      gone.forEach((id) => cards.delete(id));
      for (const lot of lots) {
        // What a joined lot says is newer than a list.
        if (!joined.has(lot.id) || !cards.has(lot.id)) update(client.lot(lot.id) ?? lot, null);
      }
      // Not all may find room: those that close next matter most.
      lots.sort((a, b) => (a.status === "scheduled") - (b.status === "scheduled") || byClose(a, b)).forEach(follow);
      sortOut();
    } catch (error) {
      if (mounted && cards.size === 0) setText(notice, error.status === 401 ? "Waiting for access…" : "The lots could not be loaded. Trying again…");
    } finally {
      reading = false;
    }
  }

  function follow(lot) {
    if (!LIVE.includes(lot.status)) return;
    if (joined.has(lot.id) || joined.size >= JOINED_AT_MOST) return;
    joined.add(lot.id);
    // Beyond a server's own limit the card lives from the list alone.
    client.join(lot.id).catch(() => {});
  }

  function update(lot, change) {
    let card = cards.get(lot.id);
    const moved = !card || card.lot.status !== lot.status;
    if (!card) cards.set(lot.id, (card = lotCard(lot, me)));
    card.draw(lot);
    card.tick(client.serverNow());
    if (change?.events.some((event) => "bid_placed" in event)) flash(card.element, "bumped");
    const end = change?.events.findLast((event) => "closed" in event || "cancelled" in event);
    if (end) seenEnding.set(lot.id, Date.parse(end.at));
    if (moved && change) sortOut();
    if (joined.has(lot.id) && !LIVE.includes(lot.status)) leave(lot.id);
  }

  function leave(id) {
    joined.delete(id);
    client.leave(id);
  }

  function sortOut() {
    const order = { open: byClose, scheduled: byOpening, ended: byEnd(client.serverNow(), (lot) => seenEnding.get(lot.id)) };
    for (const section of sections) {
      const here = [...cards.values()].filter((card) => section.statuses.includes(card.lot.status))
        .sort((a, b) => order[section.key](a.lot, b.lot));
      const shown = section.key === "ended" ? here.slice(0, ENDED_SHOWN) : here;
      for (const card of here.slice(shown.length)) cards.delete(card.lot.id);
      arrange(section.grid, shown.map((card) => card.element));
      setText(section.number, here.length > 0 && section.key !== "ended" ? String(here.length) : "");
      if (section.empty) show(section.empty, here.length === 0);
      show(section.element, here.length > 0 || section.empty !== null);
    }
  }

  function unmount() {
    mounted = false;
    clearInterval(refreshing);
    clearInterval(ticking);
    stop.forEach((off) => off());
    for (const id of [...joined]) leave(id);
  }

  return { element, unmount };
}

function lotCard(first, me) {
  const status = el("span.pill");
  const timer = el("span.card-time");
  const name = el("h3");
  const label = el("span.label");
  const price = el("span.card-price");
  const dot = el("span.name-dot", { "aria-hidden": "true" });
  const leader = el("span.card-leader-name");
  const leaderLine = el("p.card-leader", {}, dot, leader);
  const bids = el("span.card-bids");
  const element = el("li.card", { data: { lot: first.id } },
    el("a.card-link", { href: `/lots/${first.id}` },
      el("div.card-top", {}, status, timer),
      name,
      el("div.card-foot", {}, el("p.card-amount", {}, label, price), el("div.card-side", {}, leaderLine, bids))));

  const card = { element, lot: first, draw, tick };

  function draw(lot) {
    card.lot = lot;
    const leads = lot.leader !== null && lot.leader === me();
    const out = standing(lot, me()) === "outbid";
    element.dataset.status = lot.status;
    element.dataset.stand = leads ? "leads" : out ? "outbid" : "";
    status.dataset.status = lot.status;
    setText(status, statusName(lot.status));
    setText(name, lot.title);
    drawAmount(lot);
    show(leaderLine, lot.leader !== null && lot.status !== "cancelled");
    dot.setAttribute("class", `name-dot hue-${hue(lot.leader ?? "")}`);
    setText(leader, leads ? (lot.status === "closed" ? "You" : "You lead") : out ? `Outbid by ${lot.leader}` : (lot.leader ?? ""));
    setText(bids, lot.status === "scheduled" ? "" : count(lot.bid_count, "bid"));
  }

  function drawAmount(lot) {
    const sold = lot.outcome?.sold;
    if (lot.status === "closed") {
      setText(label, sold ? "Sold for" : "Outcome");
      setText(price, sold ? money(sold.price, lot.currency) : outcomeWords(lot, null).headline);
      return;
    }
    setText(label, lot.status === "cancelled" && lot.price !== null ? "Last price" : lot.price === null ? "Starts at" : "Price");
    setText(price, money(lot.price ?? lot.rules.start_price, lot.currency));
  }

  function tick(now) {
    const { lot } = card;
    const to = lot.status === "scheduled" ? lot.opens_at : lot.closes_at;
    let text = "";
    let urgency = "";
    if (lot.status === "open" && to === null) text = "By the hammer";
    else if (lot.status === "paused") text = lot.remaining_ms != null ? `${countdown(lot.remaining_ms)} left` : "";
    else if (lot.status === "open" || lot.status === "scheduled") {
      const left = Date.parse(to) - now;
      text = left > 0 ? (lot.status === "open" ? countdown(left) : `in ${countdown(left)}`) : lot.status === "open" ? "Closing…" : "Opening…";
      if (lot.status === "open") urgency = left < 10_000 ? "now" : left < 60_000 ? "soon" : "";
    } else if (lot.status === "closed" && to && Date.parse(to) <= now) text = clockTime(to, now);
    setText(timer, text);
    if (timer.dataset.urgency !== urgency) timer.dataset.urgency = urgency;
  }

  draw(first);
  return card;
}
