// The list of conversations.

import { $, h } from "./dom.js";
import { conversations, titleOf } from "./store.js";

/** List all, the one named `current` marked. `removed` can be brought back; `warning` is said below. */
export function drawShelf({ current, removed, warning, open, remove, restore }) {
  const rows = conversations().map((one) => {
    const title = titleOf(one);
    const attributes = { class: "title", "aria-current": one.id === current ? "true" : null, onclick: () => open(one.id) };
    const deletion = { class: "plain", "aria-label": `Delete: ${title}`, onclick: () => remove(one) };
    return h("li", {}, h("button", attributes, title), h("button", deletion, "×"));
  });
  if (removed) {
    const undo = h("button", { class: "plain", onclick: restore }, "Bring it back");
    rows.unshift(h("li", { class: "quiet" }, h("span", { class: "title" }, "Deleted."), undo));
  }
  if (warning) rows.push(h("li", { class: "problem" }, warning));
  $("conversations").replaceChildren(...rows);
}
