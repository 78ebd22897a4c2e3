// What a refused bid says to the person who placed it: one sentence that tells what happened and what to do.

import { money } from "./format.js";

const WORDS = {
  bid_too_low: ({ minimum, amount }) => minimum === undefined ? "That bid is too low." : `Too low: the lowest bid accepted now is ${amount(minimum)}.`,
  max_not_raised: ({ ownMax, amount }) => ownMax ? `You already lead with a maximum of ${amount(ownMax)}. Only a higher maximum changes something.` : "You already lead. Only a higher maximum changes something.",
  already_leading: () => "You already lead. You can bid again once somebody outbids you.",
  insufficient_funds: ({ left, amount }) =>
    left === undefined ? "Your available balance doesn't cover this bid." : `Your balance doesn't cover this bid: on this lot you can bid up to ${amount(left)}.`,
  lot_not_open: () => "Bidding on this lot hasn't opened yet.",
  lot_paused: () => "Bidding is paused. Your bid was not placed.",
  lot_closed: () => "Too late: the lot had closed when your bid arrived.",
  bid_id_conflict: () => "This bid was already placed with another amount. Check the history, then bid again.",
  invalid: ({ message }) => (message ? `This bid can't be accepted: ${message}` : "This bid can't be accepted as it is."),
  forbidden: () => "You may watch here but not bid.",
  not_registered: () => "You are not registered to bid here. Ask the auctioneer.",
  unauthenticated: () => "Your access has run out, so the bid was not placed. Come in again, then bid.",
  not_found: () => "This lot no longer exists.",
  conflict: () => "The lot changed at the same moment. Look again, then bid.",
  limit_exceeded: ({ full, leads, limited, left, amount }) => {
    if (full) return `You may lead on ${leads} lots at a time. Your bid was not placed.`;
    if (limited) return `Beyond your spend limit: on this lot you can bid up to ${amount(left)}.`;
    return "A limit on your bidding was reached, so this bid was not placed.";
  },
  rate_limited: () => "Too many requests at once. Wait a moment, then bid again.",
  overloaded: () => "The server is very busy and did not take the bid. Try again in a moment.",
  unavailable: () => "We could not learn whether your bid counted. Send it again: it never counts twice.",
  internal: () => "Something went wrong on our side. Check the history before you bid again.",
  offline: () => "You are not connected. The bid was not sent.",
  stopped: () => "The connection ended before the answer came. Check the history before you bid again.",
};

/** `error`: a refusal with `code` and maybe `minimum`; `lot`: the lot as it is now; `funds`: what the wallet leaves, if known. */
export function refusalText(error, lot, funds = null) {
  const words = WORDS[error.code];
  if (!words) return error.message ? `The bid was refused: ${error.message}` : "The bid was refused.";
  const amount = (value) => money(value, lot.currency);
  return words({ minimum: error.minimum, message: error.message, ownMax: lot.own?.max ?? null, ...funds, amount });
}

/** What is wrong with typed text, by the error of `parseAmount`. */
export function inputText(error, currency) {
  switch (error) {
    case "empty":
      return "Enter an amount.";
    case "decimals":
      return currency.scale === 0 ? `${currency.code} has no decimals: enter a whole number.` : `Enter at most ${currency.scale} decimals, like ${money(10 ** currency.scale * 12, currency)}.`;
    case "ambiguous":
      return "That comma may stand for thousands or for decimals. Write decimals after a point, and thousands without a mark.";
    case "range":
      return "That amount is larger than any bid can be.";
    default:
      return "Enter an amount in digits.";
  }
}
