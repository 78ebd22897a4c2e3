// What a browser test stands on: chromium from PATH, people with a page each, an auctioneer over REST, printed checks.

import { accessSync, constants, mkdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
  "--disable-sync", "--no-first-run", "--disable-quic",
];
/** How long anything awaited may take, ms. */
const PATIENCE = 20_000;

/** An environment variable that has to be there; without it nothing can start (exit status 2). */
export function required(name) {
  const value = process.env[name];
  if (!value) {
    console.error(`the environment variable ${name} is missing`);
    process.exit(2);
  }
  return value;
}

function findChromium() {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    for (const name of NAMES) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Not here.
      }
    }
  }
  throw new Error(`none of ${NAMES.join(", ")} is on PATH`);
}

export class Stage {
  #browser;
  #people = [];
  checks = 0;

  constructor(url, shots) {
    this.url = url.replace(/\/$/, "");
    this.shots = shots;
    if (shots) mkdirSync(shots, { recursive: true });
  }

  async open() {
    this.#browser = await chromium.launch({ executablePath: findChromium(), args: FLAGS });
  }

  async close() {
    await this.#browser?.close();
  }

  /**
   * A person with a browser window of their own. `clockAhead`: how wrong their machine's clock is, ms. `watchStates`: keep
   * each state of the connection that the page shows in `statesSeen`.
   */
  async person(name, token, { clockAhead = 0, watchStates = false, ...settings } = {}) {
    const context = await this.#browser.newContext({ viewport: { width: 1200, height: 900 }, ...settings });
    context.setDefaultTimeout(PATIENCE);
    if (clockAhead !== 0) await context.addInitScript(wrongClock, clockAhead);
    if (watchStates) await context.addInitScript(keepStates);
    const page = await context.newPage();
    const person = { name, context, page, troubles: [], frames: [] };
    page.on("pageerror", (error) => person.troubles.push(String(error)));
    page.on("console", (message) => {
      // Being offline is loud; that is no fault of the page.
      if (message.type() === "error" && !/net::ERR_|ERR_INTERNET_DISCONNECTED/.test(message.text())) person.troubles.push(message.text());
    });
    page.on("websocket", (socket) => {
      socket.on("framesent", ({ payload }) => person.frames.push({ way: "sent", text: String(payload) }));
      socket.on("framereceived", ({ payload }) => person.frames.push({ way: "received", text: String(payload) }));
    });
    await page.goto(token ? `${this.url}/#token=${token}` : this.url);
    this.#people.push(person);
    return person;
  }

  /** Runs one check and prints its line; `what` says what a user would notice. */
  async check(what, run) {
    try {
      const result = await run();
      this.checks += 1;
      console.log(`ok   ${what}`);
      return result;
    } catch (error) {
      await this.picture("failed");
      console.log(`FAIL ${what}`);
      throw new Error(`${what}: ${error.message}`);
    }
  }

  async picture(name) {
    if (!this.shots) return;
    for (const { name: who, page } of this.#people) {
      await page.screenshot({ path: join(this.shots, `${name}-${who}.png`), fullPage: true }).catch(() => {});
    }
  }

  /** A call as the auctioneer; gives the answer's JSON. */
  async rest(token, method, path, body, headers = {}) {
    const response = await fetch(this.url + path, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body ? { "content-type": "application/json" } : {}), ...headers },
      body: body ? JSON.stringify(body) : undefined,
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text}`);
    return text === "" ? null : JSON.parse(text);
  }
}

function keepStates() {
  window.statesSeen = [];
  addEventListener("DOMContentLoaded", () => {
    const shown = document.getElementById("link-state");
    new MutationObserver(() => window.statesSeen.push(shown.dataset.state)).observe(shown, { attributeFilter: ["data-state"] });
  });
}

function wrongClock(ahead) {
  const origin = performance.timeOrigin + ahead;
  Object.defineProperty(performance, "timeOrigin", { value: origin });
  Date.now = () => origin + performance.now();
}

/** Waits until `read()` gives something that `fits`, and gives it; says what was last seen otherwise. */
export async function until(read, fits, what = "the expected state") {
  const end = Date.now() + PATIENCE;
  let seen;
  for (;;) {
    seen = await read();
    if (fits(seen)) return seen;
    if (Date.now() > end) throw new Error(`waited for ${what}; last seen: ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Waits for an element to show text that matches. */
export function shows({ page, name }, selector, text) {
  const read = async () => ((await page.locator(selector).isVisible()) ? (await page.locator(selector).innerText()).replaceAll("\u00a0", " ") : null);
  const fits = (seen) => seen !== null && (text instanceof RegExp ? text.test(seen) : seen.includes(text));
  return until(read, fits, `${selector} of ${name} to show ${text}`);
}
