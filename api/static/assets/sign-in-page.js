// Coming in with a name and a password, where the server offers it.

import { el, setText } from "./dom.js";

/** `to`: where to go afterwards. */
export function signInPage({ credentials, title }, to) {
  title("Sign in");
  const user = el("input", { id: "sign-in-user", name: "user", autocomplete: "username", autocapitalize: "none", spellcheck: "false", required: true, "aria-describedby": "sign-in-error" });
  const password = el("input", { id: "sign-in-password", name: "password", type: "password", autocomplete: "current-password", required: true, "aria-describedby": "sign-in-error" });
  const error = el("p.error", { id: "sign-in-error", role: "alert" });
  const submit = el("button.primary", { type: "submit" }, "Sign in");
  // Should the script fail, a plain submit must not put the password into the address.
  const form = el("form", { method: "post", novalidate: true, onsubmit: send },
    el("label", { for: "sign-in-user" }, "Name"), el("div.field", {}, user),
    el("label", { for: "sign-in-password" }, "Password"), el("div.field", {}, password),
    error, submit);
  const element = el("section.door", { "data-page": "sign-in" }, el("h1", {}, "Sign in"), form,
    el("p", {}, el("a", { href: "/" }, "Have a personal link? Open it instead, or enter without an account.")));

  async function send(event) {
    event.preventDefault();
    if (submit.disabled) return;
    const empty = [user, password].find((field) => field.value === "");
    if (empty) return fail("Enter your name and your password.", empty);
    submit.disabled = true;
    setText(error, "");
    try {
      await credentials.signIn(user.value, password.value);
      location.assign(to);
    } catch (refusal) {
      fail(signInWords(refusal), password);
      password.select();
    } finally {
      submit.disabled = false;
    }
  }

  function fail(words, field) {
    setText(error, words);
    field.focus();
  }

  return { element, unmount: () => {} };
}

/** What a refused sign-in says. */
export function signInWords({ status, code, retry_after_ms }) {
  if (status === 404) return "Signing in is not offered here. Open your personal link instead.";
  if (status === 429) return retry_after_ms ? `Too many tries. Wait ${Math.ceil(retry_after_ms / 1000)} s, then try again.` : "Too many tries. Wait a while, then try again.";
  if (code === "not_registered" || status === 403) return "This account may not come in.";
  if (status >= 400 && status < 500) return "That name and password don't belong together.";
  return "The server could not be asked. Try again in a moment.";
}
