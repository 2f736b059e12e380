// @ts-check
/** A secret that the server returns once, such as a key: shown in a region, with a copy button. */
import { copyText } from "./api.js";

/**
 * Show a secret in the region `id`, and move the focus to it.
 *
 * @param {string} id
 * @param {string} name
 * @param {string} secret
 */
export function showSecret(id, name, secret) {
  const region = /** @type {HTMLElement} */ (document.getElementById(id));
  const field = /** @type {HTMLInputElement} */ (document.getElementById(`${id}-text`));
  const label = document.getElementById(`${id}-name`);
  const status = region.querySelector("[role=status]");
  if (label) label.textContent = name;
  if (status) status.textContent = "";
  field.value = secret;
  region.hidden = false;
  region.focus();
}

/** Let the buttons with `data-copy="<id of a field>"` copy its text. */
export function connectCopying() {
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("[data-copy]") : null;
    if (button instanceof HTMLElement) void copy(button);
  });
}

/** @param {HTMLElement} button */
async function copy(button) {
  const field = /** @type {HTMLInputElement} */ (document.getElementById(button.dataset.copy ?? ""));
  const status = button.parentElement?.querySelector("[role=status]");
  let result = "Copied.";
  try {
    await copyText(field.value);
  } catch {
    result = "The browser did not permit it. The text is selected: press Ctrl+C or ⌘C.";
  }
  field.select();
  if (status) status.textContent = result;
}
