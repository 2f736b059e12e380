// @ts-check
/** A run in an article of the chat page: its phases, its agents, and the answer as it grows. */

import { request } from "./api.js";
import { GrowingText } from "./chat-text.js";
import { follow } from "./events.js";
import { formatDuration } from "./format.js";

const isWide = window.matchMedia("(min-width: 48rem)");

export class RunView {
  /**
   * @param {HTMLElement} article
   * @param {{onEnd: (state: string) => void, onProblem: (message: string) => void}} listener
   */
  constructor(article, listener) {
    this.article = article;
    this.listener = listener;
    /** @type {Map<string, GrowingText>} */
    this.texts = new Map();
    /** @type {ReturnType<typeof follow> | null} */
    this.stream = null;
    this.startedAt = performance.now();
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.clock = undefined;
    /** When each agent at work started, on the clock of the page. @type {Map<string, number>} */
    this.working = new Map();
    this.shownSecond = 0;
  }

  /** Show the run from its first event, and everything that follows. */
  start() {
    const id = this.article.dataset.run;
    this.article.removeAttribute("data-cut");
    this.article.querySelector(".cut")?.remove();
    this.clock = setInterval(() => this.showElapsed(), 200);
    this.stream = follow(`/web/runs/${id}/live`, {
      onMessage: (message) => this.apply(message),
      onConnection: (isConnected) =>
        this.listener.onProblem(
          isConnected ? "" : "No connection. The answer continues as soon as the service can be reached.",
        ),
      onError: () => this.check(`/api/runs/${id}`),
    });
  }

  /** Stop following the run; the run itself continues. */
  close() {
    this.stream?.close();
    clearInterval(this.clock);
  }

  /** @param {any} message */
  apply(message) {
    if (message.run) this.applyRun(message.run);
    for (const agent of message.agents) this.applyAgent(agent);
    for (const change of message.texts) {
      if (!this.findText(change).apply(change)) {
        this.stream?.restart(); // what is shown is not what the service has sent
        return;
      }
    }
    if (message.run && message.run.phase === "done") this.end(message.run.state);
  }

  /** @param {any} run */
  applyRun(run) {
    this.article.dataset.state = run.state;
    for (const item of this.article.querySelectorAll(".phases li")) {
      const isCurrent = item instanceof HTMLElement && item.dataset.phase === run.phase;
      if (isCurrent) item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
    }
    const place = this.find(".run");
    setText(place, ".words", run.words);
    setText(place, ".facts", run.facts);
    setNotes(this.find(".run-notes"), run.notes);
    this.startedAt = performance.now() - run.elapsed_ms;
  }

  /** @param {any} agent */
  applyAgent(agent) {
    const section = this.findAgent(agent.name);
    const item = this.find(`.strip li[data-agent="${CSS.escape(agent.name)}"]`);
    for (const place of [section, item]) {
      place.dataset.state = agent.state;
      setText(place, ".state", agent.state);
    }
    if (agent.working_ms === undefined) {
      this.working.delete(agent.name);
      this.showFacts(agent.name, agent.facts);
    } else {
      this.working.set(agent.name, performance.now() - agent.working_ms);
    }
    setText(section, ".role", agent.role);
    setText(section, ".model", agent.model);
    setNotes(section.querySelector(".notes"), agent.notes);
  }

  /** @param {string} name  @param {string} facts */
  showFacts(name, facts) {
    for (const place of this.article.querySelectorAll(`[data-agent="${CSS.escape(name)}"]`)) {
      setText(place, ".facts", facts);
    }
  }

  /** @param {string} name */
  findAgent(name) {
    const agents = this.find(".agents");
    const known = agents.querySelector(`[data-agent="${CSS.escape(name)}"]`);
    if (known instanceof HTMLElement) return known;
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById("agent-template"));
    const section = /** @type {HTMLElement} */ (
      /** @type {DocumentFragment} */ (template.content.cloneNode(true)).firstElementChild
    );
    section.dataset.agent = name;
    section.setAttribute("aria-label", name);
    section.id = `agent-${agents.children.length + 1}`;
    setText(section, "h3", name);
    setText(section, ".said summary", `Answer of ${name}`);
    agents.append(section);
    this.addToStrip(name, section.id);
    return section;
  }

  /** @param {string} name  @param {string} id */
  addToStrip(name, id) {
    const item = document.createElement("li");
    item.dataset.agent = name;
    const link = document.createElement("a");
    link.href = `#${id}`;
    const label = document.createElement("b");
    label.textContent = name;
    const parts = ["state", "facts"].map((each) => {
      const span = document.createElement("span");
      span.className = each;
      return span;
    });
    link.append(label, " ", parts[0], " ", parts[1]);
    item.append(link);
    this.find(".strip").append(item);
  }

  /** @param {{of: string, name: string, kind: string}} change */
  findText({ of, name, kind }) {
    const key = JSON.stringify([of, name, kind]);
    let text = this.texts.get(key);
    if (!text) {
      text = new GrowingText(this.findPlace(of, name, kind), kind === "text");
      this.texts.set(key, text);
    }
    return text;
  }

  /** @param {string} of  @param {string} name  @param {string} kind */
  findPlace(of, name, kind) {
    if (of === "answer" && kind === "text") return this.find(".answer");
    const owner = of === "answer" ? this.article : this.findAgent(name);
    const folded = /** @type {HTMLDetailsElement} */ (
      owner.querySelector(kind === "text" ? ".said" : ".thoughts")
    );
    folded.hidden = false;
    if (kind === "text") folded.open = isWide.matches;
    return /** @type {HTMLElement} */ (folded.querySelector(".text"));
  }

  showElapsed() {
    const now = performance.now();
    setText(this.find(".run"), ".elapsed", formatDuration(now - this.startedAt));
    const second = Math.floor(now / 1000);
    if (second === this.shownSecond) return;
    this.shownSecond = second;
    for (const [name, startedAt] of this.working) {
      this.showFacts(name, `${Math.round((now - startedAt) / 1000)} s`);
    }
  }

  /** @param {string} state */
  end(state) {
    this.close();
    setText(this.find(".run"), ".elapsed", "");
    this.listener.onProblem("");
    this.listener.onEnd(state);
  }

  /** Find out whether the run can still be read. @param {string} path */
  async check(path) {
    try {
      await request(path);
    } catch (error) {
      const status = error instanceof Error && "status" in error ? Number(error.status) : 0;
      if (![401, 403, 404, 410].includes(status)) return;
      this.listener.onProblem(/** @type {Error} */ (error).message);
      this.listener.onEnd("unknown");
      throw error;
    }
  }

  /** @param {string} selector */
  find(selector) {
    return /** @type {HTMLElement} */ (this.article.querySelector(selector));
  }
}

/** @param {Element} place  @param {string} selector  @param {string} text */
function setText(place, selector, text) {
  const element = place.querySelector(selector);
  if (element && element.textContent !== text) element.textContent = text;
}

/** @param {Element | null} list  @param {string[]} notes */
function setNotes(list, notes) {
  if (!list || list.children.length === notes.length) return;
  list.replaceChildren(
    ...notes.map((note) => {
      const item = document.createElement("li");
      item.textContent = note;
      return item;
    }),
  );
}
