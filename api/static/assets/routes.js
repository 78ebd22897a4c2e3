// Which page an address names. Pure.

/** `{page: "lot", id}`, `{page: "wallet"}`, `{page: "sign-in"}` or `{page: "list"}`. */
export function route(path) {
  const named = path.match(/^\/(wallet|sign-in)\/?$/);
  if (named) return { page: named[1] };
  const lot = path.match(/^\/lots\/([^/]+)\/?$/);
  return lot ? { page: "lot", id: lotId(lot[1]) } : { page: "list" };
}

/** The address of the sign-in page that leads back to `path` afterwards. */
export function signInFor(path) {
  return path === "/" ? "/sign-in" : `/sign-in?${new URLSearchParams({ to: path })}`;
}

/** Where to go after signing in: a page of this server that the query names, else the list. */
export function afterSignIn(query) {
  const to = new URLSearchParams(query).get("to") ?? "/";
  return /^\/[^/\\]/.test(to) && ["lot", "wallet"].includes(route(to).page) ? to : "/";
}

/**
 * A lot's id as the server writes it. It takes UUIDs also in capitals, without hyphens, in braces or as a URN, but answers
 * and pushes name the lot in one form only. What is no UUID stays as it is.
 */
export function lotId(text) {
  let bare = text;
  try {
    bare = decodeURIComponent(text);
  } catch {
    // A stray percent sign: no id either way.
  }
  const hex = bare.toLowerCase().replace(/^urn:uuid:|^\{|\}$/g, "").replaceAll("-", "");
  if (!/^[0-9a-f]{32}$/.test(hex)) return bare;
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
