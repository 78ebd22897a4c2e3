// A lot in the list: what it is, what it costs, who leads, how long it takes.

import { el, setText, show } from "./dom.js";
import { clockTime, count, countdown, hue, money, outcomeWords, statusName } from "./format.js";
import { nameOn, standing } from "./gavel-client.js";

/** `{element, lot, draw(lot), tick(now)}`. Its element is made when it is first asked for: most of a long list never are. */
export function lotCard(first, me) {
  let face = null;
  const card = {
    lot: first,
    get element() {
      face ??= cardFace(card.lot, me);
      return face.element;
    },
    draw(lot) {
      card.lot = lot;
      face?.draw(lot);
    },
    tick(now) {
      face?.tick(card.lot, now);
    },
  };
  return card;
}

function cardFace(first, me) {
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

  function draw(lot) {
    const leads = lot.leader !== null && lot.leader === nameOn(lot, me());
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

  function tick(lot, now) {
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
  return { element, draw, tick };
}
