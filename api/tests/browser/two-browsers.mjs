// Two people bid against each other in two browsers, against a running server: GAVEL_URL, ALICE_TOKEN, BOB_TOKEN (role
// bidder), ADMIN_TOKEN, and bidders amy and dan with AMY_PASSWORD, DAN_PASSWORD. Prints a line for each check; exits 1 at the first that fails. SCREENSHOTS names a folder for pictures.

import { signingIn } from "./accounts.mjs";
import { edges } from "./edges.mjs";
import { Stage, required, shows, until } from "./stage.mjs";
import { wallets } from "./wallets.mjs";

const admin = required("ADMIN_TOKEN");
const stage = new Stage(required("GAVEL_URL"), process.env.SCREENSHOTS);
const TEN_MINUTES = 600_000;
/** Letters only, so that no price is found in it. */
const title = `Two browsers ${[...String(Date.now())].map((digit) => "abcdefghij"[digit]).join("")}`;

try {
  await stage.open();
  await theAuction();
  await buyingNow();
  await signingIn(stage, admin);
  await wallets(stage, admin, newLot, order);
  await edges(stage, newLot, order);
  console.log(`${stage.checks} checks passed`);
} catch (error) {
  console.error(`two-browsers: ${error.message}`);
  process.exitCode = 1;
} finally {
  await stage.close();
}

function newLot(fields, rules) {
  return stage.rest(admin, "POST", "/v1/lots", {
    title,
    description: "One of a kind.",
    currency: { code: "DKP", scale: 0 },
    funding: "open",
    rules: { format: "english", start_price: 100, reserve_price: null, buy_now_price: null, proxy: true, increments: [{ from: 0, step: 10 }], ...rules },
    opens_at: null,
    closes_at: new Date(Date.now() + TEN_MINUTES).toISOString(),
    soft_close: null,
    ...fields,
  });
}

function order(lot, what, body = {}) {
  return stage.rest(admin, "POST", `/v1/lots/${lot.id}/${what}`, body);
}

async function theAuction() {
  // Every bid falls into this window, so that every bid that moves the price extends.
  const soft_close = { window_ms: TEN_MINUTES * 2, mode: "reset", by_ms: TEN_MINUTES, max_extensions: null, hard_close_at: null };
  const lot = await newLot({ soft_close });
  const alice = await stage.person("alice", required("ALICE_TOKEN"), { clockAhead: 3_600_000 });
  const bob = await stage.person("bob", required("BOB_TOKEN"), { colorScheme: "dark" });
  const both = [alice, bob];
  const all = (run) => Promise.all(both.map(run));
  const aliceName = await shows(alice, "#who-name", /\S/);
  const bobName = await shows(bob, "#who-name", /\S/);

  await stage.check("the link logs in and its token leaves the address bar", () => all(async (one) => {
    await shows(one, "#who-role", "bidder");
    await shows(one, "#link-state", "Live");
    if (one.page.url().includes("token")) throw new Error(`the address is ${one.page.url()}`);
  }));

  await stage.check("the list shows the lot, and a click opens it", () => all(async (one) => {
    const card = `.card[data-lot="${lot.id}"]`;
    await shows(one, card, "100 DKP");
    await one.page.click(`${card} a`);
    await shows(one, "#lot-title", title);
    if (new URL(one.page.url()).pathname !== `/lots/${lot.id}`) throw new Error(`the address is ${one.page.url()}`);
  }));

  await stage.check("the countdown runs on server time, also where the machine's clock is an hour wrong", async () => {
    const [first] = await all(left);
    await until(() => left(alice), (ms) => ms < first - 300, "the countdown to go down");
    const [hers, his] = await all(left);
    if (Math.abs(hers - his) > 1_500) throw new Error(`${hers} ms against ${his} ms left`);
    if (hers > TEN_MINUTES + 1_000 || hers < TEN_MINUTES - 120_000) throw new Error(`${hers} ms left of ten minutes`);
  });

  await stage.check("a bid with a maximum leads, and only its bidder sees the maximum", async () => {
    await bid(alice, "100", "300");
    await shows(alice, "#bid-done", "you lead at 100 DKP, up to 300 DKP");
    await shows(alice, "#leader", "You lead");
    await shows(alice, "#own-max", "300 DKP");
    await shows(bob, "#price", "100 DKP");
    await shows(bob, "#leader", `${aliceName} leads`);
    if (/\b300\b/.test(await bob.page.innerText("body"))) throw new Error("bob's page shows 300");
  });

  await stage.check("a late bid extends, and both are told", () => all(async (one) => {
    await shows(one, "#timer-note", "extended");
    await shows(one, "#extensions", "Extended once");
  }));

  await stage.check("a bid below the minimum is refused with the minimum", async () => {
    await bid(bob, "105");
    await shows(bob, "#bid-error", "the lowest bid accepted now is 110 DKP");
    await shows(bob, "#price", "100 DKP");
  });

  await stage.check("the minimum is a button away, and the proxy answers for who is away", async () => {
    await bob.page.click(".quick .chip >> nth=0");
    await bob.page.focus("#bid-amount");
    await bob.page.keyboard.press("Enter");
    await shows(bob, "#bid-done", "another bidder's maximum is higher");
    await all((one) => shows(one, "#price", "120 DKP"));
    await shows(bob, "#standing", "You have been outbid");
    await shows(alice, "#leader", "You lead");
  });

  await stage.check("a higher maximum takes the lead; the one outbid is told", async () => {
    await bid(bob, "130", "400");
    await all((one) => shows(one, "#price", "310 DKP"));
    await shows(bob, "#leader", "You lead");
    await shows(alice, "#leader", `${bobName} leads`);
    await shows(alice, "#standing", "You have been outbid");
    await shows(alice, "#bid-hint", "320 DKP");
    await shows(alice, "#announce", new RegExp(`310 DKP, ${bobName} leads`));
  });
  await stage.picture("bidding");

  await stage.check("the history is the same for both and complete", () => sameHistory(alice, bob, 3));

  await stage.check("without network the page says so and takes no bid", async () => {
    await alice.context.setOffline(true);
    await until(() => alice.page.getAttribute("#link-state", "data-state"), (state) => state === "waiting" || state === "connecting");
    await until(() => alice.page.isDisabled("#bid-submit"), Boolean, "the bid button to be disabled");
  });

  await stage.check("the other goes on: raises the maximum, sees a pause and its end", async () => {
    await raise(bob, "500", "500 DKP");
    await order(lot, "pause", { reason: "Checking a bid" });
    await shows(bob, "#lot-status", "Paused");
    await shows(bob, "#timer-note", "Checking a bid");
    await order(lot, "resume");
    await shows(bob, "#lot-status", "Live");
    await raise(bob, "600", "600 DKP");
  });

  await stage.check("back online it resumes where it was, without a gap", async () => {
    const before = await sequence(alice);
    const mark = alice.frames.length;
    await alice.context.setOffline(false);
    await shows(alice, "#link-state", "Live");
    const after = await until(() => sequence(alice), (seq) => seq === before + 4, `seq ${before + 4}`);
    if (after !== (await sequence(bob))) throw new Error("the two pages are at different positions");
    resumed(alice.frames.slice(mark), before);
    await sameHistory(alice, bob, 5);
    for (const kind of ["paused", "resumed"]) await until(() => alice.page.locator(`.history [data-kind="${kind}"]`).count(), (rows) => rows === 1);
  });

  await stage.check("bidding goes on after the return", async () => {
    await bid(alice, "320");
    await all((one) => shows(one, "#price", "330 DKP"));
    await sameHistory(alice, bob, 6);
  });

  await stage.check("what the pages show is what the server says", async () => {
    const said = await stage.rest(admin, "GET", `/v1/lots/${lot.id}`);
    const seqs = await all(sequence);
    if (seqs.some((seq) => seq !== said.position.seq)) throw new Error(`pages at ${seqs}, server at ${said.position.seq}`);
    if (said.price !== 330 || said.leader !== bobName || said.bid_count !== 6) throw new Error(JSON.stringify(said));
  });

  await stage.check("the auctioneer closes; both see the outcome", async () => {
    await order(lot, "close");
    await shows(bob, "#outcome", "You won for 330 DKP");
    await shows(alice, "#outcome", /Sold for 330 DKP\s+to /);
    await all((one) => until(() => one.page.isVisible(".bid-form"), (visible) => !visible, "the bid form to go"));
    await all((one) => shows(one, ".history", "Closed. Sold for 330 DKP"));
  });
  await stage.picture("closed");

  await stage.check("a reload shows the same, from the server alone", async () => {
    await all((one) => one.page.reload());
    await all((one) => shows(one, "#outcome", "330 DKP"));
    await sameHistory(alice, bob, 6);
  });

  await stage.check("the list has it among the ended", () => all(async (one) => {
    await one.page.click(".back");
    await shows(one, `[data-section="ended"] [data-lot="${lot.id}"]`, "330 DKP");
  }));
  await stage.picture("list");

  await noTroubles(both);
  await all((one) => one.context.close());
}

async function buyingNow() {
  const lot = await newLot({ title: `${title} (buy now)` }, { buy_now_price: 500 });
  const alice = await stage.person("alice", required("ALICE_TOKEN"), { viewport: { width: 390, height: 844 } });
  const bob = await stage.person("bob", required("BOB_TOKEN"), { viewport: { width: 390, height: 844 } });
  await Promise.all([alice, bob].map(async (one) => {
    await one.page.goto(`${stage.url}/lots/${lot.id}`);
    await shows(one, "#buy-now", "Buy now for 500 DKP");
  }));

  await stage.check("buying at once asks first, then closes the lot for both", async () => {
    await alice.page.click("#buy-now");
    await shows(alice, "dialog", "Buy now for 500 DKP?");
    await alice.page.keyboard.press("Escape");
    await shows(bob, "#lot-status", "Live");
    await alice.page.click("#buy-now");
    await alice.page.click("#confirm-buy");
    await shows(alice, "#outcome", "You won for 500 DKP");
    await shows(bob, "#outcome", "Sold for 500 DKP");
  });
  await stage.picture("bought");

  await stage.check("a small screen needs no sideways scrolling", async () => {
    const wide = await bob.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (wide > 0) throw new Error(`${wide} px too wide`);
  });
  await noTroubles([alice, bob]);
}

// ---- what people do and see ----

async function bid({ page }, amount, max = "") {
  await page.fill("#bid-amount", amount);
  await page.fill("#bid-max", max);
  await page.click("#bid-submit");
}

async function raise(one, max, shown) {
  await one.page.fill("#bid-max", max);
  await one.page.click("#bid-submit");
  await shows(one, "#own-max", shown);
}

async function left({ page }) {
  await page.waitForSelector("#countdown[data-ms]");
  return Number(await page.getAttribute("#countdown", "data-ms"));
}

async function sequence({ page }) {
  return Number(await page.getAttribute(".lot", "data-seq"));
}

function rows({ page }) {
  return page.$$eval(".history tbody tr", (lines) => lines.map((line) => JSON.stringify({ ...line.dataset })));
}

/** Waits until both tables are equal and hold this many bids, newest first. */
async function sameHistory(a, b, bids) {
  const read = async () => [await rows(a), await rows(b)];
  const [table] = await until(read, ([hers, his]) => hers.join() === his.join() && hers.filter((row) => row.includes("bid_placed")).length === bids, `two equal histories of ${bids} bids`);
  const seqs = table.map((row) => Number(JSON.parse(row).seq));
  if (seqs.some((seq, at) => at > 0 && seq >= seqs[at - 1])) throw new Error(`not newest first: ${seqs}`);
}

/** The frames since the return must hold a join with the old position, answered with just what was missed. */
function resumed(frames, seq) {
  const messages = frames.flatMap(({ way, text }) => text.split("\n").filter(Boolean).map((line) => ({ way, ...JSON.parse(line) })));
  const join = messages.find((message) => message.way === "sent" && message.join?.lot);
  if (join?.join.position?.seq !== seq) throw new Error(`joined again with ${JSON.stringify(join?.join)}, not at seq ${seq}`);
  const { recovered, events } = messages.find((message) => message.way === "received" && message.ok?.joined).ok.joined;
  const seqs = events.map((event) => event.seq).join();
  if (!recovered || seqs !== [1, 2, 3, 4].map((step) => seq + step).join()) throw new Error(`recovered ${recovered}, events ${seqs} after ${seq}`);
}

async function noTroubles(people) {
  await stage.check("no page reported an error or a refused resource", async () => {
    for (const { name, troubles } of people) if (troubles.length > 0) throw new Error(`${name}: ${troubles.join("; ")}`);
  });
}
