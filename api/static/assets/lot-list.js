// Which lots the list shows and in what order: everything that is still to come, and the newest of what has ended.

import { Listing } from "./listing.js";

/** What can still change. */
export const LIVE = ["open", "paused", "scheduled"];
export const ENDED = ["closed", "cancelled"];
export const ENDED_SHOWN = 24;

/** Reads the lists; each reading of what has ended goes on where the last one stopped. */
export class LotList {
  #rest;
  #ended;

  constructor(rest) {
    this.#rest = rest;
    this.#ended = ENDED.map((status) => ({ listing: new Listing(rest, "/v1/lots", { status }), newest: [] }));
  }

  /**
   * `known`: ids of live lots that are shown already; those that no live list holds any more are asked for one by one.
   * `now`: the server's time, ms. Gives `{lots, gone}`: lots to show, and ids of `known` that are no lots any more.
   */
  async read(known, now) {
    const lots = new Map();
    const keep = (lot) => {
      const had = lots.get(lot.id);
      if (!had || had.position.seq <= lot.position.seq) lots.set(lot.id, lot);
    };
    const live = LIVE.map(async (status) => {
      for await (const items of new Listing(this.#rest, "/v1/lots", { status }).pages()) items.forEach(keep);
    });
    await Promise.all([...live, ...this.#ended.map((list) => readEnded(list, now))]);
    latest(this.#ended.flatMap((list) => list.newest), now).forEach(keep);

    const missing = known.filter((id) => !lots.has(id));
    const gone = [];
    await Promise.all(missing.map(async (id) => {
      try {
        keep(await this.#rest.get(`/v1/lots/${id}`));
      } catch (error) {
        if (error.status === 404) gone.push(id);
      }
    }));
    return { lots: [...lots.values()], gone };
  }
}

/** The list is in order of creation, not of ending, so all of it has to be seen once. */
async function readEnded(list, now) {
  for await (const items of list.listing.pages()) {
    const again = new Set(items.map((lot) => lot.id));
    list.newest = latest([...list.newest.filter((lot) => !again.has(lot.id)), ...items], now);
  }
}

function latest(lots, now) {
  return lots.sort(byEnd(now)).slice(0, ENDED_SHOWN);
}

/** Open before paused, the next to close first, hammer sales last. */
export function byClose(a, b) {
  return (a.status === "paused") - (b.status === "paused") || soonest(a.closes_at, b.closes_at) || byTitle(a, b);
}

export function byOpening(a, b) {
  return soonest(a.opens_at, b.opens_at) || byTitle(a, b);
}

/**
 * The last to end first. `seen(lot)` gives when it was seen to end (ms) if it was. Else `closes_at` says it, which may lie
 * ahead where a lot ended early; a hammer sale does not tell when it ended and comes last.
 */
export function byEnd(now, seen = () => undefined) {
  const end = (lot) => seen(lot) ?? (lot.closes_at ? Math.min(Date.parse(lot.closes_at), now) : -Infinity);
  const created = (lot) => Date.parse(lot.created_at) || 0;
  return (a, b) => soonest(end(b), end(a)) || created(b) - created(a) || byTitle(a, b);
}

/** Times (RFC 3339 or ms), the earlier first; none comes last. */
function soonest(a, b) {
  const at = (time) => (typeof time === "number" ? time : time ? Date.parse(time) : Infinity);
  const [one, other] = [at(a), at(b)];
  return one === other ? 0 : one - other;
}

function byTitle(a, b) {
  return a.title.localeCompare(b.title) || (a.id < b.id ? -1 : 1);
}
