// For a model that cannot chat: it goes on with a text.

import { answerInto } from "./answer.js";
import { $, speak, throttled } from "./dom.js";
import { inWords } from "./meter.js";
import { startSampling } from "./sampling.js";
import { keep, kept } from "./store.js";

let stopper = null;
let before = null; // the text as it was before the last ending

/** Show the text of last time, and listen. */
export function startWriting() {
  $("write").hidden = false;
  $("system-field").hidden = true;
  startSampling();
  $("text").value = kept("text", "Once upon a time");
  $("text").addEventListener("input", () => keep("text", $("text").value));
  $("writer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!stopper) goOn($("text").value);
  });
  $("again").addEventListener("click", () => goOn(before));
  $("take-back").addEventListener("click", takeBack);
  $("write-stop").addEventListener("click", () => stopper?.abort());
  $("write").addEventListener("keydown", (event) => event.key === "Escape" && stopper?.abort());
}

async function goOn(text) {
  if (!text) {
    $("write-facts").textContent = "Begin the text first.";
    return;
  }
  before = text;
  const ending = { content: "" };
  busy(new AbortController());
  // A text area is set as a whole: now and then, not at every token.
  const show = throttled(() => {
    if (!stopper) return;
    put(before + ending.content);
    $("write-facts").textContent = ending.facts ? inWords(ending.facts) : "";
  }, 60);
  await answerInto(ending, "v1/completions", { prompt: before }, stopper.signal, show);
  busy(null);
  put(before + ending.content);
  const words = ending.problem ?? (ending.content ? inWords(ending.facts) : "The model ends the text here.");
  $("write-facts").textContent = words;
  speak(words);
}

function takeBack() {
  put(before);
  $("write-facts").textContent = "";
}

function put(text) {
  const field = $("text");
  field.value = text;
  field.scrollTop = field.scrollHeight;
  keep("text", text);
}

function busy(controller) {
  const hadFocus = [$("continue"), $("write-stop"), $("again")].includes(document.activeElement);
  stopper = controller;
  $("text").readOnly = Boolean(controller);
  $("continue").hidden = Boolean(controller);
  $("write-stop").hidden = !controller;
  $("again").disabled = $("take-back").disabled = Boolean(controller);
  if (hadFocus) (controller ? $("write-stop") : $("continue")).focus();
}
