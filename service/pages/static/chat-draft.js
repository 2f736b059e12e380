// @ts-check
/** The unsent question of a conversation, which survives a reload. */

export class Draft {
  /** @param {string} conversation "" for a new one */
  constructor(conversation) {
    this.name = `lsse.draft.${conversation || "new"}`;
  }

  read() {
    try {
      return localStorage.getItem(this.name) ?? "";
    } catch {
      return ""; // the browser stores nothing for this page
    }
  }

  /** @param {string} text */
  write(text) {
    try {
      if (text) localStorage.setItem(this.name, text);
      else localStorage.removeItem(this.name);
    } catch {
      // the draft is lost with the page
    }
  }
}
