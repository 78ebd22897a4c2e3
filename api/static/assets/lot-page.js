// One lot: what it is, what it costs now, who leads, how long it takes, the place to bid, and what happened so far.

import { bidBox } from "./bid-box.js";
import { priceChart } from "./chart.js";
import { el, flash, setText, show } from "./dom.js";
import { clockTime, count, countdown, hue, money, outcomeWords, span, statusName } from "./format.js";
import { nameOn } from "./gavel-client.js";
import { lotHistory } from "./history.js";

const ANNOUNCE_EVERY_MS = 1_500;
const EXTENDED_SHOWN_MS = 8_000;

export function lotPage({ client, rest, wallet, me, role, announce, title }, id) {
  title("Lot");
  const back = el("a.back", { href: "/" }, "All lots");
  const waiting = el("p.empty", { role: "status" }, "Loading the lot…");
  const element = el("div.lot-page", { "data-page": "lot", data: { lot: id } }, back, waiting);

  const status = el("span.pill", { id: "lot-status" });
  const heading = el("h1", { id: "lot-title" });
  const description = el("p.description");
  const head = el("header.lot-head", {}, status, heading);

  const timerLabel = el("p.label", { id: "timer-label" });
  const timer = el("p.timer", { id: "countdown", role: "timer", "aria-labelledby": "timer-label countdown" });
  const timerNote = el("p.timer-note", { id: "timer-note" });
  const bar = el("div.bar-fill");
  const barFrame = el("div.bar", { "aria-hidden": "true" }, bar);
  const timing = el("div.timing", {}, timerLabel, timer, barFrame, timerNote);

  const priceLabel = el("p.label");
  const price = el("p.price", { id: "price" });
  const leaderDot = el("span.name-dot", { "aria-hidden": "true" });
  const leaderName = el("span.leader-name", { id: "leader" });
  const leader = el("p.leader-line", {}, leaderDot, leaderName);
  const reserve = el("span.fact", { id: "reserve" });
  const bids = el("span.fact", { id: "bid-count" });
  const extensions = el("span.fact", { id: "extensions" });
  const funding = el("span.fact", { id: "funding", title: "Who bids needs a balance: while a bid leads, its maximum is held; the winner's wallet pays the price." }, "Paid from wallets");
  const access = el("span.fact", { id: "access" });
  const pricing = el("div.pricing", {}, priceLabel, price, leader, el("p.facts", {}, bids, reserve, extensions, funding, access));

  const outcomeHead = el("p.outcome-head");
  const outcomeDetail = el("p.outcome-detail");
  const outcome = el("div.outcome", { id: "outcome", role: "status", hidden: true }, outcomeHead, outcomeDetail);

  const lostText = el("span");
  const lostNotice = el("div.lost", { id: "lost", role: "alert", hidden: true }, lostText,
    el("button", { type: "button", onclick: followAgain }, "Try again"));

  const box = bidBox({ client, wallet, me, role });
  const panel = el("aside.panel", { "aria-label": "Price and bidding" }, outcome, timing, pricing, box.element);
  const chart = priceChart();
  const history = lotHistory({ rest, id, lot: () => lot, me, now: () => client.serverNow(), changed: drawHistory });
  const layout = el("article.lot", { "aria-labelledby": "lot-title" }, head, lostNotice, panel, description, chart.element, history.element);

  let lot = null;
  let mounted = true;
  let extendedUntil = 0;
  let lastSaid = { text: "", at: 0, timer: null };
  let said = new Set();

  const stop = [
    client.on("lot", (next, change) => next.id === id && changed(next, change)),
    client.on("lost", (lost, error) => lost === id && lot && noMore(error)),
    client.on("session", () => lot && draw()),
  ];
  const ticking = setInterval(tick, 100);
  client.join(id).catch((error) => mounted && error.code !== "left" && missing(error));

  function missing(error) {
    const gone = ["not_found", "invalid", "forbidden"].includes(error.code);
    setText(waiting, gone ? "There is no such lot." : `The lot could not be opened: ${error.message}`);
    title("No such lot");
  }

  /** What is shown was true once; the server tells no more of it. */
  function noMore(error) {
    const why = error.code === "not_found" ? "This lot is no longer there." : "This lot can no longer be followed from here.";
    setText(lostText, `${why} What you see may be out of date.`);
    show(lostNotice, true);
    layout.dataset.lost = error.code;
    box.update(lot);
  }

  function followAgain() {
    client.join(id).catch(() => {});
  }

  function changed(next, change) {
    show(lostNotice, false);
    delete layout.dataset.lost;
    const first = lot === null;
    const before = lot;
    lot = next;
    if (first) {
      waiting.remove();
      element.append(layout);
    }
    for (const event of change.events) {
      if ("extended" in event) extendedUntil = client.serverNow() + EXTENDED_SHOWN_MS;
      if ("extended" in event || "resumed" in event) said = new Set();
    }
    draw(change.kind);
    if (before && before.price !== lot.price) flash(price, "bumped");
    if (before && change.kind !== "own") speak(before);
    history.add(change.events);
    // Without a resume there may be lines this page never saw.
    if (change.kind === "snapshot" && !change.resumed) history.load();
  }

  function draw(kind) {
    const mine = nameOn(lot, me());
    const leads = lot.leader !== null && lot.leader === mine;
    const over = lot.status === "closed" || lot.status === "cancelled";
    title(over || lot.price === null ? lot.title : `${money(lot.price, lot.currency)} · ${lot.title}`);
    layout.dataset.status = lot.status;
    layout.dataset.seq = lot.position.seq;
    panel.dataset.stand = leads && !over ? "leads" : "";
    status.dataset.status = lot.status;
    setText(status, statusName(lot.status));
    setText(heading, lot.title);
    setText(description, lot.description ?? "");
    show(description, Boolean(lot.description));

    setText(priceLabel, lot.price === null ? "Starting price" : over ? "Highest bid" : "Current price");
    setText(price, money(lot.price ?? lot.rules.start_price, lot.currency));
    setText(leaderName, lot.leader === null ? (over ? "No bids" : "No bids yet") : leads ? (over ? "You led" : "You lead") : `${lot.leader} ${over ? "led" : "leads"}`);
    leader.dataset.leader = lot.leader ?? "";
    leaderDot.setAttribute("class", `name-dot hue-${hue(lot.leader ?? "")}`);
    show(leaderDot, lot.leader !== null);
    // What it sold for and to whom is the outcome's to say.
    for (const part of [priceLabel, price, leader]) show(part, !lot.outcome?.sold);
    setText(bids, count(lot.bid_count, "bid"));
    setText(reserve, lot.reserve_met === null || lot.reserve_met === undefined ? "" : lot.reserve_met ? "Reserve met" : "Reserve not met");
    reserve.dataset.met = String(lot.reserve_met);
    show(reserve, reserve.textContent !== "");
    setText(extensions, lot.extensions > 0 ? `Extended ${lot.extensions === 1 ? "once" : `${lot.extensions} times`}` : "");
    show(extensions, lot.extensions > 0);
    show(funding, lot.funding === "wallet");
    setText(access, accessWords(lot.access, mine));
    show(access, access.textContent !== "");
    drawOutcome();
    show(timing, !over);
    box.update(lot, kind);
    tick();
  }

  /** Who may bid, and who is who. */
  function accessWords(rules, mine) {
    if (!rules) return "";
    const who = { lot: "Bidders registered for this lot only", currency: `Bidders registered for ${lot.currency.code} only` }[rules.registration] ?? "";
    const names = !rules.aliases ? "" : rules.alias ? `Bidders have aliases: you are ${mine}` : "Bidders have aliases";
    return [who, names].filter(Boolean).join(" · ");
  }

  function drawOutcome() {
    const over = lot.status === "closed" || lot.status === "cancelled";
    show(outcome, over);
    if (!over) return;
    if (lot.status === "cancelled") {
      const reason = history.last("cancelled")?.reason;
      outcome.dataset.kind = "cancelled";
      setText(outcomeHead, "Cancelled");
      setText(outcomeDetail, reason ? `Reason: ${reason}` : "This lot was withdrawn; no bid on it counts.");
      return;
    }
    const words = outcomeWords(lot, nameOn(lot, me()));
    outcome.dataset.kind = words.won ? "won" : lot.outcome?.sold ? "sold" : "unsold";
    setText(outcomeHead, words.headline);
    setText(outcomeDetail, words.detail);
  }

  /** Also the chart, the reason of a cancellation and of a pause live in the history. */
  function drawHistory() {
    if (!lot) return;
    drawOutcome();
    const running = lot.status === "open" || lot.status === "paused";
    const end = history.last("closed") ?? history.last("cancelled");
    chart.draw(history.bids(), lot.currency, running ? client.serverNow() : (end?.at ?? 0));
  }

  // ---- time ----

  function tick() {
    if (!lot) return;
    const now = client.serverNow();
    if (lot.status === "scheduled") return clock("Opens in", lot.opens_at, now, "Opening…");
    if (lot.status === "draft") return tell("Not open", "–", "This lot is a draft.", "");
    if (lot.status === "paused") {
      const reason = history.last("paused")?.reason;
      return tell(lot.remaining_ms == null ? "Paused" : "Paused with", lot.remaining_ms == null ? "–" : countdown(lot.remaining_ms), reason ? `Reason: ${reason}` : "The clock stands still until the auctioneer resumes.", "paused");
    }
    if (lot.status !== "open") return undefined;
    if (lot.closes_at === null) return tell("Closes", "By the hammer", "The auctioneer closes this lot by hand.", "");
    return clock("Closes in", lot.closes_at, now, "Closing…");
  }

  function clock(label, at, now, atZero) {
    const left = Date.parse(at) - now;
    const open = lot.status === "open";
    const urgency = !open ? "" : left < 10_000 ? "now" : left < 60_000 ? "soon" : "";
    tell(label, left > 0 ? countdown(left) : atZero, open ? openNote(left, now) : `at ${clockTime(at, now)}`, urgency);
    show(barFrame, open && left < 60_000);
    if (!barFrame.hidden) bar.style.transform = `scaleX(${Math.max(0, Math.min(1, left / 60_000)).toFixed(4)})`;
    timer.dataset.ms = Math.max(0, Math.round(left));
    if (open) warn(left);
  }

  function openNote(left, now) {
    const at = clockTime(lot.closes_at, now);
    if (now < extendedUntil) return `Soft close: extended to ${at}`;
    const soft = lot.soft_close;
    if (left <= 0) return "Waiting for the last word";
    if (left < 10_000) return left < 3_500 ? "Going, going…" : "Going…";
    if (soft && left <= soft.window_ms) return `at ${at} · a bid now extends the time`;
    return soft ? `at ${at} · a bid in the last ${span(soft.window_ms)} extends it` : `at ${at}`;
  }

  function tell(label, text, note, urgency) {
    setText(timerLabel, label);
    setText(timer, text);
    timer.classList.toggle("words", !/^[0-9]/.test(text));
    setText(timerNote, note);
    timerNote.classList.toggle("extended", note.startsWith("Soft close"));
    if (timing.dataset.urgency !== urgency) timing.dataset.urgency = urgency;
    if (lot.status !== "open") show(barFrame, false);
  }

  // ---- what a screen reader hears ----

  function warn(left) {
    for (const seconds of [60, 10]) {
      if (left > seconds * 1000 || left < (seconds - 2) * 1000 || said.has(seconds)) continue;
      said.add(seconds);
      announce(seconds === 60 ? "One minute left" : "Ten seconds left");
    }
  }

  function speak(before) {
    const parts = [];
    if (before.status !== lot.status) parts.push(lot.status === "closed" ? `Closed. ${outcomeWords(lot, nameOn(lot, me())).headline}` : `Now ${statusName(lot.status).toLowerCase()}`);
    else if (before.price !== lot.price || before.leader !== lot.leader) {
      parts.push(`Price ${money(lot.price, lot.currency)}, ${lot.leader === nameOn(lot, me()) ? "you lead" : `${lot.leader} leads`}`);
    }
    if (before.extensions < lot.extensions) parts.push("the time was extended");
    if (parts.length === 0) return;
    lastSaid.text = parts.join("; ");
    // In a burst only the latest is worth hearing.
    lastSaid.timer ??= setTimeout(() => {
      lastSaid.timer = null;
      lastSaid.at = Date.now();
      announce(lastSaid.text);
    }, Math.max(0, lastSaid.at + ANNOUNCE_EVERY_MS - Date.now()));
  }

  function unmount() {
    mounted = false;
    clearInterval(ticking);
    clearTimeout(lastSaid.timer);
    stop.forEach((off) => off());
    history.close();
    chart.close();
    box.close();
    client.leave(id);
  }

  return { element, unmount };
}
