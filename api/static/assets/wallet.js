// A bidder's wallet: what the server says is in it, over the socket as it changes, over REST where the socket does not tell.
// It knows no page: it tells news through `on(…)`.

import { backoff } from "./gavel-clock.js";

export class Wallet {
  /** Whether the server keeps wallets: null until it is known. */
  kept = null;

  #client;
  #rest;
  #me;
  #after;
  #random;
  #bidder = null;
  #items = new Map(); // currency code → item
  #live = false;
  #version = 0;
  #failures = 0;
  #listeners = new Set();

  /** `me()` is the bidder's name, or null for everybody else. */
  constructor({ client, rest, me, after = timer, random = Math.random }) {
    this.#client = client;
    this.#rest = rest;
    this.#me = me;
    this.#after = after;
    this.#random = random;
    client.on("state", (state) => {
      this.#live = false;
      if (state === "online") this.#join();
    });
    client.on("push", (push) => push.wallet !== undefined && push.wallet === this.#bidder && this.#adopt(push.items));
  }

  on(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** `{currency, scale, balance, held, available, holds}` of each currency; `holds` is `[{lot, amount}]`. */
  get items() {
    return [...this.#items.values()];
  }

  /** The item of a currency, or null while nothing is known of it. */
  item(code) {
    return this.#items.get(code) ?? null;
  }

  /** Reads over REST, unless the socket tells of every change already. */
  async refresh() {
    const bidder = this.#me();
    if (bidder === null || this.#live || this.kept === false) return;
    const version = this.#version;
    try {
      const { items } = await this.#rest.get(`/v1/wallets/${encodeURIComponent(bidder)}`);
      // What came by the socket meanwhile is newer.
      if (version !== this.#version || bidder !== this.#me()) return;
      this.#of(bidder);
      this.#adopt(items);
    } catch (error) {
      if (error.status !== 404) return;
      this.kept = false;
      this.#tell();
    }
  }

  async #join() {
    const bidder = this.#me();
    if (bidder === null) return;
    try {
      const { joined_wallet } = await this.#client.request("join", { wallet: bidder });
      if (bidder !== this.#me()) return;
      this.#of(bidder);
      this.#live = true;
      this.#failures = 0;
      this.#adopt(joined_wallet.items);
    } catch (error) {
      // A server without wallets refuses the request for good.
      if (!error.temporary && error.code !== "internal") return;
      const delay = error.retry_after_ms ?? 500 + backoff(this.#failures++, this.#random);
      this.#after(() => this.#client.state === "online" && !this.#live && this.#join(), delay);
    }
  }

  /** Whose the wallet is; what was known of another's goes. */
  #of(bidder) {
    if (bidder !== this.#bidder) this.#items.clear();
    this.#bidder = bidder;
  }

  #adopt(items) {
    this.#version += 1;
    this.kept = true;
    for (const item of items) this.#items.set(item.currency, item);
    this.#tell();
  }

  #tell() {
    for (const listener of this.#listeners) listener();
  }
}

/** Whether bids on a lot are claimed at their bidders' wallets: they are paid from there, or counted against limits. */
export function asksWallet(lot) {
  return lot.funding === "wallet" || lot.access?.registration === "currency";
}

/**
 * What a bid on `lot` may commit: what balance and spend limit leave, with what the lot holds already, which a higher maximum
 * takes the place of. Gives `left` and `here` in the minor unit; `limited` where the limit leaves less than the balance;
 * `full` where the bidder leads on as many other lots as it may (`leads`). Null where nothing is known, or nothing limits.
 */
export function fundsFor(lot, item) {
  if (item === null || !asksWallet(lot)) return null;
  const { spend_limit: limit = null, lead_limit: leads = null, spent = 0, pledges = [] } = item.permit ?? {};
  const holds = [...(item.holds ?? []), ...pledges];
  const here = holds.find((hold) => hold.lot === lot.id)?.amount ?? 0;
  const balance = lot.funding === "wallet" ? Math.max(0, item.available + here) : null;
  const counted = spent + holds.reduce((sum, hold) => sum + hold.amount, 0) - here;
  const allowance = limit === null ? null : Math.max(0, limit - counted);
  const limited = allowance !== null && (balance === null || allowance < balance);
  const full = leads !== null && holds.filter((hold) => hold.lot !== lot.id).length >= leads;
  const left = limited ? allowance : balance;
  if (left === null && !full) return null;
  return { left: left ?? Infinity, here, limited, full, leads };
}

function timer(run, ms) {
  setTimeout(run, ms);
}
