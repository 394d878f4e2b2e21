// One message on the screen. An answer grows: it is drawn anew as it comes, but never so often that drawing takes more
// than a small part of the time.

import { copyText, h, speak } from "./dom.js";
import { markdown } from "./markdown.js";
import { inWords } from "./meter.js";

const NAMES = { user: "You", assistant: "Model" };
// After a drawing of d milliseconds the next waits at least SHARE · d.
const SHARE = 8;
const LEAST_PAUSE = 40;

export class MessageView {
  /** `actions`: name → function, shown as buttons; `edit` is done here, and called with the new text. */
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    this.body = h("div", { class: "body" });
    this.foot = h("div", { class: "foot" });
    const name = h("h2", { class: "who" }, NAMES[message.role]);
    this.element = h("article", { class: `message ${message.role}` }, name, this.body, this.foot);
    this.timer = 0;
    this.draw();
  }

  /** The message has grown. */
  grow() {
    this.timer ||= setTimeout(() => {
      const begun = performance.now();
      this.timer = 0;
      this.draw();
      this.pause = Math.max(LEAST_PAUSE, SHARE * (performance.now() - begun));
    }, this.pause ?? LEAST_PAUSE);
  }

  /** Show what the message is now. */
  draw() {
    const { role, content, tools = [], problem, note, facts } = this.message;
    clearTimeout(this.timer);
    this.timer = 0;
    this.element.setAttribute("aria-busy", Boolean(this.message.isComing));
    const words = role === "user" ? [h("div", { class: "plain-text" }, content)] : markdown(content);
    const used = tools.length ? [h("p", { class: "quiet" }, tools.map(toolWords).join(" "))] : [];
    const wait = this.message.isComing && !content ? [h("p", { class: "quiet" }, "…")] : [];
    this.body.replaceChildren(...used, ...words, ...wait);
    const lines = [
      problem && h("p", { class: "problem" }, problem),
      note && h("p", { class: "quiet" }, note),
      facts && h("p", { class: "quiet facts" }, inWords(facts)),
    ];
    this.foot.replaceChildren(...lines.filter(Boolean), ...(this.message.isComing ? [] : [this.buttons()]));
    this.element.dispatchEvent(new Event("drawn", { bubbles: true }));
  }

  buttons() {
    const copy = async () => {
      await copyText(this.message.content);
      speak("Copied.");
    };
    const buttons = [h("button", { class: "plain", type: "button", onclick: copy }, "Copy")];
    if (this.actions.edit) {
      buttons.push(h("button", { class: "plain", type: "button", onclick: () => this.edit() }, "Edit"));
    }
    if (this.actions.regenerate) {
      buttons.push(h("button", { class: "plain", type: "button", onclick: this.actions.regenerate }, "Regenerate"));
    }
    return h("div", { class: "row" }, ...buttons);
  }

  edit() {
    const field = h("textarea", { rows: "3", "aria-label": "Your message, to be changed" });
    field.value = this.message.content;
    const done = (event) => {
      event.preventDefault();
      if (field.value.trim()) this.actions.edit(field.value);
    };
    const back = () => {
      this.draw();
      this.foot.querySelector("button:nth-of-type(2)")?.focus();
    };
    const row = h("div", { class: "row" });
    row.append(h("button", { class: "strong", type: "submit" }, "Send again"));
    row.append(h("button", { type: "button", onclick: back }, "Cancel"));
    const escape = (event) => event.key === "Escape" && back();
    this.body.replaceChildren(h("form", { onsubmit: done, onkeydown: escape }, field, row));
    this.foot.replaceChildren();
    field.focus();
  }
}

function toolWords({ called, text, result, problem }) {
  if (called) return `${called}: ${text}`;
  return `→ ${problem ? `${result} (${problem})` : result}.`;
}
