// @ts-check
/** The list of conversations: search while typing, further pages, renaming, deletion with undo. */

import { deleteWithUndo, restorePending } from "./conversation_deletion.js";
import { rename } from "./conversation_renaming.js";
import { loadPart } from "./parts.js";

const PAUSE_MS = 200;

const results = document.querySelector("#results");
const field = document.querySelector("#q");
/** @type {AbortController | undefined} */
let current;
/** @type {number | undefined} */
let timer;

if (results instanceof HTMLElement && field instanceof HTMLInputElement) {
  prepare(results);
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => search(results, field.value.trim()), PAUSE_MS);
  });
  field.form?.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    search(results, field.value.trim());
  });
  results.addEventListener("click", (event) => onClick(results, event));
}

/** @param {HTMLElement} list */
function prepare(list) {
  for (const button of list.querySelectorAll("[data-rename], [data-delete]")) {
    button.removeAttribute("hidden");
  }
  restorePending(list);
}

/** Show the conversations that match, and abort the search before.
 *
 * @param {HTMLElement} list
 * @param {string} text
 */
async function search(list, text) {
  current?.abort();
  const mine = (current = new AbortController());
  const query = text ? `?q=${encodeURIComponent(text)}` : "";
  list.setAttribute("aria-busy", "true");
  try {
    const part = await loadPart(`/web/conversations${query || "?"}&part=list`, mine.signal);
    list.replaceChildren(...part.childNodes);
    prepare(list);
    history.replaceState(null, "", `/web/conversations${query}`);
    announce(list.querySelector("[data-summary]")?.textContent ?? "");
  } catch (error) {
    if (mine.signal.aborted) return;
    announce(error instanceof Error ? error.message : String(error));
  }
  if (mine === current) list.removeAttribute("aria-busy");
}

/** @param {HTMLElement} list @param {MouseEvent} event */
function onClick(list, event) {
  const target = event.target instanceof Element ? event.target : null;
  const item = target?.closest("[data-id]");
  const more = target?.closest("[data-more]");
  if (more instanceof HTMLAnchorElement && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    loadMore(list, more);
  } else if (item instanceof HTMLElement && target?.closest("[data-rename]")) {
    rename(item, announce);
  } else if (item instanceof HTMLElement && target?.closest("[data-delete]")) {
    deleteWithUndo(item, announce);
  }
}

/** Append the next page, and continue the focus at its first item.
 *
 * @param {HTMLElement} list
 * @param {HTMLAnchorElement} more
 */
async function loadMore(list, more) {
  more.setAttribute("aria-disabled", "true");
  try {
    const part = await loadPart(`${more.href}&part=list`);
    const items = [...part.querySelectorAll("[data-id]")];
    list.querySelector("ul")?.append(...items);
    const next = part.querySelector("[data-more]");
    if (next) more.replaceWith(next);
    else more.parentElement?.remove();
    prepare(list);
    items[0]?.querySelector("a")?.focus();
    announce(`${items.length} further conversations.`);
  } catch (error) {
    more.removeAttribute("aria-disabled");
    announce(error instanceof Error ? error.message : String(error));
  }
}

/** @param {string} text */
function announce(text) {
  const notice = document.querySelector("#notice");
  if (notice) notice.textContent = text;
}
