// Lists that are longer than one answer: read page by page, and gone on with later from where the reading was.

const PAGE = 500;
/** How much is read at one go: 50,000 items. */
const PAGES_AT_ONCE = 100;

/** One list, oldest first, as the server answers it in pages with a cursor. */
export class Listing {
  /** Whether the last reading stopped before the list's end. */
  cut = false;

  #rest;
  #path;
  #query;
  #cursor = null; // of the last page that was read: it may have grown since

  constructor(rest, path, query = {}) {
    this.#rest = rest;
    this.#path = path;
    this.#query = query;
  }

  /** The pages that follow, the last one of an earlier reading again; stops when `wanted()` turns false. One reading at a time. */
  async *pages(wanted = () => true, atMost = PAGES_AT_ONCE) {
    for (let page = 0; page < atMost; page++) {
      if (!wanted()) return;
      const cursor = this.#cursor === null ? {} : { cursor: this.#cursor };
      const answer = await this.#rest.get(`${this.#path}?${new URLSearchParams({ ...this.#query, limit: PAGE, ...cursor })}`);
      yield answer.items;
      if ((answer.next ?? null) === null) {
        this.cut = false;
        return;
      }
      this.#cursor = answer.next;
    }
    this.cut = true;
  }
}
