// @ts-check
/**
 * Updates of the page of a running run.
 *
 * The page is a reader of the run, so the run is not abandoned while it is open. The events only
 * say that something has changed: the server renders the state and the timeline again.
 */

import { loadPart } from "./parts.js";

const EVERY_MS = 1000;
const POLL_MS = 3000;
const TEXTS = new Set(["agent.delta", "agent.reasoning", "answer.delta", "answer.reasoning"]);

/**
 * Follow a run until it has ended, then show all of it.
 *
 * @param {HTMLElement} run the element of the run
 * @param {() => void} onEnd called after the complete run is shown
 */
export function followRun(run, onEnd) {
  const events = new EventSource(`/api/runs/${run.dataset.run}/events`);
  let hasNews = true;
  let isEnded = false;
  let isBusy = false;

  const timer = setInterval(async () => {
    if (isBusy || !hasNews) return;
    isBusy = true;
    hasNews = events.readyState === EventSource.CLOSED; // then nothing reports the next change
    try {
      await update();
    } catch {
      hasNews = true; // offline: the next round tries again
    }
    isBusy = false;
  }, EVERY_MS);
  // The elapsed time and the open bars grow between the events, too.
  const clock = setInterval(() => (hasNews = true), POLL_MS);

  events.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (!TEXTS.has(event.type)) hasNews = true;
    if (event.final) isEnded = true;
    if (event.final) events.close();
  };

  async function update() {
    const part = await loadPart(`/web/runs/${run.dataset.run}?part=progress`);
    const state = part.querySelector("[data-state]")?.getAttribute("data-state");
    if (state === "running") {
      run.querySelector("#progress")?.replaceChildren(...part.childNodes);
      return;
    }
    const page = await loadPart(`/web/runs/${run.dataset.run}`);
    const complete = page.querySelector("#run");
    if (!complete) return;
    clearInterval(timer);
    clearInterval(clock);
    events.close();
    run.replaceChildren(...complete.childNodes);
    delete run.dataset.running;
    onEnd();
    announceEnd(run);
  }
}

/** Let a screen reader announce the state: the notice is a live region.
 *
 * @param {HTMLElement} run
 */
function announceEnd(run) {
  const state = run.querySelector(".state")?.textContent?.trim().replace(/\s+/g, " ");
  const notice = run.querySelector("[data-notice]");
  if (notice) setTimeout(() => (notice.textContent = state ?? ""), 100);
}
