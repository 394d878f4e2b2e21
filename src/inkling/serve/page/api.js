// Talking to the server. Whatever goes wrong arrives as a Refusal, whose message is for people.

import { askForKey, storedKey } from "./key.js";

export class Refusal extends Error {
  /** `status` is HTTP's, and 0 where no answer came. */
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

const LOST = "The server cannot be reached. Is it still running?";

/** GET a path, or POST `body` to it; returns what the JSON says. */
export async function ask(path, body, signal) {
  const response = await send(path, body, signal);
  try {
    return await response.json();
  } catch (error) {
    throw whyNot(error);
  }
}

/** POST and yield each event of the stream until it says that it is done. */
export async function* stream(path, body, signal) {
  const response = await send(path, { ...body, stream: true }, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split(/\r?\n/);
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") return;
        const event = JSON.parse(data);
        if (event.error) throw new Refusal(event.error.message ?? "The server gave up.", 500);
        yield event;
      }
    }
  } catch (error) {
    throw whyNot(error);
  } finally {
    reader.cancel().catch(() => {}); // a reader that leaves early lets the server stop
  }
  lost();
  throw new Refusal("The connection to the server was lost before the end.");
}

/** Whether `error` only says that the person pressed Stop. */
export const wasStopped = (error) => error?.name === "AbortError";

async function send(path, body, signal) {
  for (;;) {
    const key = storedKey();
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const request = { headers, signal, credentials: "omit", cache: "no-store" };
    if (body !== undefined) {
      headers["Content-Type"] = "application/json";
      Object.assign(request, { method: "POST", body: JSON.stringify(body) });
    }
    let response;
    try {
      response = await fetch(path, request);
    } catch (error) {
      throw whyNot(error);
    }
    if (response.ok) return response;
    if (response.status !== 401) throw await refusalOf(response);
    if (!(await askForKey(key !== ""))) throw new Refusal("The server wants a key.", 401);
  }
}

async function refusalOf(response) {
  let words = "";
  try {
    const { error, detail } = await response.json();
    words = error?.message ?? (typeof detail === "string" ? detail : "");
  } catch {
    // Not JSON: what is known is the status.
  }
  if (response.status === 429) {
    const seconds = response.headers.get("Retry-After");
    words = `The server is busy. Try again ${seconds ? `in ${seconds} s` : "in a moment"}.`;
  }
  return new Refusal(words || `The server answered ${response.status}, and did not say why.`, response.status);
}

function whyNot(error) {
  if (wasStopped(error) || error instanceof Refusal) return error;
  if (error instanceof SyntaxError) return new Refusal("The server said something that this page does not understand.", 500);
  lost();
  return new Refusal(LOST);
}

function lost() {
  document.dispatchEvent(new Event("server-lost"));
}
