// Two bidders with points of their own bid against each other: what is left, what is held, what comes back, what is paid.

import { only, signIn } from "./accounts.mjs";
import { required, shows, until } from "./stage.mjs";

const REASON = "<b>Raid</b> attended";

/** `admin` is an administrator's token; `newLot(fields, rules)` and `order(lot, what, body)` act as the auctioneer. */
export async function wallets(stage, admin, newLot, order) {
  const give = (bidder, amount) => stage.rest(admin, "POST", `/v1/wallets/${bidder}/adjustments`, { currency: "DKP", amount, reason: REASON }, { "idempotency-key": `${bidder}-gets-${amount}` });
  await give("amy", 500);
  await give("dan", 300);
  const lot = await newLot({ title: "For points that you have", funding: "wallet" });
  const amy = await stage.person("amy", null);
  const dan = await stage.person("dan", null, { viewport: { width: 390, height: 844 } });
  const both = [amy, dan];
  for (const one of both) {
    await shows(one, ".door h1", "Come in to bid");
    only(one, 401);
    await one.page.goto(`${stage.url}/sign-in?to=/lots/${lot.id}`);
    await signIn(one, one.name, required(`${one.name.toUpperCase()}_PASSWORD`));
    await shows(one, "#lot-title", "For points that you have");
  }

  await stage.check("the place to bid shows what is there to bid with", async () => {
    await shows(amy, "#funding", "Paid from wallets");
    await shows(amy, "#wallet", "you can bid up to 500 DKP");
    await shows(amy, "#max-hint", "Your wallet holds it while you lead");
    await shows(dan, "#wallet", "you can bid up to 300 DKP");
  });

  await stage.check("a maximum is held, and its bidder may raise it by what is left", async () => {
    await bid(amy, "100", "200");
    await shows(amy, "#leader", "You lead");
    await shows(amy, "#wallet", "you can bid up to 500 DKP, with the 200 DKP your lead holds here");
    await stage.picture("wallet-lot");
  });

  await stage.check("a bid beyond what is left is explained before and after, and changes nothing", async () => {
    await dan.page.fill("#bid-max", "400");
    await until(() => dan.page.locator("#wallet.warn").count(), (found) => found === 1, "a warning before it is sent");
    await dan.page.click("#bid-submit");
    await shows(dan, "#bid-error", "on this lot you can bid up to 300 DKP");
    await shows(dan, "#leader", "amy leads");
    await shows(dan, "#bid-count", "1 bid");
    await stage.picture("funds");
  });

  await stage.check("the wallet's page shows balance, what is held and where, and the ledger", async () => {
    await amy.page.click("#wallet-link");
    await shows(amy, '#wallet-balances-table [data-currency="DKP"]', /500\s+200\s+300/);
    await shows(amy, `#wallet-leads [data-lot="${lot.id}"]`, "For points that you have");
    await shows(amy, `#wallet-leads [data-lot="${lot.id}"]`, "Price 100 DKP · 200 DKP held");
    await shows(amy, "#wallet-ledger-table", `Granted: ${REASON}`);
    await shows(amy, "#wallet-ledger-table", "+500 DKP");
    await stage.picture("wallet");
  });

  await stage.check("being outbid frees the hold at once, on the page that is open", async () => {
    const read = () => amy.frames.filter(({ way, text }) => way === "received" && text.includes('"push":{"wallet"')).length;
    const before = read();
    await bid(dan, "150", "250");
    await shows(dan, "#leader", "You lead");
    await shows(amy, '#wallet-balances-table [data-currency="DKP"]', /500\s+0\s+500/);
    await until(() => amy.page.locator("#wallet-leads li").count(), (lines) => lines === 0, "the lead to go");
    await shows(amy, ".wallet-page", "No lot holds anything of yours");
    if (read() === before) throw new Error("nothing was pushed");
    await shows(dan, "#wallet", "you can bid up to 300 DKP, with the 250 DKP your lead holds here");
  });

  await stage.check("another's grant arrives on the page that is open, newest first", async () => {
    await give("amy", 30);
    await shows(amy, '#wallet-balances-table [data-currency="DKP"]', /530\s+0\s+530/);
    await until(() => amounts(amy), (all) => all === "+30 DKP,+500 DKP", "the new entry above the old");
  });

  await stage.check("a lot with aliases says who one is, and nobody else", async () => {
    const hidden = await newLot({ title: "Nobody knows", access: { registration: "currency", aliases: true } });
    const allow = (bidder, terms) => stage.rest(admin, "PUT", `/v1/wallets/${bidder}/permits/DKP`, terms);
    await amy.page.goto(`${stage.url}/lots/${hidden.id}`);
    await shows(amy, "#access", /registered for DKP only · Bidders have aliases: you are #[0-9A-Z]{8}/);
    await bid(amy, "100", "");
    await shows(amy, "#bid-error", "You are not registered to bid here");
    await allow("amy", { registered: true, spend_limit: 150, lead_limit: 3 });
    await shows(amy, "#wallet", "Your spend limit leaves 150 DKP for this lot");
    await bid(amy, "160", "");
    await shows(amy, "#bid-error", "on this lot you can bid up to 150 DKP");
    await bid(amy, "100", "150");
    await shows(amy, "#leader", "You lead");
    await dan.page.goto(`${stage.url}/lots/${hidden.id}`);
    await shows(dan, "#leader", /^#[0-9A-Z]{8} leads$/);
    await stage.picture("aliases");
    await amy.page.goto(`${stage.url}/wallet`);
    await shows(amy, "#wallet-limits", "DKP: registered · spend limit 150 DKP, 0 spent · at most 3 leads at a time");
    await shows(amy, `#wallet-leads [data-lot="${hidden.id}"]`, "150 DKP pledged");
    await stage.picture("limits");
    await order(hidden, "cancel");
    await allow("amy", {});
    await dan.page.goto(`${stage.url}/lots/${lot.id}`);
    await shows(dan, "#lot-title", "For points that you have");
  });

  await stage.check("after the close the winner has paid the price, and no more", async () => {
    await order(lot, "close");
    await shows(dan, "#outcome", "You won for 210 DKP");
    await shows(dan, "#outcome", "Paid from your wallet");
    await dan.page.click("#wallet-link");
    await shows(dan, '#wallet-balances-table [data-currency="DKP"]', /90\s+0\s+90/);
    await until(() => amounts(dan), (all) => all === "−210 DKP,+300 DKP", "the capture in the ledger");
    await shows(dan, '#wallet-ledger-table [data-kind="capture"]', "Paid for a lot that you won");
    await shows(amy, '#wallet-balances-table [data-currency="DKP"]', /530\s+0\s+530/);
    const wide = await dan.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (wide > 0) throw new Error(`${wide} px too wide`);
    await stage.picture("paid");
    const said = await stage.rest(admin, "GET", "/v1/wallets/dan");
    if (said.items.find((item) => item.currency === "DKP").balance !== 90) throw new Error(JSON.stringify(said));
    await dan.page.click('[data-kind="capture"] a');
    await shows(dan, "#outcome", "Paid from your wallet");
  });

  await stage.check("an empty wallet says that nothing is there", async () => {
    const dear = await newLot({ title: "Dear", funding: "wallet", currency: { code: "USD", scale: 2 } });
    await dan.page.goto(`${stage.url}/lots/${dear.id}`);
    await shows(dan, "#wallet", "no USD is available there");
    await until(() => dan.page.locator("#wallet.warn").count(), (found) => found === 1, "a warning");
  });

  await stage.check("no page reported an error or a refused resource", async () => both.forEach((one) => only(one)));
  for (const { context } of both) await context.close();
}

async function bid({ page }, amount, max) {
  await page.fill("#bid-amount", amount);
  await page.fill("#bid-max", max);
  await page.click("#bid-submit");
}

/** The ledger's amounts from top to bottom. */
async function amounts({ page }) {
  const all = await page.$$eval("#wallet-ledger-table tbody tr", (rows) => rows.map((row) => row.children[2].textContent).join());
  return all.replaceAll("\u00a0", " ");
}
