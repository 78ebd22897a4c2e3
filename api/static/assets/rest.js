// Speaking REST with the visitor's token. Errors carry the problem's `code`, the `status` and what else the problem says.

export class Rest {
  /** A JWT, or null for a visitor without one. */
  token;

  constructor(token) {
    this.token = token;
  }

  get(path) {
    return this.#ask(path, { cache: "no-cache" });
  }

  /**
   * Resolves to the answer's JSON, null where there is none. Without `bearer` the token, which may have expired, stays
   * here; `keepalive` lets the request outlive the page.
   */
  post(path, body, { bearer = true, keepalive = false } = {}) {
    return this.#ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), bearer, keepalive });
  }

  async #ask(path, { headers = {}, bearer = true, ...options }) {
    const authorization = this.token && bearer ? { authorization: `Bearer ${this.token}` } : {};
    const response = await fetch(path, { headers: { accept: "application/json", ...authorization, ...headers }, ...options });
    const text = await response.text();
    if (response.ok) return text === "" ? null : JSON.parse(text);
    const problem = problemOf(text);
    const error = new Error(problem.detail ?? problem.title ?? `HTTP ${response.status}`);
    const wait = Number(response.headers.get("retry-after"));
    throw Object.assign(error, { code: problem.code ?? "internal", status: response.status, ...(wait > 0 ? { retry_after_ms: wait * 1000 } : {}) });
  }

  /** False only when the server says that this token (or having none) is not enough. */
  async welcome() {
    try {
      await this.get("/v1/lots?limit=1");
      return true;
    } catch (error) {
      return error.status !== 401 && error.status !== 403;
    }
  }
}

function problemOf(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
