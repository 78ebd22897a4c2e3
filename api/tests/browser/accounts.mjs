// The wallet and sign-in pages in a browser. The server's part in it is played here, so that every answer can be had.

import { required, shows, until } from "./stage.mjs";

const USD = { currency: "USD", balance: 0, held: 0, available: 0 };
const dkp = (balance, held) => ({ currency: "DKP", balance, held, available: balance - held });

/** `newLot(fields, rules)` acts as the auctioneer. */
export async function accounts(stage, newLot) {
  await theWallet(stage, newLot);
  await signingIn(stage);
}

function json(body, status = 200) {
  return { status, contentType: status < 400 ? "application/json" : "application/problem+json", body: JSON.stringify(body) };
}

async function theWallet(stage, newLot) {
  const lot = await newLot({ title: "Led by amy" });
  const amy = await stage.person("amy", required("ALICE_TOKEN"), { viewport: { width: 390, height: 844 } });
  const name = await shows(amy, "#who-name", /\S/);
  const { page } = amy;

  await stage.check("without wallets on the server nothing speaks of them", async () => {
    await shows(amy, "#link-state", "Live");
    await until(() => amy.frames.some(({ way, text }) => way === "sent" && text.includes('"wallet"')), Boolean, "the wallet to be asked for");
    if (await page.isVisible("#wallet-link")) throw new Error("there is a link to a wallet");
  });

  let push = null;
  let entries = [
    { seq: 1, at: "2026-01-01T00:00:00.000Z", currency: "DKP", kind: "adjustment", amount: 500, balance: 500, lot: null, reason: "<b>Raid</b>" },
    { seq: 2, at: "2026-01-02T00:00:00.000Z", currency: "DKP", kind: "capture", amount: -80, balance: 420, lot: lot.id, reason: null },
  ];
  const asJoined = { bidder: name, items: [dkp(420, 100), USD] };
  await page.routeWebSocket(/\/v1\/ws$/, (socket) => {
    push = (message) => socket.send(JSON.stringify(message));
    const server = socket.connectToServer();
    socket.onMessage((text) => {
      const request = JSON.parse(text);
      if (request.join?.wallet) push({ id: request.id, ok: { joined_wallet: asJoined } });
      else if (request.bid?.max > 400) push({ id: request.id, error: { code: "insufficient_funds", message: "not enough", temporary: false } });
      else server.send(text);
    });
    // Every lot is one that is paid from the wallet.
    server.onMessage((text) => socket.send(String(text).replaceAll('"funding":"open"', '"funding":"wallet"')));
  });
  await page.route(/\/v1\/wallets\/[^/]+\/ledger/, (route) => route.fulfill(json({ items: entries, next: null })));

  await stage.check("a bidder finds balance, leads and ledger a click away", async () => {
    await page.goto(`${stage.url}/lots/${lot.id}`);
    await shows(amy, "#wallet", "You can bid up to 320 DKP");
    await page.fill("#bid-max", "200");
    await page.click("#bid-submit");
    await shows(amy, "#leader", "You lead");
    push({ push: { wallet: name, items: [dkp(420, 300)] } });
    await shows(amy, "#wallet", "You can bid up to 320 DKP, with the 200 DKP your lead holds here");
    await page.click("#wallet-link");
    await shows(amy, '#wallet-balances-table [data-currency="DKP"]', /420\s+300\s+120/);
    await shows(amy, `#wallet-leads [data-lot="${lot.id}"]`, "Led by amy");
    await shows(amy, '#wallet-ledger-table [data-seq="1"]', "<b>Raid</b>");
    await shows(amy, '#wallet-ledger-table [data-seq="2"]', "−80 DKP");
    const seqs = await page.$$eval("#wallet-ledger-table tbody tr", (rows) => rows.map((row) => row.dataset.seq).join());
    if (seqs !== "2,1") throw new Error(`not newest first: ${seqs}`);
  });

  await stage.check("the wallet's page follows what happens", async () => {
    entries = [...entries, { seq: 3, at: "2026-01-03T00:00:00.000Z", currency: "DKP", kind: "adjustment", amount: 30, balance: 450, lot: null, reason: "Late" }];
    push({ push: { wallet: name, items: [dkp(450, 300)] } });
    await shows(amy, '#wallet-balances-table [data-currency="DKP"]', /450\s+300\s+150/);
    await shows(amy, '#wallet-ledger-table [data-seq="3"]', "+30 DKP");
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (wide > 0) throw new Error(`${wide} px too wide`);
    await stage.picture("wallet");
  });

  await stage.check("a refusal for lack of funds says what is left", async () => {
    await page.click(".back");
    await page.click(`.card[data-lot="${lot.id}"] a`);
    await page.fill("#bid-max", "5000");
    await until(() => page.locator("#wallet.warn").count(), (found) => found === 1, "a warning before it is sent");
    await page.click("#bid-submit");
    await shows(amy, "#bid-error", "on this lot you can bid up to 350 DKP");
    await stage.picture("funds");
    if (amy.troubles.length > 0) throw new Error(amy.troubles.join("; "));
  });
  await amy.context.close();
}

async function signingIn(stage) {
  const token = required("BOB_TOKEN");
  const dan = await stage.person("dan", null, { viewport: { width: 390, height: 844 } });
  const { page } = dan;

  await stage.check("where signing in is not offered, the door does not speak of it", async () => {
    await shows(dan, ".door h1", "You need a link");
    if (await page.isVisible("#door-sign-in")) throw new Error("there is a link to sign in");
  });

  const asked = [];
  await page.route(/\/v1\/auth\//, async (route) => {
    const request = route.request();
    const body = request.postDataJSON();
    asked.push([request.method(), new URL(request.url()).pathname, body]);
    if (request.method() === "GET") return route.fulfill(json({ code: "invalid" }, 405));
    if (body.password !== undefined && body.password !== "open sesame") return route.fulfill(json({ code: "unauthenticated" }, 401));
    return route.fulfill(json({ access_token: token, token_type: "Bearer", expires_in: 900, refresh_token: "refresh" }));
  });

  await stage.check("a name and a password let in, and lead back to where one wanted to go", async () => {
    await page.goto(`${stage.url}/wallet`);
    await page.click("#door-sign-in");
    await page.fill("#sign-in-user", "dan");
    await page.fill("#sign-in-password", "wrong");
    await page.keyboard.press("Enter");
    await shows(dan, "#sign-in-error", "don't belong together");
    await stage.picture("sign-in");
    await page.fill("#sign-in-password", "open sesame");
    await page.keyboard.press("Enter");
    await shows(dan, "#who-name", /\S/);
    await shows(dan, "#link-state", "Live");
    if (new URL(page.url()).pathname !== "/wallet") throw new Error(`the address is ${page.url()}`);
    if (page.url().includes("sesame") || page.url().includes("token")) throw new Error(`the address is ${page.url()}`);
  });

  await stage.check("signing out ends it, here and at the server", async () => {
    await page.click("#who button");
    await shows(dan, ".door h1", "You need a link");
    await until(() => asked.some(([, path]) => path === "/v1/auth/logout"), Boolean, "the server to be told");
    const kept = await page.evaluate(() => JSON.stringify({ ...sessionStorage }));
    if (kept !== "{}") throw new Error(`kept ${kept}`);
  });
  await dan.context.close();
}
