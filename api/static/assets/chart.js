// The price over time as a small stepped line: drawn from the history, redrawn as bids come.

import { el, setText, svg } from "./dom.js";
import { count, money } from "./format.js";

const HEIGHT = 130;
/** Room for the highest price above the line and the lowest below it. */
const PAD = { top: 30, right: 14, bottom: 28 };

export function priceChart() {
  const area = svg("path.chart-area");
  const line = svg("path.chart-line");
  const end = svg("circle.chart-end", { r: 4 });
  const drawing = svg("svg.chart-svg", { height: HEIGHT, role: "img", "aria-label": "Price over time", preserveAspectRatio: "none" }, area, line, end);
  const top = el("span.chart-top");
  const bottom = el("span.chart-bottom");
  const element = el("figure.chart", { hidden: true },
    el("figcaption", {}, "Price"), el("div.chart-frame", {}, drawing, top, bottom));
  let latest = null;
  const resized = new ResizeObserver(() => latest && draw(...latest));
  resized.observe(element);

  /** `rows`: accepted bids in order, each with `at` (ms) and `price`. `until`: where the line ends, ms. */
  function draw(rows, currency, until) {
    latest = [rows, currency, until];
    element.hidden = rows.length < 2;
    const width = drawing.parentElement.clientWidth;
    if (rows.length < 2 || width === 0) return;

    const from = rows[0].at;
    const to = Math.max(until, rows.at(-1).at, from + 1000);
    const low = rows.reduce((least, row) => Math.min(least, row.price), Infinity);
    const high = rows.reduce((most, row) => Math.max(most, row.price), low + 1);
    const x = (at) => ((at - from) / (to - from)) * (width - PAD.right);
    const y = (price) => HEIGHT - PAD.bottom - ((price - low) / (high - low)) * (HEIGHT - PAD.top - PAD.bottom);
    const path = thin(rows).map((row, at) => {
      const [px, py] = [x(row.at).toFixed(1), y(row.price).toFixed(1)];
      return at === 0 ? `M${px},${py}` : `H${px}V${py}`;
    }).join("");
    const right = x(to).toFixed(1);
    drawing.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    drawing.setAttribute("width", width);
    line.setAttribute("d", `${path}H${right}`);
    area.setAttribute("d", `${path}H${width}V${HEIGHT}H0Z`);
    end.setAttribute("cx", right);
    end.setAttribute("cy", y(rows.at(-1).price));
    drawing.setAttribute("aria-label", `Price over time: from ${money(low, currency)} to ${money(rows.at(-1).price, currency)} in ${count(rows.length, "bid")}`);
    setText(top, money(high, currency));
    setText(bottom, money(low, currency));
  }

  return { element, draw, close: () => resized.disconnect() };
}

/** At most a few hundred points: more than the line has pixels for would only cost time. */
function thin(rows) {
  const every = Math.ceil(rows.length / 400);
  return every === 1 ? rows : rows.filter((row, at) => at % every === 0 || at === rows.length - 1);
}
