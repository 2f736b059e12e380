// @ts-check
/**
 * Deletion of conversations with undo.
 *
 * A deletion is final for the service, so it is sent only when the time for undo is over. When the
 * page is closed before, nothing is deleted: rather a conversation too much than one too few.
 */

import { ApiError, requestJson } from "./api.js";

const UNDO_S = 10;

/** The timers of pending deletions by the id of the conversation. @type {Map<string, number>} */
const pending = new Map();
/** The content of items that show a pending deletion. @type {WeakMap<HTMLElement, ChildNode[]>} */
const contents = new WeakMap();

/**
 * Delete a conversation after the time for undo.
 *
 * @param {HTMLElement} item the item of the list
 * @param {(text: string) => void} announce
 */
export function deleteWithUndo(item, announce) {
  const id = item.dataset.id ?? "";
  const title = item.querySelector(".title")?.textContent ?? "";
  pending.set(id, setTimeout(() => send(id, title, announce), UNDO_S * 1000));
  const undo = showPending(item, title, announce);
  undo.focus();
  announce(`“${title}” will be deleted in ${UNDO_S} seconds.`);
}

/** Show pending deletions in items that were loaded again.
 *
 * @param {HTMLElement} list
 */
export function restorePending(list) {
  for (const item of list.querySelectorAll("[data-id]")) {
    if (item instanceof HTMLElement && pending.has(item.dataset.id ?? "")) {
      const title = item.querySelector(".title")?.textContent ?? "";
      showPending(item, title, () => {});
    }
  }
}

/**
 * Replace the item's content by a sentence and two buttons; return the button for undo.
 *
 * @param {HTMLElement} item
 * @param {string} title
 * @param {(text: string) => void} announce
 */
function showPending(item, title, announce) {
  contents.set(item, [...item.childNodes]);
  const id = item.dataset.id ?? "";
  const sentence = document.createElement("span");
  sentence.textContent = `“${title}” will be deleted. `;
  const undo = makeButton(`Undo: deletion of ${title}`, "Undo");
  const now = makeButton(`Delete now: ${title}`, "Delete now");
  undo.addEventListener("click", () => {
    clearTimeout(pending.get(id));
    pending.delete(id);
    restore(item);
    const button = item.querySelector("[data-delete]");
    if (button instanceof HTMLElement) button.focus();
    announce(`“${title}” is not deleted.`);
  });
  now.addEventListener("click", () => {
    clearTimeout(pending.get(id));
    send(id, title, announce);
  });
  const actions = document.createElement("div");
  actions.className = "actions";
  actions.append(sentence, undo, now);
  item.replaceChildren(actions);
  return undo;
}

/** @param {string} id @param {string} title @param {(text: string) => void} announce */
async function send(id, title, announce) {
  let error;
  try {
    await requestJson(`/api/conversations/${id}`, { method: "DELETE" });
  } catch (caught) {
    error = caught;
  }
  pending.delete(id);
  const item = findItem(id);
  const isGone = !error || (error instanceof ApiError && error.status === 404);
  if (isGone && item) removeItem(item);
  else if (item) restore(item);
  announce(isGone ? `“${title}” is deleted.` : `“${title}” is not deleted. ${error.message}`);
}

/** @param {HTMLElement} item */
function restore(item) {
  item.replaceChildren(...(contents.get(item) ?? []));
}

/** Remove an item, and move the focus to its neighbour if it was inside.
 *
 * @param {HTMLElement} item
 */
function removeItem(item) {
  const neighbour = item.nextElementSibling ?? item.previousElementSibling;
  if (item.contains(document.activeElement)) {
    const next = neighbour?.querySelector("a, button") ?? document.querySelector("#q");
    if (next instanceof HTMLElement) next.focus();
  }
  item.remove();
}

/** @param {string} id @returns {HTMLElement | undefined} */
function findItem(id) {
  for (const item of document.querySelectorAll("[data-id]")) {
    if (item instanceof HTMLElement && item.dataset.id === id) return item;
  }
}

/** @param {string} name @param {string} text */
function makeButton(name, text) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = text;
  button.setAttribute("aria-label", name);
  return button;
}
