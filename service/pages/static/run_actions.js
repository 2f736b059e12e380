// @ts-check
/** The actions on the page of a run: copy its link, rate it, create another answer. */

import { copyText, request } from "./api.js";
import { setUpFeedback } from "./run_feedback.js";

/**
 * Show the actions and let them work.
 *
 * @param {HTMLElement} run the element of the run
 */
export function setUpActions(run) {
  for (const part of run.querySelectorAll("[data-needs-script], [data-copy-link]")) {
    part.removeAttribute("hidden");
  }
  const link = run.querySelector("[data-link]");
  if (link instanceof HTMLInputElement) {
    link.value = new URL(link.value, location.href).href;
    link.addEventListener("focus", () => link.select());
    run.querySelector("[data-copy-link]")?.addEventListener("click", () => copyLink(run, link));
  }
  setUpFeedback(run, (text) => notify(run, text));
  const form = run.querySelector("[data-resynthesize]");
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    if (form instanceof HTMLFormElement) resynthesize(run, form);
  });
}

/** @param {HTMLElement} run @param {string} text */
function notify(run, text) {
  const notice = run.querySelector("[data-notice]");
  if (notice) notice.textContent = text;
}

/** @param {HTMLElement} run @param {HTMLInputElement} link */
async function copyLink(run, link) {
  try {
    await copyText(link.value);
    notify(run, "The link is copied.");
  } catch {
    link.focus();
    notify(run, "The browser refused to copy. The link is selected: copy it with the keyboard.");
  }
}

/** Start the new run and open its page, which reads it.
 *
 * @param {HTMLElement} run
 * @param {HTMLFormElement} form
 */
async function resynthesize(run, form) {
  const wishes = [...new FormData(form)].filter(([, value]) => String(value).trim());
  const button = form.querySelector("button");
  if (button) button.disabled = true;
  const reading = new AbortController();
  try {
    const response = await request(`/api/runs/${run.dataset.run}/resynthesize`, {
      method: "POST",
      body: Object.fromEntries(wishes),
      headers: { Accept: "text/event-stream" },
      signal: reading.signal,
    });
    location.assign(`/web/runs/${response.headers.get("X-Run-Id")}`);
  } catch (error) {
    notify(run, error instanceof Error ? error.message : String(error));
    if (button) button.disabled = false;
  } finally {
    reading.abort(); // the page of the new run is its reader
  }
}
