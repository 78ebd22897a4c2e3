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

  wallet(bidder) {
    return this.get(`/v1/wallets/${encodeURIComponent(bidder)}`);
  }
}
