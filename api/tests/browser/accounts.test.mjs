// Wallets and sign-ins without a browser and without a server that has them: a fake socket, fake REST, a clock that jumps.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Credentials } from "../../static/assets/credentials.js";
import { refusalText } from "../../static/assets/refusals.js";
import { afterSignIn, route, signInFor } from "../../static/assets/routes.js";
import { signInWords } from "../../static/assets/sign-in-page.js";
import { Wallet, fundsFor } from "../../static/assets/wallet.js";
import { FakeRest, World, lot } from "./fake-world.mjs";

const dkp = (balance, held) => ({ currency: "DKP", balance, held, available: balance - held });

describe("the wallet", () => {
  /** A wallet of amy whose client is about to come online. */
  function start(items = {}) {
    const world = new World();
    const rest = new FakeRest({});
    Object.assign(rest.items, items);
    const client = world.client();
    const wallet = new Wallet({ client, rest, me: () => client.session?.bidder ?? null, ...world.parts() });
    const told = [];
    wallet.on(() => told.push(wallet.item("DKP")?.available ?? null));
    return { world, rest, client, wallet, told };
  }

  test("is joined, follows its pushes, and is joined again after a lost connection", async () => {
    const { world, wallet, told } = start();
    await world.welcome();
    assert.deepEqual(world.sent("join"), { wallet: "amy" });
    world.answer("join", { joined_wallet: { bidder: "amy", items: [dkp(500, 0), { currency: "USD", balance: 9, held: 0, available: 9 }] } });
    await world.settle();
    world.frame({ push: { wallet: "amy", items: [dkp(500, 120)] } });
    world.frame({ push: { wallet: "bob", items: [dkp(1, 0)] } });
    assert.deepEqual([told, wallet.kept, wallet.items.length], [[500, 380], true, 2]);
    world.socket.drop(1006);
    await world.comeBack();
    world.answer("join", { joined_wallet: { bidder: "amy", items: [dkp(400, 0)] } });
    await world.settle();
    assert.equal(wallet.item("DKP").available, 400);
  });

  test("a server without wallets is asked once a connection, and nothing is shown", async () => {
    const { world, rest, wallet, told } = start();
    await world.welcome();
    world.refuse("join", { code: "invalid", temporary: false });
    await world.advance(60_000);
    assert.deepEqual([world.count("join"), wallet.kept, told], [1, null, []]);
    await wallet.refresh();
    await wallet.refresh();
    assert.deepEqual([wallet.kept, rest.asked], [false, ["/v1/wallets/amy"]]);
  });

  test("without pushes it is read over REST; a trouble on the way is tried again", async () => {
    const { world, rest, wallet } = start({ "/v1/wallets/amy": { bidder: "amy", items: [dkp(70, 20)] } });
    await world.welcome();
    await wallet.refresh();
    assert.equal(wallet.item("DKP").available, 50);
    world.refuse("join", { code: "unavailable", temporary: true });
    await world.settle();
    await world.advance(60_000, () => world.count("join") > 1);
    world.answer("join", { joined_wallet: { bidder: "amy", items: [dkp(60, 20)] } });
    await world.settle();
    rest.asked = [];
    await wallet.refresh();
    assert.deepEqual([wallet.item("DKP").available, rest.asked], [40, []]);
  });

  test("an answer of REST that a push overtook is thrown away", async () => {
    const { world, rest, wallet } = start();
    await world.welcome();
    let answer;
    rest.get = () => new Promise((resolve) => (answer = resolve));
    const reading = wallet.refresh();
    world.answer("join", { joined_wallet: { bidder: "amy", items: [dkp(10, 0)] } });
    await world.settle();
    answer({ bidder: "amy", items: [dkp(99, 0)] });
    await reading;
    assert.equal(wallet.item("DKP").available, 10);
  });

  test("a bid may use what is available and what the lot holds already", () => {
    const paid = lot({ funding: "wallet" });
    const free = { limited: false, full: false, leads: null };
    assert.deepEqual(fundsFor(paid, { ...dkp(500, 350), holds: [{ lot: "M", amount: 50 }, { lot: "L", amount: 300 }] }), { ...free, left: 450, here: 300 });
    assert.deepEqual(fundsFor(paid, { ...dkp(500, 100), holds: [{ lot: "M", amount: 100 }] }), { ...free, left: 400, here: 0 });
    assert.deepEqual(fundsFor(paid, dkp(-50, 0)), { ...free, left: 0, here: 0 });
    assert.equal(fundsFor(lot(), dkp(500, 0)), null);
    assert.equal(fundsFor(paid, null), null);
  });

  test("a refusal for lack of funds names what is left, where it is known", () => {
    const words = (funds) => refusalText({ code: "insufficient_funds" }, lot(), funds).replaceAll("\u00a0", " ");
    assert.match(words({ left: 450 }), /you can bid up to 450 DKP/);
    assert.match(words({ left: 0 }), /you can bid up to 0 DKP/);
    assert.match(words(null), /doesn't cover/);
  });

  test("limits leave less than the balance, and count what was spent and is led with elsewhere", () => {
    const permit = (fields) => ({ registered: true, spend_limit: null, lead_limit: null, spent: 0, pledges: [], ...fields });
    const held = (fields) => ({ ...dkp(500, 100), holds: [{ lot: "M", amount: 100 }], permit: permit(fields) });
    const paid = lot({ funding: "wallet" });
    assert.deepEqual(fundsFor(paid, held({})), { left: 400, here: 0, limited: false, full: false, leads: null });
    assert.equal(fundsFor(paid, held({ spend_limit: 1000 })).left, 400, "the balance is less");
    const tight = fundsFor(paid, held({ spend_limit: 350, spent: 50, pledges: [{ lot: "L", amount: 70 }] }));
    assert.deepEqual([tight.left, tight.here, tight.limited], [200, 70, true]);
    assert.ok(fundsFor(paid, held({ lead_limit: 1 })).full);
    assert.ok(!fundsFor(lot({ id: "M", funding: "wallet" }), held({ lead_limit: 1 })).full, "its own lead is no other");
    // Lots that take no money ask all the same where they want a registration in the currency.
    const asking = lot({ access: { registration: "currency", aliases: false } });
    assert.equal(fundsFor(asking, dkp(0, 0)), null, "nothing limits");
    assert.equal(fundsFor(asking, { ...dkp(0, 0), permit: permit({ spend_limit: 30 }) }).left, 30);
    assert.equal(fundsFor(lot({ access: { registration: "lot", aliases: false } }), held({ spend_limit: 30 })), null);
    const words = (funds) => refusalText({ code: "limit_exceeded" }, lot(), funds).replaceAll("\u00a0", " ");
    assert.match(words({ limited: true, left: 30 }), /you can bid up to 30 DKP/);
    assert.match(words({ full: true, leads: 2 }), /2 lots at a time/);
    assert.match(words(null), /A limit/);
  });
});

describe("signing in", () => {
  class Storage {
    kept = {};
    getItem(key) {
      return this.kept[key] ?? null;
    }
    setItem(key, value) {
      this.kept[key] = value;
    }
    removeItem(key) {
      delete this.kept[key];
    }
  }

  const pair = (number, expires_in = 900) => ({ access_token: `access${number}`, token_type: "Bearer", expires_in, refresh_token: `refresh${number}` });

  /** `answers`: what each post gets, in order: an object, or an error. */
  function start(answers, storage = new Storage(), world = new World()) {
    const posts = [];
    const rest = {
      token: null,
      post(path, body, { bearer = true } = {}) {
        posts.push([path, body, bearer ? rest.token : null]);
        const answer = answers.shift();
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
      },
    };
    const renewed = [];
    const credentials = new Credentials({ rest, storage, renewed: (token) => renewed.push(token), ...world.parts() });
    return { world, storage, rest, posts, renewed, credentials };
  }

  const failed = (status, fields = {}) => Object.assign(new Error(String(status)), { status, ...fields });

  test("keeps both tokens in the tab and renews shortly before the end, on and on", async () => {
    const { world, storage, rest, posts, renewed, credentials } = start([pair(1), pair(2), pair(3)]);
    await credentials.signIn("amy", "secret");
    assert.deepEqual(posts, [["/v1/auth/login", { user: "amy", password: "secret" }, null]]);
    assert.deepEqual([rest.token, credentials.signedIn, storage.kept["gavel.token"]], ["access1", true, "access1"]);
    const from = world.now;
    await world.advance(3_600_000, () => renewed.length === 1);
    assert.equal(world.now - from, 840_000);
    assert.deepEqual(posts[1], ["/v1/auth/refresh", { refresh_token: "refresh1" }, null]);
    await world.advance(3_600_000, () => renewed.length === 2);
    assert.deepEqual([renewed, rest.token, posts[2][1].refresh_token], [["access2", "access3"], "access3", "refresh2"]);
    assert.ok(!JSON.stringify(storage.kept).includes("secret"));
  });

  test("a reload goes on with it; one after its end renews first", async () => {
    const first = start([pair(1)]);
    await first.credentials.signIn("amy", "secret");
    const soon = start([pair(2)], first.storage, first.world);
    await soon.credentials.keep();
    assert.deepEqual([soon.rest.token, soon.posts.length], ["access1", 0]);
    first.world.now += 3_600_000;
    const late = start([pair(2)], first.storage, first.world);
    await late.credentials.keep();
    assert.deepEqual([late.rest.token, late.renewed], ["access2", ["access2"]]);
  });

  test("two who ask at once renew once", async () => {
    const { credentials, posts } = start([pair(1), pair(2)]);
    await credentials.signIn("amy", "secret");
    assert.deepEqual(await Promise.all([credentials.renew(), credentials.renew()]), [true, true]);
    assert.equal(posts.length, 2);
  });

  test("trouble on the way is tried again, a refusal is not", async () => {
    const { world, credentials, posts, renewed } = start([pair(1), failed(503), failed(undefined), pair(2), failed(401)]);
    await credentials.signIn("amy", "secret");
    await world.advance(3_600_000, () => renewed.length === 1);
    assert.equal(posts.length, 4);
    await world.advance(36_000_000);
    assert.deepEqual([posts.length, credentials.signedIn, credentials.token], [5, false, "access2"]);
    assert.equal(await credentials.renew(), false);
  });

  test("a sign-in that has ended is not taken for a link, also after a reload", async () => {
    const { world, storage, credentials } = start([pair(1), failed(401)]);
    await credentials.signIn("amy", "secret");
    await credentials.renew();
    const again = start([], storage, world).credentials;
    assert.deepEqual([credentials, again].map((one) => [one.signedIn, one.fromSignIn, one.token]), [[false, true, "access1"], [false, true, "access1"]]);
    assert.equal(await again.renew(), false);
    again.take("linked");
    assert.deepEqual([again.fromSignIn, start([], storage, world).credentials.fromSignIn], [false, false]);
  });

  test("signing out forgets everything at once and tells the server", async () => {
    const { world, storage, rest, posts, credentials } = start([pair(1), null]);
    await credentials.signIn("amy", "secret");
    credentials.signOut();
    assert.deepEqual([rest.token, credentials.signedIn, storage.kept], [null, false, {}]);
    assert.deepEqual(posts[1], ["/v1/auth/logout", { refresh_token: "refresh1" }, "access1"]);
    await world.advance(36_000_000);
    assert.equal(posts.length, 2);
  });

  test("a sign-in that is refused leaves what was; a link takes the place of a sign-in", async () => {
    const { storage, credentials } = start([pair(1), failed(401)]);
    await credentials.signIn("amy", "secret");
    await assert.rejects(credentials.signIn("amy", "wrong"), { status: 401 });
    assert.equal(credentials.token, "access1");
    credentials.take("linked");
    assert.deepEqual([credentials.token, credentials.signedIn, storage.kept], ["linked", false, { "gavel.token": "linked" }]);
  });

  test("a short life is renewed within it; forbidden storage is no hindrance", async () => {
    const storage = {
      getItem() {
        throw new Error("forbidden");
      },
    };
    const { world, credentials, renewed } = start([pair(1, 20), pair(2, 20)], storage);
    await credentials.signIn("amy", "secret");
    const from = world.now;
    await world.advance(20_000, () => renewed.length === 1);
    assert.equal(world.now - from, 15_000);
  });

  test("a renewed token serves the connection there is and the next one", async () => {
    const world = new World();
    const client = await world.online();
    await client.renew("t2");
    assert.deepEqual(world.sent("auth"), { token: "t2" });
    world.socket.drop(4004);
    await world.comeBack();
    assert.deepEqual([world.socket.protocols[1], world.sent("auth")], ["gavel.bearer.t2", { token: "t2" }]);
  });

  test("addresses: the pages, the way back, and none that leads elsewhere", () => {
    assert.deepEqual([route("/wallet"), route("/sign-in/")], [{ page: "wallet" }, { page: "sign-in" }]);
    const path = "/lots/0192aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee";
    assert.equal(afterSignIn(new URL(signInFor(path), "http://x").search), path);
    assert.equal(signInFor("/"), "/sign-in");
    for (const bad of ["//evil.example/lots/x", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/sign-in", "/lots/a/../../x", ""]) {
      assert.equal(afterSignIn(`?${new URLSearchParams({ to: bad })}`), "/", bad);
    }
  });

  test("each refusal has its words", () => {
    assert.match(signInWords({ status: 401, code: "unauthenticated" }), /don't belong together/);
    assert.match(signInWords({ status: 429, retry_after_ms: 4_200 }), /Wait 5 s/);
    assert.match(signInWords({ status: 404 }), /not offered/);
    assert.match(signInWords({}), /could not be asked/);
  });
});
