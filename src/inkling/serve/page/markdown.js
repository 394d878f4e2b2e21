// Markdown → nodes, block by block: headings, lists, quotes, tables, code. What is not Markdown stays text, HTML too.

import { copyText, h } from "./dom.js";
import { inline } from "./inline.js";

// Longer texts are shown as they are: nobody reads so much, and the browser would stop answering.
const MAX_CHARACTERS = 100_000;
const MAX_DEPTH = 6;

const FENCE = /^ {0,3}(`{3,}|~{3,}) *([^`\s]*)/;
const HEADING = /^ {0,3}(#{1,6}) +(.*)$/;
const RULE = /^ {0,3}(?:(?:\* *){3,}|(?:- *){3,}|(?:_ *){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)]) +(?=\S)/;
const DIVIDER = /^[|: -]+$/;

/** A text that a model wrote → nodes that can do no harm. */
export function markdown(text) {
  if (text.length > MAX_CHARACTERS) return [h("pre", { class: "plain-text" }, text)];
  return blocks(text.replaceAll("\r\n", "\n").split("\n"), 0);
}

function blocks(lines, depth) {
  const nodes = [];
  let i = 0;
  while (i < lines.length) {
    if (!lines[i].trim()) {
      i += 1;
      continue;
    }
    const [node, next] = block(lines, i, depth);
    nodes.push(node);
    i = next;
  }
  return nodes;
}

/** The block that begins at line i, and the line after it. */
function block(lines, i, depth) {
  const line = lines[i];
  if (FENCE.test(line)) return fenced(lines, i);
  if (HEADING.test(line)) return [heading(line), i + 1];
  if (RULE.test(line)) return [h("hr"), i + 1];
  if (depth < MAX_DEPTH) {
    if (QUOTE.test(line)) return quote(lines, i, depth);
    if (ITEM.test(line)) return list(lines, i, depth);
  }
  if (line.includes("|") && i + 1 < lines.length && DIVIDER.test(lines[i + 1])) return table(lines, i);
  return paragraph(lines, i, depth);
}

function fenced(lines, i) {
  const [, fence, language] = FENCE.exec(lines[i]);
  const body = [];
  let next = i + 1;
  while (next < lines.length && !lines[next].trim().startsWith(fence)) body.push(lines[next++]);
  const text = body.join("\n");
  const copy = h("button", { class: "plain", type: "button", onclick: () => copyText(text) }, "Copy code");
  const bar = h("div", { class: "code-bar" }, h("span", {}, language || "code"), copy);
  const code = h("pre", { tabindex: "0" }, h("code", {}, text));
  return [h("div", { class: "code" }, bar, code), next + 1];
}

function heading(line) {
  const [, marks, text] = HEADING.exec(line);
  // The page has the first two levels for itself.
  return h(`h${Math.min(6, marks.length + 2)}`, {}, ...inline(text.replace(/ #+ *$/, "")));
}

function quote(lines, i, depth) {
  const body = [];
  while (i < lines.length && QUOTE.test(lines[i])) body.push(lines[i++].replace(QUOTE, ""));
  return [h("blockquote", {}, ...blocks(body, depth + 1)), i];
}

function list(lines, i, depth) {
  const [, indent, sign] = ITEM.exec(lines[i]);
  const isNumbered = /\d/.test(sign);
  const start = Number.parseInt(sign, 10);
  const items = [];
  while (i < lines.length) {
    const found = ITEM.exec(lines[i]);
    if (!found || found[1].length > indent.length + 1 || /\d/.test(found[2]) !== isNumbered) break;
    if (RULE.test(lines[i])) break;
    const width = found[0].length;
    const body = [lines[i].slice(width)];
    for (i += 1; i < lines.length && belongs(lines, i, indent.length); i += 1) body.push(without(lines[i], width));
    items.push(h("li", {}, ...tight(blocks(body, depth + 1))));
  }
  return [isNumbered ? h("ol", start === 1 ? {} : { start }, ...items) : h("ul", {}, ...items), i];
}

/** Whether a line goes on with the item above it: it is indented further, or is a gap before a line that is. */
function belongs(lines, i, indent) {
  const line = lines[i].trim() ? lines[i] : (lines[i + 1] ?? "");
  return line.trim() !== "" && line.length - line.trimStart().length > indent + 1;
}

function without(line, width) {
  const spaces = line.length - line.trimStart().length;
  return line.slice(Math.min(spaces, width));
}

/** An item of one paragraph needs no paragraph. */
function tight(nodes) {
  return nodes[0]?.nodeName === "P" ? [...nodes[0].childNodes, ...nodes.slice(1)] : nodes;
}

function table(lines, i) {
  const head = h("tr", {}, ...cells(lines[i]).map((cell) => h("th", { scope: "col" }, ...inline(cell))));
  const rows = [];
  for (i += 2; i < lines.length && lines[i].includes("|"); i += 1) {
    rows.push(h("tr", {}, ...cells(lines[i]).map((cell) => h("td", {}, ...inline(cell)))));
  }
  const whole = h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows));
  return [h("div", { class: "scroll", tabindex: "0" }, whole), i];
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/\|$/, "");
  return inner.split("|").map((cell) => cell.trim());
}

function paragraph(lines, i, depth) {
  const body = [lines[i++]];
  while (i < lines.length && lines[i].trim() && !interrupts(lines[i], depth)) body.push(lines[i++]);
  return [h("p", {}, ...inline(body.join("\n"))), i];
}

const interrupts = (line, depth) =>
  FENCE.test(line) || HEADING.test(line) || RULE.test(line) || (depth < MAX_DEPTH && (QUOTE.test(line) || ITEM.test(line)));
