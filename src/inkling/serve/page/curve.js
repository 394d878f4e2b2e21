// The loss curve. Steps are on a logarithmic axis, as the snapshots are: most is learned at the beginning.

import { h, svg } from "./dom.js";

const HEIGHT = 260;
const MARGIN = { top: 14, right: 16, bottom: 40, left: 44 };

/**
 * `curve`: { step, loss, validation: [[step, loss]] }; `marks`: the steps of the snapshots, one of which is `chosen`.
 * `pick(step)` is called with the snapshot nearest to a click.
 */
export function lossCurve(curve, marks, chosen, width, pick) {
  const losses = [...curve.loss, ...curve.validation.map(([, loss]) => loss)];
  const last = Math.max(2, ...curve.step, ...marks);
  const x = (step) => MARGIN.left + (Math.log(Math.max(1, step)) / Math.log(last)) * (width - MARGIN.left - MARGIN.right);
  const ticks = niceTicks(Math.min(...losses), Math.max(...losses));
  const [low, high] = [ticks[0], ticks.at(-1)];
  const y = (loss) => HEIGHT - MARGIN.bottom - ((loss - low) / (high - low)) * (HEIGHT - MARGIN.top - MARGIN.bottom);

  const picture = svg("svg", { class: "curve", viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img" });
  picture.setAttribute("aria-label", inWords(curve, chosen));
  picture.append(...grid(ticks, x, y, last, width));
  picture.append(svg("path", { class: "training", d: line(curve.step.map((step, i) => [x(step), y(curve.loss[i])])) }));
  picture.append(svg("path", { class: "validation", d: line(curve.validation.map(([step, loss]) => [x(step), y(loss)])) }));
  for (const [step, loss] of curve.validation) picture.append(svg("circle", { class: "validation", cx: x(step), cy: y(loss), r: 2.5 }));
  const ground = HEIGHT - MARGIN.bottom;
  for (const step of marks) picture.append(svg("path", { class: "mark", d: `M${x(step)} ${ground}l-4 7h8z` }));
  picture.append(svg("line", { class: "chosen", x1: x(chosen), x2: x(chosen), y1: MARGIN.top, y2: ground }));
  picture.addEventListener("click", (event) => {
    const at = event.clientX - picture.getBoundingClientRect().left;
    pick(marks.reduce((best, step) => (Math.abs(x(step) - at) < Math.abs(x(best) - at) ? step : best)));
  });
  return h("figure", {}, picture, caption(curve));
}

function grid(ticks, x, y, last, width) {
  const parts = [];
  for (const tick of ticks) {
    parts.push(svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(tick), y2: y(tick) }));
    parts.push(svg("text", { class: "axis end", x: MARGIN.left - 8, y: y(tick) + 4 }, String(Number(tick.toFixed(4)))));
  }
  const within = last < 500 ? [1, 2, 5] : [1];
  for (let power = 1; power <= last; power *= 10) {
    for (const step of within.map((factor) => factor * power).filter((one) => one <= last)) {
      parts.push(svg("text", { class: "axis middle", x: x(step), y: HEIGHT - MARGIN.bottom + 22 }, step.toLocaleString("en")));
    }
  }
  parts.push(svg("text", { class: "axis middle", x: (MARGIN.left + width - MARGIN.right) / 2, y: HEIGHT - 4 }, "step"));
  return parts;
}

function caption(curve) {
  const keys = [h("span", { class: "key training" }, "training, smoothed")];
  if (curve.validation.length) keys.push(h("span", { class: "key validation" }, "validation"));
  return h("figcaption", { class: "quiet" }, ...keys, h("span", {}, "▲ snapshots"));
}

const line = (points) => points.map(([px, py], i) => `${i ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`).join("");

/** About five round numbers that hold the range between them. */
function niceTicks(low, high) {
  if (!Number.isFinite(low)) return [0, 1];
  const rough = (high - low || 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const pace = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const first = Math.floor(low / pace);
  const count = Math.max(1, Math.ceil(high / pace) - first);
  return Array.from({ length: count + 1 }, (_, i) => (first + i) * pace);
}

function inWords({ step, loss }, chosen) {
  if (!step.length) return "There is no loss curve.";
  const ends = [0, step.length - 1].map((i) => `${loss[i]} at step ${step[i]}`);
  return `The training loss, from ${ends.join(" to ")}. The marker is at step ${chosen}.`;
}
