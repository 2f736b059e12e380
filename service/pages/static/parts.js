// @ts-check
/**
 * Parts of pages that the server renders again: the script of a page replaces its own with them.
 *
 *     document.querySelector("#results")?.replaceChildren(...(await loadPart("?part=list")).children);
 */

import { request } from "./api.js";

/**
 * Load a page or a part of one.
 *
 * The server escapes and cleans the text of models and users in it, and the policy of the page
 * forbids inline scripts.
 *
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<HTMLElement>} its body, which is not yet in the document
 */
export async function loadPart(path, signal) {
  const response = await request(path, { headers: { Accept: "text/html" }, signal });
  if (response.redirected) {
    location.assign(response.url); // the login has ended
    throw new Error("The page has moved.");
  }
  return new DOMParser().parseFromString(await response.text(), "text/html").body;
}
