// REST, as the pages use it.
import { at, keptTexts } from "./page.js";

/** A request the server refused: its code, a sentence, and the fields that are wrong. */
export class ApiError extends Error {
  constructor(status, { code = "unavailable", detail, errors = [] }) {
    super(detail ?? "The server cannot be reached.");
    this.status = status;
    /** Whether the same question gets the same answer: nothing was in the way. */
    this.isFinal = status >= 400 && status < 500 && status !== 429;
    this.code = code;
    this.errors = errors;
  }
}

export async function request(method, path, { body, key } = {}) {
  const headers = {};
  if (body) headers["Content-Type"] = "application/json";
  if (key) headers.Authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(at(`api/v1${path}`), { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new ApiError(0, {});
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, answer);
  return answer;
}

// The key stays in this browser; a link with `#key=…` carries it to another one of the host's. Without storage it lives as
// long as the page.
const keyName = (code) => `key.${code}`;

export const storedKey = (code) => keptTexts.read(keyName(code));
export const storeKey = (code, key) => keptTexts.write(keyName(code), key);
export const forgetKey = (code) => keptTexts.write(keyName(code), null);
