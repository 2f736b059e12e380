// @ts-check
/** Feedback about the answer of a run and about its agents: a thumb and a comment. */

import { requestJson } from "./api.js";

/**
 * @typedef {Record<string, unknown> & {agent?: string, thumb?: string, comment?: string}} Rating
 */

/**
 * Fill the forms with the stored ratings, and save their changes.
 *
 * @param {HTMLElement} run the element of the run
 * @param {(text: string) => void} notify
 */
export async function setUpFeedback(run, notify) {
  const forms = [...run.querySelectorAll("[data-feedback]")];
  if (!forms.length) return;
  const path = `/api/runs/${run.dataset.run}/feedback`;
  /** @type {Rating[]} */
  let ratings = [];
  try {
    ratings = (await requestJson(path)).items;
  } catch (error) {
    notify(error instanceof Error ? error.message : String(error));
  }
  for (const form of forms) {
    if (!(form instanceof HTMLFormElement)) continue;
    const agent = form.dataset.feedback ?? "";
    setUpForm(form, path, ratings.find((each) => (each.agent ?? "") === agent) ?? {}, notify);
  }
}

/**
 * @param {HTMLFormElement} form
 * @param {string} path
 * @param {Rating} stored what other clients have rated as well stays in it
 * @param {(text: string) => void} notify
 */
function setUpForm(form, path, stored, notify) {
  let rating = stored;
  const field = form.querySelector("input");
  const thumbs = [...form.querySelectorAll("[data-thumb]")];
  const show = () => {
    for (const thumb of thumbs) {
      thumb.setAttribute("aria-pressed", String(thumb.getAttribute("data-thumb") === rating.thumb));
    }
  };

  /** @param {string | undefined} thumb */
  const save = async (thumb) => {
    const wished = { ...rating, thumb, comment: field?.value.trim() || undefined };
    try {
      await send(path, form.dataset.feedback ?? "", wished);
      rating = wished;
      notify("Your feedback is saved.");
    } catch (error) {
      notify(error instanceof Error ? error.message : String(error));
    }
    show();
  };

  if (field) field.value = rating.comment ?? "";
  show();
  for (const thumb of thumbs) {
    const value = thumb.getAttribute("data-thumb") ?? undefined;
    thumb.addEventListener("click", () => save(value === rating.thumb ? undefined : value));
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    save(rating.thumb);
  });
}

/** Replace a rating by another one, or delete it if nothing is left of it.
 *
 * @param {string} path
 * @param {string} agent "" for the answer
 * @param {Rating} wished
 */
async function send(path, agent, wished) {
  const { created_at: _, updated_at: __, ...opinion } = wished;
  const body = { ...opinion, ...(agent ? { agent } : {}) };
  const isEmpty = !["score", "thumb", "comment", "better"].some((name) => body[name] !== undefined);
  const query = agent ? `?agent=${encodeURIComponent(agent)}` : "";
  if (isEmpty) await requestJson(path + query, { method: "DELETE" });
  else await requestJson(path, { method: "POST", body });
}
