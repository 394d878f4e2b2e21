// Attention as pictures: one large, in which a row can be chosen, and a small one for each head.

import { percent } from "./bars.js";
import { h, svg } from "./dom.js";

// Cells of about the same shade are one path: 128 tokens have 8,256 cells, and as many elements would be slow.
const SHADES = 12;
const MOST_LABELS = 40;
const LONGEST_LABEL = 9;
const LARGEST = 512; // pixels
const LARGEST_CELL = 20;

/** The weights of one head → a picture; `choose(position)` is called for the row that is clicked. */
export function heatmap(weights, labels, place, choose) {
  const count = weights.length;
  const margin = count <= MOST_LABELS ? Math.min(7, 1 + Math.max(...labels.map(length)) * 0.62) : 0;
  const size = count + margin;
  const width = Math.min(LARGEST, size * LARGEST_CELL);
  const picture = svg("svg", { class: "heatmap", width, viewBox: `${-margin} ${-margin} ${size} ${size}`, role: "img" });
  picture.setAttribute("aria-label", "How much each token (row) takes from each token before it (column)");
  picture.append(...cells(weights));
  if (margin) {
    labels.forEach((label, i) => {
      const [x, y] = [-0.3, i + 0.72];
      picture.append(svg("text", { class: "row-label", x, y, "font-size": 0.8 }, cut(label)));
      const turned = { x: 0.3, y: 0, "font-size": 0.8, transform: `translate(${i + 0.72} 0) rotate(-90)` };
      picture.append(svg("text", turned, cut(label)));
    });
  }
  picture.append(svg("rect", { class: "chosen", x: 0, y: place, width: place + 1, height: 1 }));
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * size - margin);
    if (row >= 0 && row < count) choose(row);
  });
  return picture;
}

/** A button for each head. */
export function drawHeads(place, seen) {
  const buttons = seen.attention.map((weights, i) => {
    const count = weights.length;
    const picture = svg("svg", { viewBox: `0 0 ${count} ${count}`, "aria-hidden": "true" }, ...cells(weights));
    const attributes = { type: "button", role: "radio", class: "head", "aria-label": `Head ${i + 1}`, "data-head": i };
    return h("button", attributes, picture, h("span", {}, i + 1));
  });
  place.replaceChildren(...buttons);
}

/** What the chosen row says, in words. */
export function attentionWords(weights, labels, place, layer, head) {
  const most = weights[place].map((share, i) => [share, i]).sort(([one], [other]) => other - one);
  const said = most.slice(0, 5).map(([share, i]) => `“${labels[i]}” (token ${i + 1}) ${percent(share)}`);
  return `Layer ${layer + 1}, head ${head + 1}: token ${place + 1}, “${labels[place]}”, takes from ${said.join(", ")}.`;
}

function cells(weights) {
  const paths = Array.from({ length: SHADES }, () => []);
  weights.forEach((row, i) => {
    row.forEach((share, j) => {
      // By the root, so that one part in thirty can be told from nothing. 0 is not drawn.
      const shade = Math.round(Math.sqrt(share) * SHADES);
      if (shade > 0) paths[shade - 1].push(`M${j} ${i}h1v1h-1z`);
    });
  });
  const found = [svg("path", { class: "ground", d: stairs(weights.length) })];
  paths.forEach((parts, shade) => {
    if (parts.length) found.push(svg("path", { class: "ink", d: parts.join(""), "fill-opacity": (shade + 1) / SHADES }));
  });
  return found;
}

/** The outline of what may be looked at: row i reaches to column i. */
function stairs(count) {
  const steps = Array.from({ length: count }, () => "h1v1").join("");
  return `M0 0${steps}H0z`;
}

const length = (label) => Math.min(LONGEST_LABEL, label.length);

const cut = (label) => (label.length > LONGEST_LABEL ? `${label.slice(0, LONGEST_LABEL - 1)}…` : label);
