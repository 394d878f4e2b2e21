// The chat: a conversation on the screen, and what can be done with it.

import { answerInto } from "./answer.js";
import { $, debounced, speak, throttled } from "./dom.js";
import { MessageView } from "./message.js";
import { startSampling } from "./sampling.js";
import { drawShelf } from "./shelf.js";
import { conversations, loadConversation, newConversation, removeConversation, saveConversation } from "./store.js";

const TOUCH = matchMedia("(pointer: coarse)");
const NEAR_END = 60; // pixels

let conversation;
let removed = null; // the conversation that was deleted last
let warning = "";
let stopper = null; // while an answer comes
let followsEnd = true;
let isLeaving = false;

/** Show the latest conversation, and listen. */
export function startChat() {
  $("talk").hidden = false;
  startSampling();
  open(conversations()[0] ?? newConversation());
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  $("question").addEventListener("keydown", sendOnEnter);
  $("question").addEventListener("input", fitHeight);
  $("stop").addEventListener("click", stop);
  $("chat").addEventListener("keydown", (event) => event.key === "Escape" && stop());
  $("new-chat").addEventListener("click", () => open(newConversation()));
  $("system").addEventListener("input", debounced(keepSystem, 300));
  $("log").addEventListener("scroll", () => {
    followsEnd = $("log").scrollHeight - $("log").scrollTop - $("log").clientHeight < NEAR_END;
  });
  $("log").addEventListener("drawn", scrollToEnd);
  $("options").addEventListener("toggle", scrollToEnd);
  addEventListener("pagehide", () => {
    keepSaved(conversation);
    isLeaving = true; // the connections break now, which is nobody's fault and not to be kept
  });
  addEventListener("pageshow", () => {
    isLeaving = false;
  });
}

// --- conversations ----------------------------------------------------------------------------------------

function open(chosen) {
  stop();
  conversation = chosen;
  for (const message of conversation.messages) {
    if (!message.isComing) continue; // the page was closed in the middle of it
    delete message.isComing;
    message.note = "The page was closed before the end.";
  }
  $("system").value = conversation.system;
  followsEnd = true;
  draw();
  showShelf();
  if (!TOUCH.matches) $("question").focus();
}

function openById(id) {
  if (id !== conversation.id) open(loadConversation(id) ?? newConversation());
}

function remove(one) {
  removed = one.id === conversation.id ? conversation : one;
  removeConversation(removed);
  warning = "";
  speak("The conversation is deleted.");
  if (removed === conversation) open(conversations()[0] ?? newConversation());
  else showShelf();
}

function restore() {
  const one = removed;
  removed = null;
  saveConversation(one);
  open(one);
}

function keepSystem() {
  conversation.system = $("system").value;
  keepSaved(conversation);
}

/** Save what has something in it, and was not deleted meanwhile. */
function keepSaved(one) {
  if (!one.messages.length || one === removed || isLeaving) return;
  if (!saveConversation(one)) {
    warning = "This browser has no room left: this conversation is lost when the page closes. Delete an older one.";
    speak(warning);
  }
}

function showShelf() {
  drawShelf({ current: conversation.id, removed, warning, open: openById, remove, restore });
}

// --- asking -----------------------------------------------------------------------------------------------

function send() {
  const text = $("question").value;
  if (!text.trim() || stopper) return;
  $("question").value = "";
  fitHeight();
  conversation.system = $("system").value;
  conversation.messages.push({ role: "user", content: text });
  answerLast();
}

function edit(index, text) {
  stop();
  conversation.messages.splice(index, Infinity, { role: "user", content: text });
  answerLast();
}

function regenerate() {
  if (stopper) return;
  conversation.messages.pop();
  answerLast();
}

/** The last message is a question: let the model answer it. */
async function answerLast() {
  const own = conversation; // another may be opened meanwhile
  const answer = { role: "assistant", content: "", isComing: true };
  const messages = asked(own);
  own.messages.push(answer);
  followsEnd = true;
  own.changed = Date.now();
  const view = draw();
  keepSaved(own);
  showShelf();
  const controller = busy(new AbortController());
  const saveNow = throttled(() => own.messages.includes(answer) && keepSaved(own), 1000);
  await answerInto(answer, "v1/chat/completions", { messages }, controller.signal, () => {
    view.grow();
    saveNow();
  });
  delete answer.isComing;
  if (answer.forgotten) answer.note = [answer.forgotten, answer.note].filter(Boolean).join(" ");
  if (stopper === controller) busy(null);
  if (!own.messages.includes(answer)) return; // it was edited away
  keepSaved(own);
  if (conversation === own) draw();
  showShelf();
  // Said once, at the end: a live log would be read anew at every token.
  speak(answer.problem ?? `The answer is complete. ${answer.content.slice(0, 1000)}`);
}

/** What the server is sent. Questions that got no answer are left out, but for the last. */
function asked({ system, messages }) {
  const sent = system.trim() ? [{ role: "system", content: system }] : [];
  messages.forEach((message, i) => {
    const next = messages[i + 1];
    const isUnanswered = next && !next.content && !next.story;
    if (message.role === "user" && !isUnanswered) sent.push({ role: "user", content: message.content });
    if (message.role === "assistant" && message.story) sent.push(...message.story);
    else if (message.role === "assistant" && message.content) sent.push({ role: "assistant", content: message.content });
  });
  return sent;
}

function stop() {
  stopper?.abort();
}

function busy(controller) {
  stopper = controller;
  const hadFocus = [$("send"), $("stop")].includes(document.activeElement);
  $("send").hidden = Boolean(controller);
  $("stop").hidden = !controller;
  if (hadFocus) (controller ? $("stop") : $("send")).focus();
  return controller;
}

// --- the screen -------------------------------------------------------------------------------------------

/** Draw all messages; returns the view of the last. */
function draw() {
  const last = conversation.messages.length - 1;
  const views = conversation.messages.map((message, i) => {
    if (message.role === "user") return new MessageView(message, { edit: (text) => edit(i, text) });
    return new MessageView(message, i === last ? { regenerate } : {});
  });
  $("log").replaceChildren(...views.map((view) => view.element));
  scrollToEnd();
  return views.at(-1);
}

function scrollToEnd() {
  if (followsEnd) $("log").scrollTop = $("log").scrollHeight;
}

function sendOnEnter(event) {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || TOUCH.matches) return;
  event.preventDefault();
  send();
}

function fitHeight() {
  const field = $("question");
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight + 2, innerHeight / 3)}px`;
}
