// @ts-check
/**
 * Requests to the service's JSON API: the token against CSRF, and errors as sentences.
 *
 *     const run = await requestJson(`/api/runs/${id}`);
 *     await requestJson("/api/keys", { method: "POST", body: { name: "laptop" } });
 */

const token = document.querySelector('meta[name="csrf-token"]')?.getAttribute("content") ?? "";

/** A response with an error, or none at all: `message` is a sentence, `status` 0 without one. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status
   * @param {string} code
   */
  constructor(message, status, code) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
  }
}

/**
 * Send a request and return its response.
 *
 * @param {string} path
 * @param {{method?: string, body?: unknown, headers?: Record<string, string>, signal?: AbortSignal}} [options]
 * @returns {Promise<Response>}
 * @throws {ApiError} and AbortError when `signal` is aborted
 */
export async function request(path, { method = "GET", body, headers = {}, signal } = {}) {
  /** @type {Record<string, string>} */
  const sent = { Accept: "application/json", ...headers };
  if (token) sent["X-CSRF-Token"] = token;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("The service cannot be reached.", 0, "unreachable");
  }
  if (response.ok) return response;
  throw await readError(response);
}

/**
 * Send a request and return the JSON of its response, null if it has no body.
 *
 * @param {string} path
 * @param {Parameters<typeof request>[1]} [options]
 * @returns {Promise<any>}
 */
export async function requestJson(path, options) {
  const response = await request(path, options);
  return response.status === 204 ? null : response.json();
}

/** Copy `text` to the clipboard, also where the page has no secure origin.
 *
 * @param {string} text
 */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  if (!isCopied) throw new Error("The browser refused to copy.");
}

/** @param {Response} response */
async function readError(response) {
  const wait = response.headers.get("Retry-After");
  let message = `The service answered with an error (${response.status}).`;
  let code = "";
  try {
    const problem = await response.json();
    message = problem.error || message;
    code = problem.code || "";
  } catch {
    // not JSON: a proxy has answered
  }
  if (response.status === 401) message = "You are not logged in any more. Please log in again.";
  if (wait && /^\d+$/.test(wait)) message += ` Please try again in ${wait} s.`;
  return new ApiError(message, response.status, code);
}
