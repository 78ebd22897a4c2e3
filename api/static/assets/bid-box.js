// Where a bid is placed: amount, optional secret maximum, buying at once; and what the server said to it.

import { el, setText, show } from "./dom.js";
import { MAX_AMOUNT, formatAmount, nameOn, parseAmount, standing as standingOf, stepAt } from "./gavel-client.js";
import { money } from "./format.js";
import { inputText, refusalText } from "./refusals.js";
import { asksWallet, fundsFor } from "./wallet.js";

const TEMPORARY = ["unavailable", "overloaded", "rate_limited", "internal", "stopped"];

/** `me()` this bidder's name or null, `role()` the session's role or null. */
export function bidBox({ client, wallet, me, role }) {
  let lot = null;
  let edited = false; // the amount was typed, so a new minimum must not overwrite it
  let busy = false;
  let unsure = null; // a bid whose outcome is unknown: the same one again keeps its bid_id
  let led = false; // the seq of our last receipt while it is true that we lead by it

  // That one leads is said beside the price.
  const standing = el("p.standing", { role: "status", id: "standing" });
  const own = el("p.own", { id: "own-max" });
  const fundsText = el("span");
  const funds = el("p.wallet", { id: "wallet", hidden: true }, fundsText, " ", el("a", { href: "/wallet" }, "My wallet"));
  const note = el("p.bid-note", { id: "bid-note" });

  const amount = el("input", { id: "bid-amount", name: "amount", inputmode: "decimal", autocomplete: "off", spellcheck: "false", "aria-describedby": "bid-hint bid-error", oninput: () => typed(), onkeydown: arrows });
  const unit = el("span.unit", { "aria-hidden": "true" });
  const less = el("button.step", { type: "button", "aria-label": "One step less", onclick: () => move(-1) }, "−");
  const plus = el("button.step", { type: "button", "aria-label": "One step more", onclick: () => move(1) }, "+");
  const hint = el("p.hint", { id: "bid-hint" });
  const quick = el("div.quick", { role: "group", "aria-label": "Quick amounts" });
  const amountPart = el("div.part", {},
    el("label", { for: "bid-amount" }, "Your bid"),
    el("div.field.stepped", {}, less, el("span.input", {}, amount, unit), plus), hint, quick);

  const max = el("input", { id: "bid-max", name: "max", inputmode: "decimal", autocomplete: "off", spellcheck: "false", "aria-describedby": "max-hint bid-error", oninput: () => draw() });
  const maxUnit = el("span.unit", { "aria-hidden": "true" });
  const maxLabel = el("label", { for: "bid-max" });
  const maxHint = el("p.hint", { id: "max-hint" });
  const maxPart = el("div.part", {}, maxLabel, el("div.field", {}, el("span.input", {}, max, maxUnit)), maxHint);

  const submit = el("button.primary", { type: "submit", id: "bid-submit" });
  const buy = el("button.secondary", { type: "button", id: "buy-now", onclick: () => confirmBuy(buyNow) });
  const error = el("p.error", { id: "bid-error", role: "alert" });
  const done = el("p.done", { id: "bid-done", role: "status" });
  const form = el("form.bid-form", { novalidate: true, "aria-label": "Place a bid", onsubmit: send }, amountPart, maxPart, submit, el("div.answer", {}, error, done));
  const dialog = el("dialog.confirm", { "aria-labelledby": "confirm-title" });
  const element = el("div.bid-box", { id: "bid-box" }, standing, own, note, funds, form, buy, dialog);

  const stop = [client.on("state", () => lot && draw()), wallet.on(() => lot && draw())];

  function update(next, kind) {
    const first = lot === null;
    lot = next;
    if (first) {
      setText(unit, lot.currency.code);
      setText(maxUnit, lot.currency.code);
      setText(maxHint, `Kept secret. ${lot.funding === "wallet" ? "Your wallet holds it while you lead, but you" : "You"} pay only as much as it takes to lead, up to this.`);
    }
    if (first || kind !== "events") readWallet();
    draw();
  }

  const text = (value) => formatAmount(value, lot.currency.scale, false);
  const say = (value) => money(value, lot.currency);
  const leads = () => lot.leader !== null && lot.leader === nameOn(lot, me());
  /** Already leading with a maximum: then only a higher maximum makes sense. */
  const raising = () => leads() && lot.rules.proxy;
  const buyable = () => lot.buy_now_available && lot.rules.buy_now_price !== null;

  function draw() {
    const bidder = me() !== null;
    const open = lot.status === "open";
    const over = lot.status === "closed" || lot.status === "cancelled";
    drawStanding(bidder);
    if (led && !leads() && lot.position.seq >= led) forgetReceipt();

    setText(note, noteText(bidder, open));
    show(note, !over && note.textContent !== "");
    show(form, bidder && (open || lot.status === "paused") && !(leads() && !lot.rules.proxy));
    show(amountPart, !raising());
    show(maxPart, lot.rules.proxy);
    show(buy, bidder && open && buyable());
    if (form.hidden && buy.hidden) setText(error, "");
    if (over) dialog.close();

    if (!edited) amount.value = text(lot.minimum_bid);
    const given = parseAmount(amount.value, lot.currency.scale);
    const low = edited && given.value !== undefined && given.value < lot.minimum_bid;
    setText(hint, low ? `The minimum is now ${say(lot.minimum_bid)}` : `At least ${say(lot.minimum_bid)}`);
    hint.classList.toggle("warn", low);
    drawQuick();

    setText(maxLabel, raising() ? "Your new maximum" : "Your maximum (optional)");
    setText(submit, submitText(given));
    drawFunds();
    // A lot that can't be followed shows an old price: no place to bid.
    const ready = open && client.state === "online" && !busy && client.lot(lot.id) !== null;
    submit.disabled = !ready;
    buy.disabled = !ready;
    submit.setAttribute("aria-busy", String(busy));
    if (buyable()) setText(buy, `Buy now for ${say(lot.rules.buy_now_price)}`);
  }

  function drawStanding(bidder) {
    const mine = lot.own?.max ?? null;
    const state = standingOf(lot, me());
    standing.dataset.stand = state;
    element.dataset.stand = state;
    setText(standing, state === "outbid" ? "You have been outbid" : "");
    show(standing, state === "outbid");
    setText(own, mine === null ? "" : `Your maximum: ${say(mine)}`);
    show(own, bidder && mine !== null);
  }

  function noteText(bidder, open) {
    if (!bidder) {
      if (role() === null) return client.state !== "online" ? "" : `You are watching. To bid, sign in or open your personal link.${walletNote()}`;
      return role() === "viewer" ? "You are watching. As a viewer you can't bid." : `You are here as ${role()}; only bidders bid.`;
    }
    if (lot.status === "scheduled") return "Bidding has not opened yet.";
    if (lot.status === "paused") return "Bidding is paused. It goes on with the time that was left.";
    if (open && client.lot(lot.id) === null) return "Bidding waits until this lot can be followed again.";
    if (open && client.state !== "online") return "Reconnecting. You can bid again as soon as the connection is back.";
    if (open && leads() && !lot.rules.proxy) return "You can bid again once somebody outbids you.";
    return "";
  }

  /** What a newcomer has to know of such a lot. */
  function walletNote() {
    return lot.funding === "wallet" ? ` Bids need ${lot.currency.code} in your wallet: it holds your maximum while you lead, and pays the price if you win.` : "";
  }

  function submitText({ value }) {
    if (busy) return "Sending…";
    const limit = lot.rules.proxy ? parseAmount(max.value, lot.currency.scale).value : undefined;
    if (raising()) return limit === undefined ? "Raise your maximum" : `Raise your maximum to ${say(limit)}`;
    if (value === undefined) return "Place bid";
    return limit !== undefined && limit > value ? `Bid ${say(value)}, up to ${say(limit)}` : `Bid ${say(value)}`;
  }

  function drawQuick() {
    const step = stepAt(lot.rules.increments, lot.price ?? lot.rules.start_price);
    const key = `${step}`;
    if (quick.dataset.step === key) return;
    quick.dataset.step = key;
    quick.replaceChildren(
      el("button.chip", { type: "button", onclick: () => put(lot.minimum_bid, false) }, "Minimum"),
      ...[1, 2, 5].map((times) =>
        el("button.chip", { type: "button", onclick: () => move(times) }, `+${formatAmount(step * times, lot.currency.scale).replace(/\.0+$/, "")}`)));
  }

  function put(value, byHand = true) {
    edited = byHand;
    amount.value = text(value);
    setText(error, "");
    draw();
  }

  function move(times) {
    const from = parseAmount(amount.value, lot.currency.scale).value ?? lot.minimum_bid;
    const step = stepAt(lot.rules.increments, Math.max(from - (times < 0 ? 1 : 0), 0));
    put(Math.min(Math.max(from + step * times, times < 0 ? Math.min(lot.minimum_bid, from) : lot.minimum_bid), MAX_AMOUNT));
  }

  function arrows(event) {
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
    event.preventDefault();
    move(event.key === "ArrowUp" ? 1 : -1);
  }

  function typed() {
    edited = amount.value.trim() !== "";
    setText(error, "");
    setText(done, "");
    draw();
  }

  // ---- sending ----

  function send(event) {
    event.preventDefault();
    if (busy || submit.disabled) return;
    const { scale } = lot.currency;
    const limit = lot.rules.proxy && max.value.trim() !== "" ? parseAmount(max.value, scale) : { value: null };
    if (limit.error) return fail(inputText(limit.error, lot.currency), max);
    if (raising()) {
      if (limit.value === null) return fail("Enter a maximum above your present one.", max);
      return place(raisingBid(limit.value));
    }
    const given = parseAmount(amount.value, scale);
    if (given.error) return fail(inputText(given.error, lot.currency), amount);
    if (limit.value !== null && limit.value < given.value) return fail("Your maximum is below your bid.", max);
    const bid = { amount: given.value, max: limit.value };
    return buyable() && given.value >= lot.rules.buy_now_price ? confirmBuy(() => place(bid)) : place(bid);
  }

  /** Should somebody outbid us meanwhile, the amount still has to be enough; and it must not buy at once. */
  function raisingBid(limit) {
    const most = buyable() ? Math.min(limit, lot.rules.buy_now_price - 1) : limit;
    return { amount: Math.min(lot.minimum_bid, most), max: limit };
  }

  function buyNow() {
    return place({ amount: lot.rules.buy_now_price, max: null });
  }

  async function place(bid) {
    const again = unsure && unsure.lot === lot.id && unsure.amount === bid.amount && unsure.max === bid.max ? unsure : null;
    unsure = null;
    busy = true;
    setText(error, "");
    setText(done, "");
    draw();
    try {
      const receipt = await client.bid(lot.id, { ...bid, ...(again ? { bid_id: again.bid_id, retry: true } : {}) });
      accepted(receipt);
    } catch (refusal) {
      if (TEMPORARY.includes(refusal.code) && refusal.bid_id) unsure = { ...bid, lot: lot.id, bid_id: refusal.bid_id };
      if (refusal.code === "bid_too_low") edited = true;
      if (["insufficient_funds", "limit_exceeded"].includes(refusal.code)) readWallet();
      fail(refusalText(refusal, lot, fundsNow()), null);
    } finally {
      busy = false;
      draw();
    }
  }

  function accepted(receipt) {
    edited = false;
    max.value = "";
    const upTo = receipt.max > receipt.price ? `, up to ${say(receipt.max)}` : "";
    setText(done, receipt.leading
      ? `Bid accepted: you lead at ${say(receipt.price)}${upTo}.`
      : `Bid accepted, but another bidder's maximum is higher. The price is now ${say(receipt.price)}.`);
    done.dataset.leading = String(receipt.leading);
    led = receipt.leading ? receipt.seq : false;
    readWallet();
  }

  /** We lead no more: the receipt's good news is old. */
  function forgetReceipt() {
    led = false;
    setText(done, "");
  }

  function fail(words, field) {
    setText(error, words);
    setText(done, "");
    field?.focus();
  }

  function confirmBuy(yes) {
    const price = say(lot.rules.buy_now_price);
    const answer = (go) => () => {
      dialog.close();
      if (go) yes();
    };
    dialog.replaceChildren(
      el("h2", { id: "confirm-title" }, `Buy now for ${price}?`),
      el("p", {}, `The lot closes at once and you pay ${price}. This can't be undone.`),
      el("div.actions", {},
        el("button.primary", { type: "button", id: "confirm-buy", onclick: answer(true) }, `Buy for ${price}`),
        el("button.quiet", { type: "button", onclick: answer(false), autofocus: true }, "Not yet")));
    dialog.showModal();
  }

  // ---- the wallet, where the lot is paid from one ----

  function readWallet() {
    if (asksWallet(lot)) wallet.refresh();
  }

  const fundsNow = () => (me() === null ? null : fundsFor(lot, wallet.item(lot.currency.code)));

  function drawFunds() {
    const now = fundsNow();
    show(funds, now !== null && !["closed", "cancelled"].includes(lot.status));
    if (now === null) return;
    const limit = lot.rules.proxy ? parseAmount(max.value, lot.currency.scale).value : undefined;
    const most = limit ?? (raising() ? 0 : (parseAmount(amount.value, lot.currency.scale).value ?? 0));
    setText(fundsText, fundsWords(now));
    funds.classList.toggle("warn", form.hidden ? now.left < lot.minimum_bid && !leads() : most > now.left);
  }

  function fundsWords({ left: most, here, limited, full, leads: lots }) {
    if (full) return `You lead on as many lots as you may at a time (${lots}).`;
    if (limited) return `Your spend limit leaves ${say(most)} for this lot${here > 0 ? `, with the ${say(here)} your lead counts for here` : ""}.`;
    if (most === 0) return `This lot is paid from your wallet, and no ${lot.currency.code} is available there.`;
    return `Paid from your wallet: you can bid up to ${say(most)}${here > 0 ? `, with the ${say(here)} your lead holds here` : ""}.`;
  }

  return { element, update, close: () => stop.forEach((off) => off()) };
}
