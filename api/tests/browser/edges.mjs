// What rarely happens but must not break a page: markup in texts, ids written in another way, many lots, a lot that can
// no longer be followed, a visitor whom the server does not take.

import { required, shows, until } from "./stage.mjs";

const MARKUP = `<img src=x onerror="document.body.dataset.owned='yes'"><script>document.body.dataset.owned="yes"</script>&lt;b&gt;`;
/** More than the server answers in one page unless it is asked for more. */
const MANY = 105;
/** How many cards a section of the list shows at first. */
const CARDS = 200;

/** `newLot(fields, rules)` and `order(lot, what, body)` act as the auctioneer. */
export async function edges(stage, newLot, order) {
  const eve = await stage.person("eve", required("BOB_TOKEN"));
  await textIsText(stage, eve, newLot, order);
  await otherWaysToWriteAnId(stage, eve, newLot);
  await theNewestOfMany(stage, eve, newLot, order);
  await aVeryLongHistory(stage, eve, newLot);
  await notToBeFollowed(stage, eve, newLot);
  await moreThanFit(stage, eve, newLot);
  await stage.check("no page reported an error or a refused resource", async () => {
    if (eve.troubles.length > 0) throw new Error(eve.troubles.join("; "));
  });
  await eve.context.close();
  await withoutAToken(stage);
}

async function textIsText(stage, eve, newLot, order) {
  await stage.check("markup in a title, a description or a reason is shown as the text it is", async () => {
    const lot = await newLot({ title: MARKUP, description: `${MARKUP}\n</article><script src="/x.js"></script>` });
    await shows(eve, `.card[data-lot="${lot.id}"] h3`, MARKUP);
    await eve.page.goto(`${stage.url}/lots/${lot.id}`);
    await shows(eve, "#lot-title", MARKUP);
    await shows(eve, ".description", `</article><script src="/x.js"></script>`);
    await order(lot, "pause", { reason: MARKUP });
    await shows(eve, "#timer-note", MARKUP);
    await order(lot, "cancel", { reason: MARKUP });
    await shows(eve, "#outcome", MARKUP);
    await shows(eve, '.history [data-kind="cancelled"]', MARKUP);
    const found = await eve.page.evaluate(() => [document.title, document.body.dataset.owned ?? "", document.querySelectorAll("main img, main script, main b").length]);
    if (!found[0].includes(MARKUP) || found[1] !== "" || found[2] !== 0) throw new Error(JSON.stringify(found));
  });
}

async function otherWaysToWriteAnId(stage, eve, newLot) {
  await stage.check("an address with the id in capitals or without hyphens opens the lot", async () => {
    const lot = await newLot({ title: "Any way you write it" });
    for (const written of [lot.id.toUpperCase(), lot.id.replaceAll("-", "")]) {
      await eve.page.goto(`${stage.url}/lots/${written}`);
      await shows(eve, "#lot-title", "Any way you write it");
    }
  });
}

async function theNewestOfMany(stage, eve, newLot, order) {
  await stage.check(`of more than ${MANY} ended lots the list shows the last`, async () => {
    for (let made = 0; made < MANY; made++) await order(await newLot({ title: `One of many, ${made}`, draft: true }), "cancel");
    const last = await newLot({ title: "The last of many", draft: true });
    await order(last, "cancel");
    await eve.page.goto(stage.url);
    await shows(eve, `[data-section="ended"] [data-lot="${last.id}"]`, "The last of many");
  });
}

async function aVeryLongHistory(stage, eve, newLot) {
  await stage.check("a history too long to be read at one go says that it has a gap, and is read on from there", async () => {
    const lot = await newLot({ title: "A long story" });
    const asked = [];
    let pages = Infinity;
    await eve.page.route(/\/bids\?/, (route) => {
      const number = Number(new URL(route.request().url()).searchParams.get("cursor") ?? 0);
      asked.push(number);
      const bid = { seq: 2 + number, at: lot.created_at, bidder: "zoe", amount: 100 + number, price: 100 + number, leader: "zoe" };
      return route.fulfill({ json: { items: [bid], next: number + 1 < pages ? String(number + 1) : null } });
    });
    await eve.page.goto(`${stage.url}/lots/${lot.id}`);
    await shows(eve, "#history-cut", "This table has a gap");
    const read = asked.length;
    pages = read + 5;
    await eve.page.click("#history-cut button");
    await until(() => eve.page.isVisible("#history-cut"), (visible) => !visible, "the notice to go");
    if (asked[read] !== read || asked.length !== pages) throw new Error(`asked for ${asked.slice(read)} after ${read} pages`);
    await shows(eve, '.history tr[data-kind="bid_placed"] >> nth=0', String(100 + pages - 1));
    await eve.page.unroute(/\/bids\?/);
  });
}

async function notToBeFollowed(stage, eve, newLot) {
  const lot = await newLot({ title: "Out of sight" });
  let refuse = false;
  let toPage = null;
  await eve.page.routeWebSocket(/\/v1\/ws$/, (socket) => {
    toPage = (message) => socket.send(JSON.stringify(message));
    const server = socket.connectToServer();
    socket.onMessage((text) => {
      const request = JSON.parse(text);
      if (refuse && request.join) toPage({ id: request.id, error: { code: "limit_exceeded", message: "too many", temporary: false } });
      else server.send(text);
    });
  });
  await eve.page.goto(`${stage.url}/lots/${lot.id}`);
  await shows(eve, "#link-state", "Live");
  await until(() => eve.page.isEnabled("#bid-submit"), Boolean, "the bid button to be enabled");

  await stage.check("a lot that can no longer be followed says so and takes no bid, until it can be again", async () => {
    refuse = true;
    toPage({ push: { lot: lot.id, events: [{ epoch: 1, seq: 1_000_000, at: new Date().toISOString(), settled: {} }] } });
    await shows(eve, "#lost", "can no longer be followed");
    await until(() => eve.page.isDisabled("#bid-submit"), Boolean, "the bid button to be disabled");
    await stage.picture("lost");
    refuse = false;
    await eve.page.click("#lost button");
    await until(() => eve.page.isVisible("#lost"), (visible) => !visible, "the notice to go");
    await until(() => eve.page.isEnabled("#bid-submit"), Boolean, "the bid button to be enabled");
  });
}

async function moreThanFit(stage, eve, newLot) {
  await stage.check("of very many live lots the list shows some, and the others when asked", async () => {
    for (let made = 0; made < CARDS; made += 20) await Promise.all(Array.from({ length: 20 }, (_, at) => newLot({ title: `One of the crowd, ${made + at}` })));
    await eve.page.goto(stage.url);
    const section = '[data-section="open"]';
    const cards = () => eve.page.locator(`${section} .card`).count();
    await until(cards, (number) => number === CARDS, `${CARDS} cards`);
    await shows(eve, `${section} > button`, /^Show more \(\d+ lots? not shown\)$/);
    await eve.page.click(`${section} > button`);
    const all = Number(await eve.page.innerText(`${section} .number`));
    await until(cards, (number) => number === all && number > CARDS, `${all} cards`);
    if (await eve.page.isVisible(`${section} > button`)) throw new Error("there is more to show");
  });
}

async function withoutAToken(stage) {
  await stage.check("a visitor without a link is told so, and never that all is well", async () => {
    const guest = await stage.person("guest", null, { watchStates: true });
    await shows(guest, ".door h1", "Come in to bid");
    await shows(guest, "#link-state", "No access");
    const states = await guest.page.evaluate(() => window.statesSeen);
    if (states.includes("online")) throw new Error(`the page went through ${states}`);
    await guest.context.close();
  });
}
