// The list of lots: live ones as cards that follow every bid over the one connection, then what comes and what was.

import { arrange, el, flash, setText, show } from "./dom.js";
import { clockTime, count, countdown, hue, money, outcomeWords, statusName } from "./format.js";

/** The protocol's default bound on joined lots a socket. */
const JOINED_AT_MOST = 128;
const REFRESH_MS = 15_000;
/** What can still change is joined; the rest is read now and then. */
const LIVE = ["open", "paused", "scheduled"];

const SECTIONS = [
  { key: "open", title: "Live now", statuses: ["open", "paused"], empty: "No lot is open right now." },
  { key: "scheduled", title: "Opening soon", statuses: ["scheduled"] },
  { key: "ended", title: "Recently ended", statuses: ["closed", "cancelled"] },
];

export function listPage({ client, rest, me, title }) {
  title("Lots");
  const cards = new Map(); // lot id → card
  const joined = new Set();
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
  const stop = [
    client.on("lot", (lot, change) => cards.has(lot.id) && update(lot, change)),
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
    try {
      const statuses = SECTIONS.flatMap((section) => section.statuses);
      const answers = await Promise.all(statuses.map((status) => rest.lots(status)));
      if (!mounted) return;
      show(notice, false);
      for (const lot of answers.flatMap((answer) => answer.items)) {
        // What a joined lot says is newer than a list.
        if (!joined.has(lot.id) || !cards.has(lot.id)) update(client.lot(lot.id) ?? lot, null);
      }
      for (const lot of answers.flatMap((answer) => answer.items)) follow(lot);
      sortOut();
    } catch (error) {
      if (mounted && cards.size === 0) setText(notice, error.status === 401 ? "Waiting for access…" : "The lots could not be loaded. Trying again…");
    }
  }

  function follow(lot) {
    if (!LIVE.includes(lot.status)) return;
    if (joined.has(lot.id) || joined.size >= JOINED_AT_MOST) return;
    joined.add(lot.id);
    // Beyond a server's own limit the card lives from the list alone.
    client.join(lot.id).catch(() => joined.delete(lot.id));
  }

  function update(lot, change) {
    let card = cards.get(lot.id);
    const moved = !card || card.lot.status !== lot.status;
    if (!card) cards.set(lot.id, (card = lotCard(lot, me)));
    card.draw(lot);
    card.tick(client.serverNow());
    if (change?.events.some((event) => "bid_placed" in event)) flash(card.element, "bumped");
    if (moved && change) sortOut();
    if (joined.has(lot.id) && !LIVE.includes(lot.status)) leave(lot.id);
  }

  function leave(id) {
    joined.delete(id);
    client.leave(id);
  }

  function sortOut() {
    for (const section of sections) {
      const here = [...cards.values()].filter((card) => section.statuses.includes(card.lot.status)).sort(ORDER[section.key]);
      const shown = section.key === "ended" ? here.slice(0, 24) : here;
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

const time = (at, absent) => (at ? Date.parse(at) : absent);
const ORDER = {
  open: (a, b) => (a.lot.status === "paused") - (b.lot.status === "paused") || time(a.lot.closes_at, Infinity) - time(b.lot.closes_at, Infinity) || byTitle(a, b),
  scheduled: (a, b) => time(a.lot.opens_at, Infinity) - time(b.lot.opens_at, Infinity) || byTitle(a, b),
  ended: (a, b) => time(b.lot.closes_at, 0) - time(a.lot.closes_at, 0) || byTitle(a, b),
};

function byTitle(a, b) {
  return a.lot.title.localeCompare(b.lot.title) || (a.lot.id < b.lot.id ? -1 : 1);
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
    const out = !leads && lot.own?.max != null && ["open", "paused"].includes(lot.status);
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
