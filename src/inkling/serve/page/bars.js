// Bars that can be chosen: what may come next, and how likely it is.

import { h, svg } from "./dom.js";

/** rows: [{ label, value (0 to 1), choose }] → a list of buttons, each with its bar. */
export function bars(rows) {
  const items = rows.map(({ label, value, choose }) => {
    const said = `${label}, ${percent(value)}`;
    const button = h("button", { class: "bar", type: "button", onclick: choose, "aria-label": said });
    button.append(h("span", { class: "label" }, label), bar(value), h("span", { class: "value" }, percent(value)));
    return h("li", {}, button);
  });
  return h("ol", {}, ...items);
}

/** One bar, as wide as its place allows. */
export function bar(value) {
  const picture = svg("svg", { class: "bar-picture", viewBox: "0 0 100 10", preserveAspectRatio: "none" });
  picture.setAttribute("aria-hidden", "true");
  picture.append(svg("rect", { class: "ground", width: 100, height: 10 }));
  picture.append(svg("rect", { class: "ink", width: 100 * value, height: 10 }));
  return picture;
}

/** 0.1234 → "12 %" */
export function percent(share) {
  if (share >= 0.0995) return `${Math.round(100 * share)} %`;
  return share >= 0.00095 ? `${(100 * share).toFixed(1)} %` : "< 0.1 %";
}
