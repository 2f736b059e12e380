// @ts-check
/**
 * Forms that call the JSON API, described by attributes:
 *
 * - `data-call="POST /api/keys"`: the request
 * - `data-confirm`: a question before it; `data-confirm-word`: a word that the visitor types
 * - `data-done`: the sentence after it; `data-then`: the name of a follow-up
 *
 * Fields become JSON by `data-as`: text (default), list, flag, number, days, query (of the
 * address), skip. Those with `data-in` are collected in an object of that name, which is null when
 * all are empty; other empty fields are omitted.
 */
import { requestJson } from "./api.js";

/** @typedef {(answer: any) => void} FollowUp */

const DAY_MS = 86_400_000;

/**
 * Let the forms of the page call the API, also those that replace them later.
 *
 * @param {Record<string, FollowUp>} followUps by the names of `data-then`
 */
export function connectForms(followUps = {}) {
  enableForms(document);
  // For browsers that do not know the media feature `scripting`.
  for (const each of document.querySelectorAll(".no-script")) each.remove();
  document.addEventListener("submit", (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (form.dataset.call === undefined) return;
    event.preventDefault();
    void submit(form, followUps);
  });
}

/**
 * Show the result of an action.
 *
 * @param {string} text
 * @param {boolean} [isError]
 */
function showResult(text, isError = false) {
  const result = find("result");
  result.classList.toggle("error", isError);
  result.textContent = text;
}

/**
 * @param {HTMLFormElement} form
 * @param {Record<string, FollowUp>} followUps
 */
async function submit(form, followUps) {
  const { call = "", confirm, confirmWord, done = "Done.", then = "" } = form.dataset;
  if (confirm && !(await ask(confirm, confirmWord))) return;
  const [method, path] = call.split(" ");
  const { body, query } = readFields(form);
  setBusy(form, true);
  showResult("");
  try {
    const options = method === "DELETE" ? { method } : { method, body };
    const answer = await requestJson(path + query, options);
    form.reset();
    await refresh();
    showResult(done);
    followUps[then]?.(answer);
  } catch (error) {
    showResult(error instanceof Error ? error.message : String(error), true);
  } finally {
    setBusy(form, false);
  }
}

/**
 * Return the fields of a form as the body and the query of a request.
 *
 * @param {HTMLFormElement} form
 */
function readFields(form) {
  /** @type {Record<string, any>} */
  const body = {};
  const query = new URLSearchParams();
  for (const field of /** @type {Iterable<HTMLInputElement>} */ (form.elements)) {
    const { as = "text", in: group } = field.dataset;
    if (!field.name || as === "skip") continue;
    if (group) body[group] ??= null;
    if (as === "flag") body[field.name] = field.checked;
    else if (as === "list") body[field.name] = [...(body[field.name] ?? []), ...checked(field)];
    else if (field.value === "") continue;
    else if (as === "query") query.set(field.name, field.value);
    else if (group) body[group] = { ...body[group], [field.name]: convert(field.value, as) };
    else body[field.name] = convert(field.value, as);
  }
  return { body, query: query.size ? `?${query}` : "" };
}

/** @param {HTMLInputElement} field */
function checked(field) {
  return field.checked ? [field.value] : [];
}

/**
 * @param {string} value
 * @param {string} as
 */
function convert(value, as) {
  if (as === "number") return Number(value);
  if (as === "days") return new Date(Date.now() + Number(value) * DAY_MS).toISOString();
  return value;
}

/**
 * Ask before an action that cannot be undone; return whether the visitor agreed.
 *
 * @param {string} text
 * @param {string | undefined} word
 * @returns {Promise<boolean>}
 */
function ask(text, word) {
  const dialog = /** @type {HTMLDialogElement} */ (find("confirm"));
  const input = /** @type {HTMLInputElement} */ (find("confirm-input"));
  find("confirm-text").textContent = text;
  find("confirm-name").textContent = word ?? "";
  find("confirm-word").hidden = word === undefined;
  input.value = "";
  input.required = word !== undefined;
  dialog.returnValue = "cancel";
  dialog.showModal();
  (word === undefined ? find("confirm-cancel") : input).focus();
  return new Promise((resolve) => {
    const decide = () => {
      const isRight = word === undefined || input.value === word;
      const agreed = dialog.returnValue === "yes";
      if (agreed && !isRight) showResult(`This is not ${word}: nothing was changed.`, true);
      resolve(agreed && isRight);
    };
    dialog.addEventListener("close", decide, { once: true });
  });
}

/** Replace each element with `data-fresh` by its current state on the server. */
async function refresh() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const old of document.querySelectorAll("[data-fresh]")) {
    const current = page.getElementById(old.id);
    if (!current) continue;
    enableForms(current);
    old.replaceWith(document.adoptNode(current));
  }
}

/** @param {ParentNode} root */
function enableForms(root) {
  for (const fields of root.querySelectorAll("form[data-call] > fieldset")) {
    /** @type {HTMLFieldSetElement} */ (fields).disabled = false;
  }
}

/**
 * @param {HTMLFormElement} form
 * @param {boolean} isBusy
 */
function setBusy(form, isBusy) {
  for (const button of form.querySelectorAll("button")) button.disabled = isBusy;
}

/** @param {string} id */
function find(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}
