// Amounts: integers in a currency's minor unit, shown and read with the currency's scale.
// No floating point anywhere: text and BigInt only.

/** The largest amount the protocol carries, 2^53 − 1. */
export const MAX_AMOUNT = Number.MAX_SAFE_INTEGER;

/**
 * Reads what a person typed as an amount of a currency with `scale` decimals.
 * Gives `{value}` (an integer in the minor unit) or `{error}`: `empty`, `format`, `decimals`, `ambiguous`, `range`.
 *
 * `.` or `,` may be the decimal separator; `,`, `.`, space and `'` may group thousands.
 * What could be read in two ways (`1.000` with two decimals, `1,500` with three) is refused, never guessed.
 */
export function parseAmount(text, scale = 0) {
  const bare = String(text ?? "").trim().replace(/[\s\u00a0\u202f'’]/g, "");
  if (bare === "") return { error: "empty" };
  if (!/^[0-9.,]+$/.test(bare) || !/[0-9]/.test(bare)) return { error: "format" };

  let whole = bare;
  let decimals = "";
  const last = Math.max(bare.lastIndexOf("."), bare.lastIndexOf(","));
  if (last >= 0) {
    const mark = bare[last];
    const tail = bare.slice(last + 1);
    const alone = bare.indexOf(mark) === last;
    if (scale >= 3 && /^[0-9]{1,3},[0-9]{3}$/.test(bare)) return { error: "ambiguous" };
    const grouping = mark === "," && tail.length === 3 && /^[0-9]{1,3}(,[0-9]{3})+$/.test(bare);
    if (!grouping) {
      if (!alone) return { error: "format" };
      if (tail.length > scale) return { error: "decimals" };
      whole = bare.slice(0, last);
      decimals = tail;
    }
    const group = mark === "." || grouping ? "," : ".";
    if (whole.includes(group)) {
      const parts = whole.split(group);
      if (!/^[0-9]{1,3}$/.test(parts[0]) || parts.slice(1).some((part) => !/^[0-9]{3}$/.test(part))) {
        return { error: "format" };
      }
      whole = parts.join("");
    }
  }
  if (whole === "") whole = "0";
  if (!/^[0-9]+$/.test(whole)) return { error: "format" };

  const value = BigInt(whole + decimals.padEnd(scale, "0"));
  return value > BigInt(MAX_AMOUNT) ? { error: "range" } : { value: Number(value) };
}

/** `123456` with scale 2 → `1,234.56`. Grouped by thousands unless `grouped` is false (for input fields). */
export function formatAmount(value, scale = 0, grouped = true) {
  const sign = value < 0 ? "−" : "";
  const digits = BigInt(Math.abs(value)).toString().padStart(scale + 1, "0");
  const whole = digits.slice(0, digits.length - scale);
  const decimals = scale > 0 ? `.${digits.slice(digits.length - scale)}` : "";
  return sign + (grouped ? whole.replace(/\B(?=([0-9]{3})+$)/g, ",") : whole) + decimals;
}

/** The step above a price: the last increment row whose `from` is not above it. */
export function stepAt(increments, price) {
  let step = 1;
  for (const row of increments ?? []) if (row.from <= price) step = row.step;
  return step;
}
