// The list of lots: live ones as cards that follow every bid over the one connection, then what comes and what was.

import { arrange, el, flash, setText, show } from "./dom.js";
import { count } from "./format.js";
import { lotCard } from "./lot-card.js";
import { ENDED, ENDED_SHOWN, LIVE, LotList, byClose, byEnd, byOpening } from "./lot-list.js";

/** Cards of a section until more are asked for. */
const SHOWN = 200;
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
  const limits = { open: SHOWN, scheduled: SHOWN, ended: ENDED_SHOWN };
  let shown = []; // the cards that are on the page
  const joined = new Set(); // what can still change is joined; the rest is read now and then
  const seenEnding = new Map(); // lot id → when it ended, ms
  const list = new LotList(rest);
  const notice = el("p.empty", { role: "status" }, "Loading the lots…");
  const sections = SECTIONS.map((section) => {
    const grid = el("ul.cards", { role: "list" });
    const empty = section.empty ? el("p.empty", { hidden: true }, section.empty) : null;
    const number = el("span.number");
    const more = el("button.quiet", { type: "button", hidden: true, onclick: () => showMore(section.key) }, "Show more");
    const element = el(`section.lots.lots-${section.key}`, { hidden: true, "aria-labelledby": `lots-${section.key}`, data: { section: section.key } },
      el("h2", { id: `lots-${section.key}` }, section.title, " ", number), grid, more, empty);
    return { ...section, grid, more, empty, number, element };
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
    for (const card of shown) card.tick(now);
  }, 200);
  refresh();

  async function refresh() {
    // A visitor without a token may not be let in at all: the connection finds out first.
    if (reading || (rest.token === null && client.state !== "online")) return;
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

  function showMore(key) {
    limits[key] += SHOWN;
    sortOut();
  }

  function sortOut() {
    const now = client.serverNow();
    shown = [];
    const order = { open: byClose, scheduled: byOpening, ended: byEnd(now, (lot) => seenEnding.get(lot.id)) };
    for (const section of sections) {
      const here = [...cards.values()].filter((card) => section.statuses.includes(card.lot.status))
        .sort((a, b) => order[section.key](a.lot, b.lot));
      const visible = here.slice(0, limits[section.key]);
      const hidden = here.slice(visible.length);
      if (section.key === "ended") for (const card of hidden) cards.delete(card.lot.id);
      arrange(section.grid, visible.map((card) => card.element));
      for (const card of visible) card.tick(now);
      shown.push(...visible);
      show(section.more, hidden.length > 0 && section.key !== "ended");
      setText(section.more, `Show more (${count(hidden.length, "lot")} not shown)`);
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
