// The page: tabs, the theme, and whether the server is there. Each tab has a module of its own, which starts when the
// tab is first shown.

import { ask } from "./api.js";
import { startChat } from "./chat.js";
import { $, h, speak } from "./dom.js";
import { startInside } from "./inside.js";
import { mark, withArrows } from "./keyboard.js";
import { showForgetButton } from "./key.js";
import { startLearn } from "./learn.js";
import { forget, keep, kept } from "./store.js";
import { startWriting } from "./write.js";

const START = { chat: (served) => (served.can_chat ? startChat(served) : startWriting(served)) };
Object.assign(START, { inside: startInside, learn: startLearn });
const started = new Set();
let served = null;

// --- tabs -------------------------------------------------------------------------------------------------

function show(name) {
  const tab = $(`tab-${name}`);
  mark($("tabs"), "tab", "aria-selected", tab);
  for (const view of Object.keys(START)) $(view).hidden = view !== name;
  history.replaceState(null, "", `#${name}`);
  document.title = `${tab.textContent} · inkling`;
  if (served && !started.has(name)) {
    started.add(name);
    START[name](served);
  }
}

const chosen = () => (location.hash.slice(1) in START ? location.hash.slice(1) : "chat");

// --- the theme --------------------------------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"];

function showTheme() {
  const theme = kept("theme", "auto");
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme").textContent = `Theme: ${theme}`;
}

function nextTheme() {
  const theme = THEMES[(THEMES.indexOf(kept("theme", "auto")) + 1) % THEMES.length];
  if (theme === "auto") forget("theme");
  else keep("theme", theme);
  showTheme();
}

// --- the server -------------------------------------------------------------------------------------------

let waiting = 0;

async function connect() {
  try {
    served = await ask("inside");
  } catch (error) {
    if (error.status) notice(error.message); // what is out of reach is said by waitForServer
    return;
  }
  $("model").textContent = served.model;
  showForgetButton();
  show(chosen());
}

/** Ask for its health every two seconds until it answers. */
function waitForServer() {
  if (waiting) return;
  notice("The server cannot be reached. This page waits for it, and keeps what you have.");
  waiting = setInterval(async () => {
    try {
      const response = await fetch("health", { cache: "no-store" });
      if (!response.ok) return;
    } catch {
      return;
    }
    clearInterval(waiting);
    waiting = 0;
    notice("");
    speak("The server is back.");
    if (served) document.dispatchEvent(new Event("server-back"));
    else connect();
  }, 2000);
}

function notice(text) {
  $("notices").replaceChildren(...(text ? [h("p", {}, text)] : []));
}

withArrows($("tabs"), "tab", (tab) => show(tab.getAttribute("aria-controls")));
$("theme").addEventListener("click", nextTheme);
addEventListener("hashchange", () => show(chosen()));
document.addEventListener("server-lost", waitForServer);
showTheme();
show(chosen());
connect();
