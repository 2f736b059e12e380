// @ts-check
/** Renaming of a conversation in its list: the title becomes a field until it is saved. */

import { requestJson } from "./api.js";

/**
 * Show a field for the title. Enter saves it, Escape leaves the title as it was.
 *
 * @param {HTMLElement} item the item of the list
 * @param {(text: string) => void} announce
 */
export function rename(item, announce) {
  const title = item.querySelector(".title");
  if (!(title instanceof HTMLElement) || item.querySelector(".rename")) return;
  const form = document.createElement("form");
  form.className = "rename";
  const field = document.createElement("input");
  field.value = title.textContent ?? "";
  field.maxLength = 200;
  field.required = true;
  field.setAttribute("aria-label", "Title");
  form.append(field, makeButton("Save", "submit"), makeButton("Cancel", "button"));
  title.hidden = true;
  title.before(form);
  field.select();

  const close = () => {
    form.remove();
    title.hidden = false;
    const button = item.querySelector("[data-rename]");
    if (button instanceof HTMLElement) button.focus();
  };
  form.lastElementChild?.addEventListener("click", close);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const renamed = await requestJson(`/api/conversations/${item.dataset.id}`, {
        method: "PATCH",
        body: { title: field.value },
      });
      applyTitle(item, title, renamed.title);
      close();
      announce(`Renamed to “${renamed.title}”.`);
    } catch (error) {
      announce(error instanceof Error ? error.message : String(error));
      field.focus();
    }
  });
}

/** Set the title in the item and in the names of its links and buttons.
 *
 * @param {HTMLElement} item
 * @param {HTMLElement} shown
 * @param {string} title
 */
function applyTitle(item, shown, title) {
  const before = shown.textContent ?? "";
  shown.textContent = title;
  for (const part of item.querySelectorAll(".actions [aria-label]")) {
    const name = part.getAttribute("aria-label") ?? "";
    if (name.endsWith(before)) {
      part.setAttribute("aria-label", name.slice(0, name.length - before.length) + title);
    }
  }
}

/** @param {string} text @param {"submit" | "button"} type */
function makeButton(text, type) {
  const button = document.createElement("button");
  button.type = type;
  button.textContent = text;
  if (type === "button") button.className = "quiet";
  return button;
}
