// Inside: the tokens of a text, what the model expected after each, and how it came to expect it.

import { ask, wasStopped } from "./api.js";
import { attentionWords, drawHeads, heatmap } from "./attention.js";
import { bars, percent } from "./bars.js";
import { $, debounced, h } from "./dom.js";
import { keep, kept } from "./store.js";
import { mark, withArrows } from "./keyboard.js";
import { drawForming, drawLens } from "./lens.js";
import { shown } from "./pieces.js";

let served;
let seen = null; // what POST /inside has answered
let place = 0; // the chosen position
let layer = null;
let head = 0;
let asking = new AbortController();

/** Show the text of last time, and listen. */
export function startInside(what) {
  served = what;
  $("look-text").value = kept("look", "The king and the queen went to the");
  $("look-text").maxLength = served.max_characters;
  $("look-limit").textContent = `up to ${served.max_tokens} tokens`;
  const numbers = [...Array(served.layers).keys()];
  $("layer").replaceChildren(...numbers.map((i) => h("option", { value: i }, `${i + 1} of ${served.layers}`)));
  layer = served.layers - 1;
  $("layer").value = layer;
  $("look").addEventListener("submit", (event) => {
    event.preventDefault();
    look({ text: $("look-text").value });
  });
  $("look-text").addEventListener("input", debounced(() => look({ text: $("look-text").value }), 700));
  $("layer").addEventListener("change", () => {
    layer = Number($("layer").value);
    look({ ids: seen.ids }, place);
  });
  withArrows($("tokens"), "option", (option) => choose(Number(option.dataset.place)));
  withArrows($("heads"), "radio", (radio) => chooseHead(Number(radio.dataset.head)));
  document.addEventListener("server-back", () => look({ text: $("look-text").value }));
  look({ text: $("look-text").value });
}

/** Ask for a text, or for ids, and show `then`, or the last position. */
async function look(what, then) {
  asking.abort();
  asking = new AbortController();
  if (what.text === "") return;
  try {
    seen = await ask("inside", { ...what, layer }, asking.signal);
  } catch (error) {
    if (wasStopped(error)) return;
    $("look-problem").textContent = error.message;
    $("look-problem").hidden = false;
    return;
  }
  keep("look", $("look-text").value);
  $("look-problem").hidden = true;
  $("seen").hidden = false;
  place = Math.min(then ?? Infinity, seen.ids.length - 1);
  head = Math.min(head, served.heads - 1);
  drawTokens();
  drawLens($("lens"), seen);
  drawHeads($("heads"), seen);
  chooseHead(head);
  choose(place);
}

/** Everything that is about one position. */
function choose(position) {
  place = position;
  mark($("tokens"), "option", "aria-selected", $("tokens").children[place]);
  for (const cell of $("lens").querySelectorAll("td")) cell.classList.toggle("chosen", cell.cellIndex === place + 1);
  $("token-facts").textContent = facts(place);
  const next = seen.next[place];
  const rows = next.map(([token, p]) => ({ label: shown(seen, token), value: p, choose: () => continueWith(token) }));
  $("next").replaceChildren(bars(rows));
  drawForming($("forming"), seen, place);
  drawAttention();
}

function chooseHead(number) {
  head = number;
  mark($("heads"), "radio", "aria-checked", $("heads").children[head]);
  drawAttention();
}

function drawAttention() {
  const labels = seen.ids.map((token) => shown(seen, token));
  $("attention").replaceChildren(heatmap(seen.attention[head], labels, place, choose));
  $("attention-words").textContent = attentionWords(seen.attention[head], labels, place, layer, head);
}

/** The text up to the chosen position, and then this token. */
async function continueWith(token) {
  await look({ ids: [...seen.ids.slice(0, place + 1), token] });
  $("look-text").value = seen.text;
  keep("look", seen.text);
  $("next").querySelector("button")?.focus();
}

function drawTokens() {
  const options = seen.ids.map((token, i) => {
    const option = h("span", { role: "option", class: "token", "data-place": i }, shown(seen, token));
    option.setAttribute("aria-label", `${shown(seen, token)}, token ${i + 1}`);
    // Ten bits of surprise are as dark as it gets; probability 1/2 is one bit.
    const bits = (seen.surprise[i] ?? 0) / Math.LN2;
    option.style.setProperty("--share", Math.min(1, bits / 10));
    return option;
  });
  $("tokens").replaceChildren(...options);
}

function facts(i) {
  const name = `Token ${i + 1} of ${seen.ids.length}, “${shown(seen, seen.ids[i])}”, number ${seen.ids[i]} in the vocabulary.`;
  if (seen.surprise[i] == null) return `${name} Nothing came before it.`;
  return `${name} The model gave it ${percent(Math.exp(-seen.surprise[i]))} (${seen.surprise[i].toFixed(2)} nats).`;
}
