// What lets this tab in: the access token of a link or of a sign-in, and with the latter a refresh token that renews it
// shortly before it expires. Kept in the tab's session storage only.

import { backoff } from "./gavel-clock.js";

const TOKEN = "gavel.token";
const REFRESH = "gavel.refresh"; // {refresh_token, expires_at}: of the access token, on the local clock; {ended} once it is refused
/** How long before its end a token is renewed, ms; less for one that lives shortly. */
const BEFORE_END_MS = 60_000;
/** A browser's timer holds no longer wait than this, ms. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export class Credentials {
  /** The access token, or null. */
  token = null;

  #rest;
  #storage;
  #clock;
  #after;
  #random;
  #renewed;
  #refresh = null;
  #ended = false;
  #renewing = null;
  #cancel = null;
  #failures = 0;

  /** `rest` speaks with the token that is in force; `renewed(token)` is told of each new one. `storage` may be null. */
  constructor({ rest, storage, renewed = () => {}, clock = Date.now, after = timer, random = Math.random }) {
    this.#rest = rest;
    this.#storage = storage;
    this.#renewed = renewed;
    this.#clock = clock;
    this.#after = after;
    this.#random = random;
    this.#use(this.#read(TOKEN));
    this.#refresh = this.token ? parsed(this.#read(REFRESH)) : null;
    this.#ended = this.#refresh === null && this.token !== null && this.#read(REFRESH) !== null;
  }

  /** Whether the token came from a sign-in, which can be ended. */
  get signedIn() {
    return this.#refresh !== null;
  }

  /** Whether the token came from a sign-in, also one that has ended meanwhile; else it came from a link. */
  get fromSignIn() {
    return this.signedIn || this.#ended;
  }

  /** A token from a link takes the place of everything before. */
  take(token) {
    this.forget();
    this.#use(token);
    this.#write(TOKEN, token);
  }

  /** Rejects with the server's refusal. */
  async signIn(user, password) {
    const answer = await this.#rest.post("/v1/auth/login", { user, password }, { bearer: false });
    this.forget();
    this.#adopt(answer);
  }

  /** Forgets at once, and tells the server so that the refresh token is worth nothing any more. */
  signOut() {
    const refresh = this.#refresh;
    if (refresh) this.#rest.post("/v1/auth/logout", { refresh_token: refresh.refresh_token }, { keepalive: true }).catch(() => {});
    this.forget();
  }

  forget() {
    this.#cancel?.();
    this.#cancel = null;
    this.#refresh = null;
    this.#ended = false;
    this.#use(null);
    this.#write(TOKEN, null);
    this.#write(REFRESH, null);
  }

  /** Renews now where it is time, and sees to it later. Call it at the start and whenever the machine may have slept. */
  async keep() {
    if (!this.#refresh) return;
    if (this.#due() > 0) this.#schedule(this.#due());
    else await this.renew();
  }

  /** Renews the access token; resolves to whether there is a new one. */
  renew() {
    if (!this.#refresh) return Promise.resolve(false);
    this.#renewing ??= this.#renew().finally(() => (this.#renewing = null));
    return this.#renewing;
  }

  async #renew() {
    const asked = this.#refresh;
    try {
      const answer = await this.#rest.post("/v1/auth/refresh", { refresh_token: asked.refresh_token }, { bearer: false });
      if (this.#refresh !== asked) return false; // signed out meanwhile
      this.#failures = 0;
      this.#adopt(answer);
      this.#renewed(this.token);
      return true;
    } catch (error) {
      if (this.#refresh !== asked) return false;
      if (error.status >= 400 && error.status < 500 && error.status !== 429) {
        // It is worth nothing any more; the access token still is, to its end.
        this.#refresh = null;
        this.#ended = true;
        this.#write(REFRESH, JSON.stringify({ ended: true }));
      } else {
        this.#schedule(error.retry_after_ms ?? 1_000 + backoff(this.#failures++, this.#random));
      }
      return false;
    }
  }

  #adopt({ access_token, expires_in, refresh_token }) {
    this.#use(access_token);
    const lives = expires_in * 1_000;
    this.#refresh = { refresh_token: refresh_token ?? this.#refresh?.refresh_token, expires_at: this.#clock() + lives, before: Math.min(BEFORE_END_MS, lives / 4) };
    this.#write(TOKEN, access_token);
    this.#write(REFRESH, JSON.stringify(this.#refresh));
    this.#schedule(this.#due());
  }

  /** In how many ms it is time to renew. */
  #due() {
    return this.#refresh.expires_at - (this.#refresh.before ?? BEFORE_END_MS) - this.#clock();
  }

  #schedule(ms) {
    this.#cancel?.();
    this.#cancel = this.#after(() => this.keep(), Math.max(0, Math.min(ms, LONGEST_TIMER_MS)));
  }

  #use(token) {
    this.token = token;
    this.#rest.token = token;
  }

  #read(key) {
    try {
      return this.#storage?.getItem(key) ?? null;
    } catch {
      return null;
    }
  }

  #write(key, value) {
    try {
      if (value === null) this.#storage?.removeItem(key);
      else this.#storage?.setItem(key, value);
    } catch {
      // Storage may be forbidden; what lets in then lasts until the tab is reloaded.
    }
  }
}

function parsed(text) {
  try {
    const refresh = JSON.parse(text);
    return typeof refresh?.refresh_token === "string" && Number.isFinite(refresh.expires_at) ? refresh : null;
  } catch {
    return null;
  }
}

function timer(run, ms) {
  const id = setTimeout(run, ms);
  return () => clearTimeout(id);
}
