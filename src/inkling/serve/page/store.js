// What this browser remembers: settings, the key, and conversations, each under a name of its own, so that two windows
// do not write over each other's.

const PREFIX = "inkling.";
const CONVERSATION = "conversation.";
const memory = new Map(); // for a browser that keeps nothing

/** What was kept under `name`, or `fallback`. */
export function kept(name, fallback) {
  try {
    const text = localStorage.getItem(PREFIX + name) ?? memory.get(name);
    return text == null ? fallback : JSON.parse(text);
  } catch {
    return memory.has(name) ? JSON.parse(memory.get(name)) : fallback;
  }
}

/** Keep it; false where the browser has no room, and it lives only as long as the page. */
export function keep(name, value) {
  const text = JSON.stringify(value);
  try {
    localStorage.setItem(PREFIX + name, text);
    memory.delete(name);
    return true;
  } catch {
    memory.set(name, text);
    try {
      localStorage.removeItem(PREFIX + name); // an older one must not come back
    } catch {
      // There is no storage at all.
    }
    return false;
  }
}

export function forget(name) {
  memory.delete(name);
  try {
    localStorage.removeItem(PREFIX + name);
  } catch {
    // There is no storage at all.
  }
}

// --- conversations ----------------------------------------------------------------------------------------

/** { id, system, messages: [{ role, content, facts? }], changed }, the latest first. */
export function conversations() {
  const found = names()
    .filter((name) => name.startsWith(CONVERSATION))
    .map((name) => kept(name, null))
    .filter((one) => one && typeof one.id === "string" && Array.isArray(one.messages));
  return found.sort((one, other) => other.changed - one.changed);
}

export function newConversation() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  const id = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return { id, system: "", messages: [], changed: Date.now() };
}

export const loadConversation = (id) => kept(CONVERSATION + id, null);

export const saveConversation = (one) => keep(CONVERSATION + one.id, one);

export const removeConversation = (one) => forget(CONVERSATION + one.id);

/** The first question, shortened. */
export function titleOf(one) {
  const first = one.messages.find((message) => message.role === "user")?.content.trim() ?? "";
  return first.length > 60 ? `${first.slice(0, 59)}…` : first || "New conversation";
}

function names() {
  try {
    const all = Object.keys(localStorage).filter((name) => name.startsWith(PREFIX));
    return [...new Set([...all.map((name) => name.slice(PREFIX.length)), ...memory.keys()])];
  } catch {
    return [...memory.keys()];
  }
}
