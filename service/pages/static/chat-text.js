// @ts-check
/**
 * A text that grows: complete blocks of HTML, the open block, and plain text behind it.
 *
 * Changes are applied once per frame, and a long text in several frames. The HTML is Markdown that
 * the service has cleaned; everything else is set as text.
 */

const CHARS_PER_FRAME = 25_000;
const PLAIN_PART_CHARS = 6_000;
const PART_CHARS = 10_000; // of HTML: a browser skips parts out of view, and thousands of them cost time
const BLOCKS = new Set("P LI UL OL BLOCKQUOTE H3 H4 H5 H6 PRE CODE".split(" "));

/**
 * @typedef {{at: number, length: number, reset?: boolean, add?: string, from?: number,
 *            parts?: string[], open?: string}} Change
 */

export class GrowingText {
  /** @param {HTMLElement} place  @param {boolean} isMarkdown */
  constructor(place, isMarkdown) {
    this.place = place;
    this.isMarkdown = isMarkdown;
    this.frame = 0;
    this.clear();
  }

  /** Remove the text. */
  clear() {
    this.length = 0;
    /** @type {string[]} */
    this.parts = []; // complete blocks that are not shown yet
    /** @type {HTMLElement | null} */
    this.lastPart = null;
    this.lastPartChars = 0;
    /** @type {string | null} */
    this.openHtml = null; // the open block, if it has changed
    this.tail = ""; // text behind the open block
    this.place.replaceChildren();
    this.open = document.createElement("div");
    this.open.className = "part open";
    // A reader of the screen announces complete blocks, not each token.
    this.open.setAttribute("aria-live", "off");
    this.place.append(this.open);
    this.tailNode = document.createTextNode("");
  }

  /**
   * Apply a change. Return false when it does not continue the text.
   *
   * @param {Change} change
   */
  apply(change) {
    if (change.reset || (change.at === 0 && this.length)) this.clear();
    if (change.at !== this.length) return false;
    this.length = change.length;
    if (change.add !== undefined) {
      this.tail += change.add;
    } else {
      this.parts.push(...(change.parts ?? []));
      this.openHtml = change.open ?? "";
      this.tail = "";
    }
    if (!this.frame) this.frame = requestAnimationFrame(() => this.show());
    return true;
  }

  show() {
    this.frame = 0;
    if (!this.isMarkdown) return this.showPlain();
    let shown = 0;
    while (this.parts.length && shown < CHARS_PER_FRAME) {
      const html = /** @type {string} */ (this.parts.shift());
      shown += html.length;
      this.addBlock(html);
    }
    if (this.parts.length) {
      this.frame = requestAnimationFrame(() => this.show());
      return;
    }
    if (this.openHtml !== null) {
      this.open.innerHTML = this.openHtml;
      this.openHtml = null;
      this.tailNode = document.createTextNode("");
      this.findLastBlock().append(this.tailNode);
    }
    if (this.tailNode.data !== this.tail) {
      if (!this.tailNode.isConnected) this.findLastBlock().append(this.tailNode);
      this.tailNode.data = this.tail;
    }
  }

  /** @param {string} html */
  addBlock(html) {
    if (!this.lastPart || this.lastPartChars > PART_CHARS) {
      this.lastPart = document.createElement("div");
      this.lastPart.className = "part";
      this.lastPartChars = 0;
      this.open.before(this.lastPart);
    }
    this.lastPart.insertAdjacentHTML("beforeend", html);
    this.lastPartChars += html.length;
  }

  showPlain() {
    this.tailNode.data += this.tail;
    this.tail = "";
    if (!this.tailNode.isConnected) this.open.append(this.tailNode);
    if (this.tailNode.length > PLAIN_PART_CHARS) {
      const part = document.createElement("div");
      part.className = "part";
      part.append(this.tailNode);
      this.open.before(part);
      this.tailNode = document.createTextNode("");
    }
  }

  findLastBlock() {
    /** @type {Element} */
    let block = this.open;
    while (block.lastElementChild && BLOCKS.has(block.lastElementChild.tagName)) {
      block = block.lastElementChild;
    }
    return block;
  }
}
