// Signing in with a name and a password, and what ends it, against the running server.

import { required, shows, until } from "./stage.mjs";

const SMALL = { viewport: { width: 390, height: 844 } };

/** Fills in the sign-in page that `person` looks at. */
export async function signIn({ page }, user, password) {
  await page.fill("#sign-in-user", user);
  await page.fill("#sign-in-password", password);
  await page.keyboard.press("Enter");
}

/** A console that is clean but for answers of these statuses, which a browser always tells; then it is clean again. */
export function only(person, ...statuses) {
  const says = (status) => (status === 401 ? /status of 401 |HTTP Authentication failed/ : new RegExp(`status of ${status} `));
  const expected = (text) => statuses.some((status) => says(status).test(text));
  const others = person.troubles.splice(0).filter((text) => !expected(text));
  if (others.length > 0) throw new Error(`${person.name}: ${others.join("; ")}`);
}

/** `admin` is an administrator's token. */
export async function signingIn(stage, admin) {
  const user = "dan";
  const password = required("DAN_PASSWORD");
  const dan = await stage.person(user, null, SMALL);
  const { page } = dan;

  await stage.check("the door offers to sign in", async () => {
    await shows(dan, ".door h1", "Come in to bid");
    await shows(dan, "#door-sign-in", "Sign in with your name");
    only(dan, 401);
  });

  await stage.check("a name and a password let in, and lead back to where one wanted to go", async () => {
    await page.goto(`${stage.url}/wallet`);
    await page.click("#door-sign-in");
    await signIn(dan, user, "wrong password");
    await shows(dan, "#sign-in-error", "don't belong together");
    await stage.picture("sign-in");
    only(dan, 401);
    await signIn(dan, user, password);
    await isIn();
    if (new URL(page.url()).pathname !== "/wallet") throw new Error(`the address is ${page.url()}`);
    if (/password|token/.test(page.url())) throw new Error(`the address is ${page.url()}`);
    only(dan);
  });

  await stage.check("a reload stays signed in", async () => {
    await page.reload();
    await isIn();
    only(dan);
  });

  await stage.check("a sign-in that was ended elsewhere says so, and how to go on", async () => {
    const { items } = await stage.rest(admin, "GET", `/v1/auth/sessions?user=${user}`);
    for (const { id } of items) await stage.rest(admin, "DELETE", `/v1/auth/sessions/${id}`);
    await shows(dan, "#banner", "Your sign-in was ended");
    await page.reload();
    await shows(dan, ".door h1", "Your sign-in has ended");
    await stage.picture("ended");
    only(dan, 401);
    await page.click("#door-sign-in");
    await signIn(dan, user, password);
    await isIn();
    if (new URL(page.url()).pathname !== "/wallet") throw new Error(`the address is ${page.url()}`);
  });

  await stage.check("signing out ends it, here and at the server", async () => {
    const before = await stage.rest(admin, "GET", `/v1/auth/sessions?user=${user}`);
    if (before.items.length !== 1) throw new Error(`${before.items.length} sessions`);
    await page.click("#who button");
    await shows(dan, ".door h1", "Come in to bid");
    await until(() => stage.rest(admin, "GET", `/v1/auth/sessions?user=${user}`), ({ items }) => items.length === 0, "the session to end");
    const kept = await page.evaluate(() => JSON.stringify({ ...sessionStorage }));
    if (kept !== "{}") throw new Error(`kept ${kept}`);
    only(dan, 401);
  });

  await stage.check("a server that can't be asked is not taken for a wrong password", async () => {
    await page.route(/\/v1\/auth\/login$/, (route) => route.fulfill({ status: 503, contentType: "application/problem+json", body: '{"code":"unavailable"}' }));
    await page.click("#door-sign-in");
    await signIn(dan, user, password);
    await shows(dan, "#sign-in-error", "could not be asked");
    only(dan, 503);
  });
  await dan.context.close();

  async function isIn() {
    await shows(dan, "#who-name", user);
    await shows(dan, "#link-state", "Live");
  }
}
