// @ts-check
/** The chat page: asks questions, follows the run that answers, and acts on earlier answers. */

import { copyText, request, requestJson } from "./api.js";
import { Draft } from "./chat-draft.js";
import { RunView } from "./chat-run.js";

/** @param {string} selector  @param {ParentNode} [place] */
const find = (selector, place = document) => /** @type {any} */ (place.querySelector(selector));

const chat = find(".chat");
const log = find(".log");
const form = /** @type {HTMLFormElement | null} */ (find("form.ask"));
const question = /** @type {HTMLTextAreaElement | null} */ (find("#question"));
let draft = new Draft(chat.dataset.conversation);
let replaces = "";
/** @type {{body: string, key: string} | null} */
let sent = null; // a repetition of the same question attaches to its run
/** @type {RunView | null} */
let running = null;

/** @param {string} message  @param {string} [place] */
function showProblem(message, place = ".problem") {
  const shown = find(place) ?? find(".connection");
  shown.textContent = message;
  shown.hidden = !message;
}

/** @param {boolean} isRunning */
function setRunning(isRunning) {
  if (!form) return;
  find(".submit").disabled = isRunning;
  find(".stop").disabled = !isRunning;
}

/** @param {HTMLElement} article */
function followRun(article) {
  setRunning(true);
  running = new RunView(article, {
    onProblem: (message) => showProblem(message, ".connection"),
    onEnd: (state) => {
      running = null;
      setRunning(false);
      find('[data-action="retry"]', article)?.toggleAttribute(
        "hidden",
        !["failed", "interrupted", "cancelled"].includes(state),
      );
    },
  });
  running.start();
}

/** Remove what only the newest exchange has. @param {HTMLElement} article */
function makeEarlier(article) {
  for (const each of article.querySelectorAll(".strip, .agents")) each.remove();
  const answer = find(".answer", article);
  answer.removeAttribute("aria-label");
  answer.removeAttribute("aria-live");
  const run = find(".run", article);
  for (const name of ["role", "aria-label", "aria-atomic"]) run.removeAttribute(name);
}

/** @param {string} text  @param {string} ensemble  @param {{run_id: string}} started */
function addExchange(text, ensemble, started) {
  const last = log.lastElementChild;
  if (last) makeEarlier(last);
  const article = find("#exchange-template").content.firstElementChild.cloneNode(true);
  article.dataset.run = started.run_id;
  article.dataset.ensemble = ensemble;
  find(".text", article).textContent = text;
  find(".actions .hint", article).textContent = ensemble;
  find(".details-link", article).href = `/web/runs/${started.run_id}`;
  log.append(article);
  article.scrollIntoView({ block: "start" });
  return article;
}

/** Start a run. @param {Record<string, string>} fields */
async function startRun(fields) {
  const body = Object.fromEntries(Object.entries(fields).filter(([, value]) => value));
  const text = JSON.stringify(body);
  if (sent?.body !== text) sent = { body: text, key: makeKey() };
  const headers = { "Idempotency-Key": sent.key };
  const started = await requestJson("/web/chat", { method: "POST", body, headers });
  sent = null;
  return started;
}

function makeKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function ask() {
  if (!question || running) return;
  const text = question.value;
  if (!text.trim()) return question.focus();
  const ensemble = find("#ensemble").value;
  showProblem("");
  find(".submit").disabled = true;
  try {
    const conversation = chat.dataset.conversation;
    const leaf = replaces ? "" : chat.dataset.leaf;
    const started = await startRun({
      message: text, ensemble, conversation_id: conversation, replaces, leaf,
    });
    draft.write("");
    if (replaces || leaf) return location.assign(started.path);
    question.value = "";
    if (!conversation) enterConversation(started);
    followRun(addExchange(text, ensemble, started));
  } catch (error) {
    find(".submit").disabled = false;
    showProblem(/** @type {Error} */ (error).message);
  }
}

/** @param {{conversation_id: string, path: string}} started */
function enterConversation(started) {
  chat.dataset.conversation = started.conversation_id;
  draft = new Draft(started.conversation_id);
  history.replaceState(null, "", started.path);
  const link = find(".export");
  link.href = `/api/conversations/${started.conversation_id}/export?format=markdown`;
  link.hidden = false;
}

/** Ask the question of an earlier run in a new branch. @param {HTMLElement} article  @param {string} ensemble */
async function askAgain(article, ensemble) {
  const started = await startRun({
    message: find(".text", article).textContent,
    ensemble,
    conversation_id: chat.dataset.conversation,
    replaces: article.dataset.run ?? "",
  });
  location.assign(started.path);
}

/** @type {Record<string, (article: HTMLElement, button: HTMLElement) => Promise<unknown> | void>} */
const ACTIONS = {
  copy: async (article, button) => {
    const run = await requestJson(`/api/runs/${article.dataset.run}`);
    await copyText(run.answer);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy answer"), 2_000);
  },
  again: (article) => askAgain(article, find("#ensemble").value),
  "ask-one": (article, button) => {
    const name = /** @type {HTMLElement} */ (button.closest(".agent")).dataset.agent ?? "";
    return askAgain(article, `agent/${name.replace(/#\d+$/, "")}`);
  },
  retry: async (article) => {
    const path = `/api/runs/${article.dataset.run}/retry`;
    const response = await request(path, { method: "POST", headers: { Accept: "text/event-stream" } });
    await response.body?.cancel();
    location.assign(`/web/chat/${chat.dataset.conversation}`);
  },
  edit: (article) => {
    if (!question) return;
    replaces = article.dataset.run ?? "";
    question.value = find(".text", article).textContent;
    find(".editing").hidden = false;
    question.focus();
  },
  "cancel-edit": () => {
    replaces = "";
    if (question) question.value = draft.read();
    find(".editing").hidden = true;
    question?.focus();
  },
  "show-all": (article) => new RunView(article, { onEnd() {}, onProblem() {} }).start(),
};

chat.addEventListener("click", async (/** @type {MouseEvent} */ event) => {
  const button = /** @type {HTMLElement} */ (event.target).closest("[data-action]");
  if (!(button instanceof HTMLButtonElement)) return;
  const article = /** @type {HTMLElement} */ (button.closest(".exchange"));
  button.disabled = true;
  showProblem("");
  try {
    await ACTIONS[button.dataset.action ?? ""](article, button);
  } catch (error) {
    showProblem(/** @type {Error} */ (error).message);
  } finally {
    button.disabled = false;
  }
});

// An agent of the strip is shown with its answer, which is folded on a phone.
chat.addEventListener("click", (/** @type {MouseEvent} */ event) => {
  const link = /** @type {HTMLElement} */ (event.target).closest(".strip a");
  const said = link && find(`${link.getAttribute("href")} .said`);
  if (said) said.open = true;
});

if (form && question) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void ask();
  });
  question.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  question.addEventListener("input", () => replaces || draft.write(question.value));
  question.value ||= draft.read();
  find(".stop").addEventListener("click", async () => {
    const id = running?.article.dataset.run;
    try {
      if (id) await request(`/api/runs/${id}/cancel`, { method: "POST" });
    } catch (error) {
      showProblem(/** @type {Error} */ (error).message);
    }
  });
}

document.documentElement.classList.add("has-script");
setRunning(false); // with accounts, the button waits for this script
const current = log.lastElementChild;
if (current instanceof HTMLElement && current.dataset.state === "running") followRun(current);
