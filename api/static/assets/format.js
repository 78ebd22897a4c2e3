// Words for what is shown: amounts with their currency, times, durations, statuses, outcomes, names.

import { formatAmount } from "./amounts.js";

/** `250 DKP`, `1,234.50 EUR`. */
export function money(value, currency) {
  return value === null || value === undefined ? "–" : `${formatAmount(value, currency.scale)}\u00a0${currency.code}`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** Local time of day of an RFC 3339 time, with the day where it is not today (`now` in ms). */
export function clockTime(at, now) {
  const date = new Date(at);
  const sameDay = date.toDateString() === new Date(now).toDateString();
  return sameDay ? CLOCK.format(date) : `${DAY.format(date)}, ${CLOCK.format(date)}`;
}

/** A countdown: `2 d 4 h`, `3:04:05`, `11:29`, and below ten seconds `9.4`. Rounded up, so that it shows 0 only at 0. */
export function countdown(ms) {
  if (ms <= 0) return "0:00";
  if (ms < 10_000) return (Math.ceil(ms / 100) / 10).toFixed(1);
  const total = Math.ceil(ms / 1000);
  const [days, hours, minutes, seconds] = [
    Math.floor(total / 86_400),
    Math.floor(total / 3_600) % 24,
    Math.floor(total / 60) % 60,
    total % 60,
  ];
  const two = (number) => String(number).padStart(2, "0");
  if (days > 0) return `${days} d ${hours} h`;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
}

/** A length of time in words: `30 s`, `2 min`, `1 h 30 min`. */
export function span(ms) {
  const total = Math.round(ms / 1000);
  if (total < 60) return `${total} s`;
  if (total < 3_600) return total % 60 === 0 ? `${total / 60} min` : `${Math.floor(total / 60)} min ${total % 60} s`;
  const minutes = Math.floor(total / 60) % 60;
  return minutes === 0 ? `${Math.floor(total / 3_600)} h` : `${Math.floor(total / 3_600)} h ${minutes} min`;
}

/** `1 bid`, `7 bids`. */
export function count(number, word) {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}

const STATUS = {
  draft: "Draft",
  scheduled: "Opens soon",
  open: "Live",
  paused: "Paused",
  closed: "Closed",
  cancelled: "Cancelled",
};

export function statusName(status) {
  return STATUS[status] ?? status;
}

const UNSOLD = {
  no_bids: "there were no bids",
  reserve_not_met: "the reserve was not met",
  cancelled: "it was cancelled",
};

/** What came of a closed lot, as `{headline, detail}`; `me` is this bidder's name or null. */
export function outcomeWords(lot, me) {
  const sold = lot.outcome?.sold;
  if (sold) {
    const price = money(sold.price, lot.currency);
    return sold.winner === me
      ? { headline: `You won for ${price}`, detail: lot.funding === "wallet" && lot.settled ? "Paid from your wallet; the lot is yours." : "The hammer is down; the lot is yours.", won: true }
      : { headline: `Sold for ${price}`, detail: `to ${sold.winner}`, won: false };
  }
  const reason = lot.outcome?.unsold?.reason;
  const words = reason ? (UNSOLD[reason] ?? String(reason).replaceAll("_", " ")) : null;
  return { headline: "Not sold", detail: words ? `${words[0].toUpperCase()}${words.slice(1)}.` : "", won: false };
}

/** One of eight hues for a name, the same everywhere. */
export function hue(name) {
  let sum = 7;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 997;
  return sum % 8;
}
