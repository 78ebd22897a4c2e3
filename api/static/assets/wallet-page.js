// The bidder's own wallet: what is in it, which lots hold some of it, and every entry of its ledger.

import { arrange, el, setText, show } from "./dom.js";
import { formatAmount } from "./amounts.js";
import { clockTime, count, money } from "./format.js";
import { Listing } from "./listing.js";
import { oneAtATime } from "./one-at-a-time.js";

const SHOWN = 100;
const READ_EVERY_MS = 1_000;
const REFRESH_MS = 15_000;

const KINDS = {
  grant: "Granted",
  deduction: "Taken away",
  capture: "Paid for a lot that you won",
  decay: "Lost its worth with time",
  cap: "Above the most that is kept",
};

export function walletPage({ client, rest, wallet, me, title }) {
  title("My wallet");
  const scales = new Map(); // currency code → decimals, as items or lots tell
  const entries = new Map(); // seq → ledger entry
  const drawn = new Map(); // seq → {row, scale it was written with}
  const lots = new Map(); // lot id → the lot as last read, of what holds something
  let ledger = null;
  let ledgerOf = null;
  let limit = SHOWN;
  let open = true;

  const notice = el("p.empty", { role: "status" }, "Loading your wallet…");
  const balances = el("tbody");
  const limits = el("ul.plain", { id: "wallet-limits", hidden: true });
  const leadList = el("ul.plain", { id: "wallet-leads" });
  const noLeads = el("p.empty", {}, "No lot holds anything of yours right now.");
  const rows = el("tbody");
  const noRows = el("p.empty", { role: "status" });
  const more = el("button.quiet", { type: "button", hidden: true, onclick: () => ((limit += 400), draw()) }, "Show more");
  const unscaled = el("p.hint", { hidden: true }, "* in the currency's smallest unit: how many decimals it has is not known here.");
  const content = el("div", { hidden: true },
    section("balance", "Balance", table("balances", "Balances by currency", ["Currency", "Balance", "Held", "Available"], balances),
      limits,
      el("p.hint", {}, "A lot that you lead holds your maximum. It comes back when you are outbid; if you win, you pay the price.")),
    section("leads", "My leads", leadList, noLeads),
    section("ledger", "Ledger", table("ledger", "Ledger, newest first", ["Time", "What", "Amount", "Balance"], rows), noRows, more),
    unscaled);
  const element = el("div.wallet-page", { "data-page": "wallet" }, el("a.back", { href: "/" }, "All lots"), el("h1", {}, "My wallet"), notice, content);

  const reading = oneAtATime(read, READ_EVERY_MS);
  const stop = [
    wallet.on(() => (draw(), reading.ask())),
    client.on("session", () => reading.ask()),
    client.on("state", (state) => state === "online" && reading.ask()),
  ];
  const refreshing = setInterval(() => document.visibilityState === "visible" && reading.ask(), REFRESH_MS);
  draw();
  reading.ask();

  function section(key, name, ...parts) {
    return el("section.wallet-section", { "aria-labelledby": `wallet-${key}` }, el("h2", { id: `wallet-${key}` }, name), parts);
  }

  function table(id, caption, [first, ...rest], body) {
    const words = id === "ledger" ? 1 : 0;
    return el(`table.history.${id}`, { id: `wallet-${id}-table` },
      el("caption.visually-hidden", {}, caption),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, first), rest.map((name, at) => el(at < words ? "th" : "th.amount", { scope: "col" }, name)))),
      body);
  }

  async function read() {
    if (me() === null) return draw();
    await wallet.refresh();
    if (wallet.kept) await Promise.all([readHolders(), readLedger()].map((part) => part.catch(() => {})));
    return draw();
  }

  function held() {
    return wallet.items.flatMap(({ currency, holds, permit }) => [
      ...(holds ?? []).map((hold) => ({ ...hold, currency, word: "held" })),
      ...(permit?.pledges ?? []).map((hold) => ({ ...hold, currency, word: "pledged" })),
    ]);
  }

  /** What the holds do not tell: the lots' titles and prices. */
  async function readHolders() {
    const ids = held().map((hold) => hold.lot);
    for (const id of lots.keys()) if (!ids.includes(id)) lots.delete(id);
    await Promise.all(ids.map(async (id) => {
      const lot = await rest.get(`/v1/lots/${id}`);
      scales.set(lot.currency.code, lot.currency.scale);
      lots.set(id, lot);
    }));
  }

  async function readLedger() {
    if (ledgerOf !== me()) {
      ledgerOf = me();
      ledger = new Listing(rest, `/v1/wallets/${encodeURIComponent(ledgerOf)}/ledger`);
      entries.clear();
      drawn.clear();
    }
    for await (const items of ledger.pages(() => open)) for (const entry of items) entries.set(entry.seq, entry);
  }

  function draw() {
    if (!open) return;
    for (const item of wallet.items) if (Number.isInteger(item.scale)) scales.set(item.currency, item.scale);
    show(content, Boolean(wallet.kept) && me() !== null);
    show(notice, content.hidden);
    if (content.hidden) return setText(notice, waitingWords());
    balances.replaceChildren(...wallet.items.map(balanceRow));
    limits.replaceChildren(...wallet.items.filter((item) => item.permit).map(limitLine));
    show(limits, limits.childElementCount > 0);
    const holds = held();
    leadList.replaceChildren(...holds.map(leadLine));
    show(noLeads, holds.length === 0);
    const newest = [...entries.values()].sort((a, b) => b.seq - a.seq);
    arrange(rows, newest.slice(0, limit).map(ledgerRow));
    show(unscaled, [...wallet.items, ...newest].some((one) => !scales.has(one.currency) && (one.balance !== 0 || one.amount)));
    show(rows.parentElement, newest.length > 0);
    setText(noRows, newest.length > 0 ? "" : "No entries yet.");
    show(noRows, newest.length === 0);
    show(more, newest.length > limit);
    setText(more, `Show more (${count(newest.length - limit, "older line")})`);
  }

  function waitingWords() {
    if (wallet.kept === false) return "This server keeps no wallets.";
    if (client.session !== null && me() === null) return "Only bidders have a wallet.";
    return client.state === "online" && client.session === null ? "To see your wallet, sign in or open your personal link." : "Loading your wallet…";
  }

  /** Without knowing the decimals nothing is guessed: the plain number of the smallest unit, marked as such. */
  function amount(value, code) {
    const scale = scales.get(code);
    return scale === undefined ? `${formatAmount(value)}${value === 0 ? "" : "*"}` : formatAmount(value, scale);
  }

  function balanceRow(item) {
    const cell = (name) => el("td.amount", { data: { of: name } }, amount(item[name], item.currency));
    return el("tr", { data: { currency: item.currency } }, el("th", { scope: "row" }, item.currency), cell("balance"), cell("held"), cell("available"));
  }

  /** What an administrator says that may be done in a currency. */
  function limitLine({ currency, permit: { registered, spend_limit: limit, lead_limit: leads, spent } }) {
    const words = [
      registered ? "registered" : null,
      limit === null ? null : `spend limit ${amount(limit, currency)}\u00a0${currency}, ${amount(spent, currency)} spent`,
      leads === null ? null : `at most ${count(leads, "lead")} at a time`,
    ].filter(Boolean);
    return el("li", { data: { currency } }, `${currency}: ${words.join(" · ") || "no limits"}`);
  }

  function leadLine({ lot: id, amount: value, currency, word }) {
    const lot = lots.get(id);
    const price = lot && lot.price !== null ? `Price ${money(lot.price, lot.currency)} · ` : "";
    return el("li", { data: { lot: id } }, el("a", { href: `/lots/${id}` }, lot?.title ?? "A lot"),
      el("span.lead-side", {}, `${price}${amount(value, currency)}\u00a0${currency} ${word}`));
  }

  function ledgerRow(entry) {
    const known = drawn.get(entry.seq);
    if (known && known.scale === scales.get(entry.currency)) return known.row;
    const row = el("tr", { data: { seq: entry.seq, kind: entry.kind } },
      el("td.when", {}, el("time", { datetime: entry.at }, clockTime(entry.at, client.serverNow()))),
      el("td.words", {}, KINDS[entry.kind] ?? String(entry.kind).replaceAll("_", " "), entry.lot ? [" · ", el("a", { href: `/lots/${entry.lot}` }, "the lot")] : null, entry.reason && entry.kind !== "capture" ? `: ${entry.reason}` : null),
      el("td.amount", {}, `${entry.amount > 0 ? "+" : ""}${amount(entry.amount, entry.currency)}\u00a0${entry.currency}`),
      el("td.amount", {}, amount(entry.balance, entry.currency)));
    drawn.set(entry.seq, { row, scale: scales.get(entry.currency) });
    return row;
  }

  function unmount() {
    open = false;
    clearInterval(refreshing);
    reading.stop();
    stop.forEach((off) => off());
  }

  return { element, unmount };
}
