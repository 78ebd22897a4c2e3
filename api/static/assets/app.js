// Where the page starts: takes the token from the link, opens the one connection, shows who and how connected,
// and puts the list or a lot into <main>.

import { GavelClient } from "./gavel-client.js";
import { Rest } from "./rest.js";
import { Credentials } from "./credentials.js";
import { el, setText, show } from "./dom.js";
import { hue } from "./format.js";
import { listPage } from "./list-page.js";
import { lotPage } from "./lot-page.js";
import { afterSignIn, route, signInFor } from "./routes.js";
import { signInPage } from "./sign-in-page.js";
import { walletPage } from "./wallet-page.js";
import { Wallet } from "./wallet.js";

const main = document.getElementById("page");
const linkState = document.getElementById("link-state");
const banner = document.getElementById("banner");
const walletLink = document.getElementById("wallet-link");
const signInLink = document.getElementById("sign-in-link");

const rest = new Rest(null);
const credentials = new Credentials({ rest, storage: sessionStorageOrNull(), renewed: (token) => client.renew(token).catch(() => {}) });
takeLink();
const client = new GavelClient({ url: `${location.origin.replace(/^http/, "ws")}/v1/ws`, token: credentials.token, verify: letIn });
/** This bidder's name, or null for everybody else. */
const me = () => (client.session?.role === "bidder" ? client.session.bidder : null);
const wallet = new Wallet({ client, rest, me });

const context = {
  client,
  rest,
  credentials,
  wallet,
  me,
  role: () => client.session?.role ?? null,
  announce: (text) => setText(document.getElementById("announce"), text),
  title: (text) => (document.title = text ? `${text} · Gavel` : "Gavel"),
};

let page = null;
let waitTimer = null;

/** The token of `/#token=…` moves to this tab's session storage and out of the address bar. */
function takeLink() {
  const given = tokenIn(location.hash);
  if (!given) return;
  credentials.take(given);
  history.replaceState(null, "", location.pathname + location.search);
}

function tokenIn(hash) {
  return new URLSearchParams(hash.replace(/^#/, "")).get("token") || null;
}

function sessionStorageOrNull() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

/** Whether the server takes us, if need be with a token renewed just now. */
async function letIn() {
  if (await rest.welcome()) return true;
  return (await credentials.renew()) || credentials.signedIn;
}

// ---- pages ----

const PAGES = {
  list: () => listPage(context),
  lot: ({ id }) => lotPage(context, id),
  wallet: () => walletPage(context),
  "sign-in": () => signInPage(context, afterSignIn(location.search)),
};

/** Signing in comes before everything else: nothing is connected there, and what follows starts anew. */
const signingIn = route(location.pathname).page === "sign-in";

function draw() {
  page?.unmount();
  const to = route(location.pathname);
  page = client.state === "denied" ? { element: doorPage(), unmount: () => {} } : PAGES[to.page](to);
  main.replaceChildren(page.element);
  signInLink.href = signInFor(location.pathname);
}

function go(path) {
  if (path === location.pathname) return;
  history.pushState(null, "", path);
  draw();
  window.scrollTo(0, 0);
  main.focus({ preventScroll: true });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='/']");
  if (!link || event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const path = link.getAttribute("href");
  if (signingIn || (path !== "/" && !["lot", "wallet"].includes(route(path).page))) return;
  event.preventDefault();
  go(path);
});

window.addEventListener("popstate", draw);
window.addEventListener("hashchange", () => {
  if (tokenIn(location.hash)) {
    takeLink();
    location.reload();
  }
});

// ---- who and how connected ----

client.on("session", (session) => {
  const who = document.getElementById("who");
  const name = session.bidder ?? "guest";
  who.replaceChildren(
    el(`span.avatar.hue-${hue(name)}`, { "aria-hidden": "true" }, name[0].toUpperCase()),
    el("span.who-name", { id: "who-name" }, name),
    el("span.who-role", { id: "who-role" }, session.role),
    el("button.quiet", { type: "button", onclick: signOut, title: "Forget the token in this tab" }, "Sign out"),
  );
  show(who, true);
});

function signOut() {
  credentials.signOut();
  location.assign("/");
}

wallet.on(() => show(walletLink, Boolean(wallet.kept) && me() !== null));

client.on("state", (state, detail) => {
  clearInterval(waitTimer);
  linkState.dataset.state = state;
  show(banner, state === "stopped" && detail.code !== 1000);
  if (state === "connecting") say("Connecting…");
  if (state === "online") say("Live");
  show(signInLink, state === "online" && client.session === null);
  if (state === "waiting") countDown(detail.retryAt);
  if (state === "denied") {
    say("No access");
    draw();
  }
  if (state === "stopped") {
    say("Disconnected");
    banner.replaceChildren(
      el("span", {}, stoppedWords(detail.code)),
      detail.code === 4503 && credentials.fromSignIn
        ? el("a", { href: signInFor(location.pathname) }, "Sign in")
        : el("button", { type: "button", onclick: () => client.connect() }, "Connect again"),
    );
  }
});

const STOPPED = {
  4501: "The server did not understand this page. Reload it to get the newest version.",
  4502: "This connection went over a limit of the server.",
  4503: "Your access was withdrawn. Ask for a new link.",
};

function stoppedWords(code) {
  if (code === 4503 && credentials.fromSignIn) return "Your sign-in was ended.";
  return STOPPED[code] ?? "The server ended this connection.";
}

function say(text) {
  setText(linkState.querySelector(".link-text"), text);
}

function countDown(retryAt) {
  const tick = () => {
    const left = Math.ceil((retryAt - performance.timeOrigin - performance.now()) / 1000);
    say(left > 1 ? `Reconnecting in ${left} s` : "Reconnecting…");
  };
  tick();
  waitTimer = setInterval(tick, 500);
}

window.addEventListener("offline", () => client.lostNetwork());
window.addEventListener("online", () => signingIn || client.wake());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible") return;
  credentials.keep();
  if (!signingIn) client.wake();
});

// ---- without a welcome ----

function doorPage() {
  const { token, fromSignIn } = credentials;
  const [headline, words] = doorWords(token, fromSignIn);
  context.title(headline);
  const field = el("input", { id: "door-link", autocomplete: "off", spellcheck: "false", placeholder: "https://…/#token=…" });
  const enter = (event) => {
    event.preventDefault();
    const text = field.value.trim();
    const given = text.includes("#") ? tokenIn(text.slice(text.indexOf("#"))) : text;
    if (!given) return field.focus();
    credentials.take(given);
    location.reload();
  };
  return el("section.door", { "data-page": "door" },
    el("h1", {}, headline),
    el("p", {}, words),
    el("p", {}, el(fromSignIn ? "a.primary" : "a", { id: "door-sign-in", href: signInFor(location.pathname) }, fromSignIn ? "Sign in again" : "Sign in with your name and password")),
    el("form", { onsubmit: enter },
      el("label", { for: "door-link" }, "Have a link or an access token already?"),
      el("div.field", {}, field),
      el("div.actions", {},
        el(fromSignIn ? "button.secondary" : "button.primary", { type: "submit" }, "Come in"),
        token && !fromSignIn ? el("button.quiet", { type: "button", onclick: signOut }, "Forget the old one") : null)));
}

function doorWords(token, fromSignIn) {
  if (fromSignIn) return ["Your sign-in has ended", "Nothing is lost: bids that you placed still count. Sign in again to go on."];
  if (token) return ["This link no longer works", "Links are valid for a limited time. Ask whoever runs the auction for a new one."];
  return ["Come in to bid", "This auction is for invited guests. Sign in, or ask whoever runs it for your personal link and open it in this browser."];
}

draw();
if (signingIn) show(linkState, false);
else credentials.keep().then(() => client.connect());
