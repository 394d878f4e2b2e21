// The logit lens: what the model would say if it ended after each layer.

import { bar, percent } from "./bars.js";
import { h } from "./dom.js";
import { shown } from "./pieces.js";

/** All positions: a row for each layer, the last layer on top, as a table. */
export function drawLens(region, seen) {
  const head = h("tr", {}, h("th", { scope: "col" }, "After"));
  head.append(...seen.ids.map((token) => h("th", { scope: "col" }, shown(seen, token))));
  const rows = seen.lens.map((layer, number) => {
    const row = h("tr", {}, h("th", { scope: "row" }, layerName(number)));
    for (const [[token, share]] of layer.top) {
      const cell = h("td", { title: `${shown(seen, token)}: ${percent(share)}` }, shown(seen, token));
      cell.style.setProperty("--share", share);
      row.append(cell);
    }
    return row;
  });
  region.replaceChildren(h("table", { class: "lens" }, h("thead", {}, head), h("tbody", {}, ...rows.reverse())));
}

/** One position: at each layer its likeliest tokens, and how much it gives to what the model says in the end. */
export function drawForming(place, seen, position) {
  const [[answer]] = seen.lens.at(-1).top[position];
  const head = h("tr", {}, ...["After", "Likeliest", `“${shown(seen, answer)}”`].map((name) => h("th", { scope: "col" }, name)));
  const rows = seen.lens.map((layer, number) => {
    const top = layer.top[position].map(([token]) => h("span", { class: "token" }, shown(seen, token)));
    const share = layer.final[position];
    const value = h("td", { class: "share" }, bar(share), h("span", { class: "value" }, percent(share)));
    return h("tr", {}, h("th", { scope: "row" }, layerName(number)), h("td", {}, ...top), value);
  });
  place.replaceChildren(h("table", { class: "forming" }, h("thead", {}, head), h("tbody", {}, ...rows)));
}

const layerName = (number) => (number ? `layer ${number}` : "embedding");
