// Watch it learn: the loss curve with a marker, and what the snapshots of the run say to one prompt.

import { ask, wasStopped } from "./api.js";
import { lossCurve } from "./curve.js";
import { $, debounced, h, speak } from "./dom.js";
import { keep, kept } from "./store.js";

let learning; // what GET /learning has answered
let answers = new Map(); // step → { text } or { problem }, for the present question
let question = "";
let stopper = null;

/** Ask for the run's history and show it. */
export async function startLearn() {
  try {
    learning = await ask("learning");
  } catch (error) {
    refuse(error.message);
    document.addEventListener("server-back", startLearn, { once: true });
    return;
  }
  if (!learning.has_run) return refuse("These weights were published without their training, so there is nothing to watch.");
  if (!learning.steps.length) return refuse("This run has saved no snapshots yet.");
  $("learn-problem").hidden = true;
  $("lesson").hidden = false;
  const before = kept("lesson", { prompt: learning.can_chat ? "Hello!" : "The ", chat: learning.can_chat });
  $("lesson-prompt").value = before.prompt;
  $("lesson-chat").checked = before.chat && learning.can_chat;
  $("lesson-chat-field").hidden = !learning.can_chat;
  $("step").max = learning.steps.length - 1;
  $("step").value = learning.steps.length - 1;
  const askSoon = debounced(askChosen, 300);
  $("step").addEventListener("input", () => {
    draw();
    askSoon();
  });
  $("lesson-form").addEventListener("submit", (event) => {
    event.preventDefault();
    askChosen();
  });
  $("ask-all").addEventListener("click", askAll);
  $("ask-stop").addEventListener("click", () => stopper?.abort());
  new ResizeObserver(drawCurve).observe($("curve"));
  draw();
}

const chosenStep = () => learning.steps[Number($("step").value)];

// --- asking -----------------------------------------------------------------------------------------------

const askChosen = () => askSteps([chosenStep()]);

/** One after another, the earliest first. */
const askAll = () => askSteps(learning.steps);

async function askSteps(steps) {
  const body = read();
  if (!body.prompt) return $("lesson-prompt").focus();
  stopper?.abort();
  const controller = busy(new AbortController());
  for (const step of steps) {
    if (answers.get(step)?.text !== undefined) continue;
    answers.set(step, { isComing: true });
    drawSamples();
    try {
      const { text } = await ask("learning/sample", { ...body, step }, controller.signal);
      answers.set(step, { text });
    } catch (error) {
      if (wasStopped(error)) answers.delete(step);
      else answers.set(step, { problem: error.message });
      drawSamples();
      if (wasStopped(error) || !error.status) break;
    }
    drawSamples();
  }
  if (stopper !== controller) return;
  busy(null);
  speak(steps.length > 1 ? "All snapshots have spoken." : `Step ${steps[0]}: ${answers.get(steps[0])?.text ?? ""}`);
}

/** The form as a request; another question forgets the answers to the one before. */
function read() {
  const body = {
    prompt: $("lesson-prompt").value,
    chat: $("lesson-chat").checked,
    max_tokens: Number($("lesson-tokens").value) || 60,
    temperature: Number($("lesson-temperature").value) || 0,
    seed: Number($("lesson-seed").value) || 0,
  };
  if (question !== JSON.stringify(body)) {
    question = JSON.stringify(body);
    answers = new Map();
    keep("lesson", { prompt: body.prompt, chat: body.chat });
  }
  return body;
}

function busy(controller) {
  stopper = controller;
  $("ask-stop").hidden = !controller;
  return controller;
}

// --- the screen -------------------------------------------------------------------------------------------

function draw() {
  const words = `step ${chosenStep().toLocaleString("en")}${lossWords(chosenStep())}`;
  $("step").setAttribute("aria-valuetext", words);
  $("step-facts").textContent = words;
  drawCurve();
  drawSamples();
}

function drawCurve() {
  if ($("curve").clientWidth) {
    $("curve").replaceChildren(lossCurve(learning.curve, learning.steps, chosenStep(), $("curve").clientWidth, pick));
  }
}

function pick(step) {
  $("step").value = learning.steps.indexOf(step);
  draw();
  askChosen();
}

function drawSamples() {
  const cards = learning.steps.map((step) => {
    const { text, problem, isComing } = answers.get(step) ?? {};
    const title = h("button", { class: "plain", type: "button", onclick: () => pick(step) }, `step ${step.toLocaleString("en")}`);
    const head = h("div", { class: "row" }, title, h("span", { class: "quiet" }, lossWords(step).replace(", ", "")));
    let body = h("p", { class: "quiet" }, isComing ? "…" : "not asked yet");
    if (problem) body = h("p", { class: "problem" }, problem);
    else if (text?.trim() === "") body = h("p", { class: "quiet" }, text ? "(It says nothing but space.)" : "(It says nothing.)");
    else if (text !== undefined) body = h("p", { class: "plain-text" }, prompt(), text);
    return h("li", { class: step === chosenStep() ? "card chosen" : "card" }, head, body);
  });
  $("samples").replaceChildren(...cards);
}

/** A continuation is shown with what it continues; an answer is not. */
function prompt() {
  const { prompt, chat } = JSON.parse(question);
  return chat ? null : h("span", { class: "quiet" }, prompt);
}

function lossWords(step) {
  const { step: steps, loss } = learning.curve;
  if (!steps.length) return "";
  let nearest = 0;
  steps.forEach((one, i) => {
    if (Math.abs(one - step) < Math.abs(steps[nearest] - step)) nearest = i;
  });
  return `, loss ${loss[nearest].toFixed(2)}`;
}

function refuse(message) {
  $("learn-problem").textContent = message;
  $("learn-problem").hidden = false;
}
