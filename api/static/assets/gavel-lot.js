// A lot's public state and what each event does to it. Pure: a new object comes out, nothing else changes.

/** Names of the events this client can apply; anything else means: join again. */
const APPLY = {
  opened: (lot, { closes_at }) => ({ status: "open", closes_at, remaining_ms: null }),
  bid_placed: applyBid,
  bid_retracted: applyBid,
  extended: applyExtension,
  paused: (lot, { remaining_ms }) => ({ status: "paused", remaining_ms: remaining_ms ?? null }),
  resumed: (lot, { closes_at }) => ({ status: "open", closes_at, remaining_ms: null }),
  changed: applyChange,
  price_dropped: (lot, { price }) => ({ price }),
  closed: (lot, { outcome }) => ({ status: "closed", outcome, remaining_ms: null, buy_now_available: false }),
  cancelled: () => ({ status: "cancelled", remaining_ms: null, buy_now_available: false }),
  settled: () => ({ settled: true }),
  registered: () => ({}),
  unregistered: () => ({}),
};

/** Under which name a bidder (or null) appears on a lot: its own, or the alias that the lot gives it. */
export function nameOn(lot, me) {
  return me === null ? null : (lot.access?.alias ?? me);
}

function applyBid(lot, { price, leader, bid_count, minimum_bid, reserve_met }) {
  const next = { price, leader, bid_count, minimum_bid, reserve_met };
  return { ...next, buy_now_available: buyNow(lot.rules, price) };
}

/** An extension by hand may come while the clock stands still; then what is left on it grows. */
function applyExtension(lot, { closes_at, extensions }) {
  const next = { closes_at, extensions };
  if (lot.remaining_ms != null && lot.closes_at) {
    next.remaining_ms = lot.remaining_ms + Date.parse(closes_at) - Date.parse(lot.closes_at);
  }
  return next;
}

/** Fields an auctioneer changed. Only times and the soft close can become null; elsewhere null says "as before". */
function applyChange(lot, fields) {
  const next = {};
  for (const [name, value] of Object.entries(fields)) {
    if (value !== null || ["opens_at", "closes_at", "soft_close", "reserve_met"].includes(name)) next[name] = value;
  }
  next.rules = { ...lot.rules, ...next.rules };
  next.buy_now_available ??= buyNow(next.rules, next.price ?? lot.price);
  if ("opens_at" in next && !("status" in next)) {
    if (lot.status === "scheduled" && next.opens_at === null) next.status = "draft";
    // Whether a draft is one on purpose is not public: ask.
    if (lot.status === "draft" && next.opens_at !== null) return null;
  }
  return next;
}

function buyNow(rules, price) {
  const at = rules?.buy_now_price ?? null;
  return at !== null && (price === null || price < at);
}

/** The event's name, or null where there is none this client knows. */
export function eventKind(event) {
  return Object.keys(APPLY).find((name) => name in event) ?? null;
}

/**
 * The lot after one event, or null when the event is unknown or does not tell enough.
 * `me` (a bidder's name, or null) keeps `own.leading` true to the leader until the server's own word on it arrives.
 */
export function applyEvent(lot, event, me = null) {
  const kind = eventKind(event);
  if (kind === null) return null;
  const body = event[kind] !== null && typeof event[kind] === "object" ? event[kind] : {};
  const changes = APPLY[kind](lot, body);
  if (changes === null) return null;
  const next = { ...lot, ...changes, position: { epoch: event.epoch, seq: event.seq } };
  // What a receipt says of a later bid stays true until that bid's own event.
  const ahead = next.own?.seq !== undefined && next.own.seq > event.seq;
  if (me !== null && next.own && !ahead && "leader" in body) next.own = { ...next.own, leading: next.leader === nameOn(lot, me) };
  return next;
}

/** Whether a receipt told of a bid (`own.seq`) whose event has not arrived yet. */
function awaiting(lot) {
  return lot.own?.seq !== undefined && lot.own.seq > lot.position.seq;
}

/** The lot after the receipt of an own bid. A receipt that is older than the lot (a bid sent twice) changes nothing. */
export function afterReceipt(lot, { seq, leading, max }, me) {
  const known = lot.own?.max ?? null;
  if (seq > lot.position.seq) return { ...lot, own: { leading, max: known === null ? max : Math.max(known, max), seq } };
  return known !== null && known >= max ? lot : { ...lot, own: { leading: lot.own?.leading ?? lot.leader === nameOn(lot, me), max } };
}

/** The lot after the server's word on the own standing; it follows the events it comes from, so before them it may be of an earlier bid. */
export function afterOwnPush(lot, own) {
  const { seq, max } = lot.own ?? {};
  if (!awaiting(lot)) return { ...lot, own };
  return own === null || own.max < max ? lot : { ...lot, own: { ...own, seq } };
}

/** A lot as the server answered it, after what was known of it. */
export function afterSnapshot(before, lot) {
  if (!before?.own) return lot;
  const newer = before.own.seq !== undefined && before.own.seq > lot.position.seq;
  return newer || !("own" in lot) ? { ...lot, own: before.own } : lot;
}

/** How a bidder stands on a lot: `leads`, `outbid`, or empty where neither is so. `me`: the bidder's name or null. */
export function standing(lot, me) {
  if (me === null || !["open", "paused"].includes(lot.status)) return "";
  if (lot.leader === nameOn(lot, me)) return "leads";
  return lot.own?.max != null && !lot.own.leading ? "outbid" : "";
}

/**
 * Applies a run of events to a lot. Those at or below the lot's position are skipped (they are in it already).
 * Gives `{lot, applied}`, and `broken: true` where one is missing or unknown: what follows cannot be trusted, join again.
 */
export function applyEvents(lot, events, me = null) {
  const applied = [];
  for (const event of events) {
    if (event.seq <= lot.position.seq) continue;
    const next = event.seq === lot.position.seq + 1 ? applyEvent(lot, event, me) : null;
    if (next === null) return { lot, applied, broken: true };
    lot = next;
    applied.push(event);
  }
  return { lot, applied, broken: false };
}
