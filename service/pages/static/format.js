// @ts-check
/** Times, amounts of money and token counts as text, as `service/pages/words.py` writes them. */

/** @param {number | null | undefined} usd in US dollars; null is an unknown price */
export function formatCost(usd) {
  if (usd === null || usd === undefined) return "";
  if (usd === 0) return "$0";
  if (usd < 0.01) return `$${usd.toFixed(1 - Math.floor(Math.log10(usd)))}`;
  if (usd < 1) return `$${usd.toFixed(3)}`;
  return `$${usd.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

/** @param {number | null | undefined} ms in milliseconds */
export function formatDuration(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** @param {number} count @param {boolean} [isEstimated] */
export function formatTokens(count, isEstimated = false) {
  const shown = `${count.toLocaleString("en-US")} ${count === 1 ? "token" : "tokens"}`;
  return isEstimated ? `about ${shown}` : shown;
}

/** @param {string} isoTime */
export function formatTime(isoTime) {
  return new Date(isoTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
