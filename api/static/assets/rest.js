// Reading over REST with the visitor's token: lots, histories, wallets. Errors carry the problem's `code` and `status`.

export class Rest {
  #token;

  constructor(token) {
    this.#token = token;
  }

  async get(path) {
    const headers = { accept: "application/json" };
    if (this.#token) headers.authorization = `Bearer ${this.#token}`;
    const response = await fetch(path, { headers, cache: "no-cache" });
    if (response.ok) return response.json();
    const problem = await response.json().catch(() => ({}));
    const error = new Error(problem.detail ?? problem.title ?? `HTTP ${response.status}`);
    throw Object.assign(error, { code: problem.code ?? "internal", status: response.status });
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

  lots(status, limit = 100) {
    return this.get(`/v1/lots?status=${status}&limit=${limit}`);
  }

  /** All pages of a list in order, at most `pages` of 500; stops early when `wanted()` turns false. */
  async *pages(path, wanted, pages = 100) {
    let cursor = null;
    for (let page = 0; page < pages && wanted(); page++) {
      const next = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
      const answer = await this.get(`${path}?limit=500${next}`);
      yield answer.items;
      cursor = answer.next;
      if (cursor === null || cursor === undefined) return;
    }
  }

  wallet(bidder) {
    return this.get(`/v1/wallets/${encodeURIComponent(bidder)}`);
  }
}
