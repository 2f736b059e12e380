// @ts-check
/** The page of a run: updates while it runs, and its actions. Without it the page can be read. */

import { followRun } from "./run_live.js";
import { setUpActions } from "./run_actions.js";

const run = document.querySelector("#run");
if (run instanceof HTMLElement) {
  setUpActions(run);
  if ("running" in run.dataset) followRun(run, () => setUpActions(run));
}

// The agents of a passage cover text: Escape hides them (WCAG 1.4.13).
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const passages = document.querySelector(".passages");
  passages?.classList.add("dismissed");
  const show = () => passages?.classList.remove("dismissed");
  for (const type of ["pointerover", "focusin"]) {
    passages?.addEventListener(type, show, { once: true });
  }
});
