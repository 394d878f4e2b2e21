// Markdown within a line: emphasis, code, links. A link leads to http, https or mailto, or it is text; an image is a
// link too, since nothing is fetched from elsewhere.

import { h } from "./dom.js";

const SPECIAL = /!\[|[\\`*_~[<\n]|https?:\/\//g;
const EMPHASIS = { "**": "strong", __: "strong", "~~": "del", "*": "em", _: "em" };
const ESCAPED = /[\\`*_~[\]<>()#+\-.!|{}]/;
const MAX_DEPTH = 5;
// What comes after is shown as it is: a search for the other end of every mark would take the square of this.
const MAX_CHARACTERS = 5_000;

/** The nodes of a piece of text. */
export function inline(text, depth = 0) {
  const nodes = [];
  const end = Math.min(text.length, MAX_CHARACTERS);
  let plain = "";
  let i = 0;
  while (i < end) {
    SPECIAL.lastIndex = i;
    const found = SPECIAL.exec(text);
    if (!found || found.index >= end) break;
    plain += text.slice(i, found.index);
    i = found.index;
    const made = special(text, i, found[0], depth);
    if (made) {
      if (plain) nodes.push(plain);
      plain = "";
      nodes.push(made.node);
      i = made.next;
    } else {
      plain += found[0];
      i += found[0].length;
    }
  }
  nodes.push(plain + text.slice(i));
  return nodes.filter((node) => node !== "");
}

/** What begins at i, and where it ends; null where it is plain text after all. */
function special(text, i, sign, depth) {
  if (sign === "\n") return { node: h("br"), next: i + 1 };
  if (sign === "\\") return ESCAPED.test(text[i + 1] ?? "") ? { node: text[i + 1], next: i + 2 } : null;
  if (sign === "`") return code(text, i);
  if (sign === "[") return depth < MAX_DEPTH ? link(text, i, depth) : null;
  if (sign === "![") return link(text, i + 1, depth);
  if (sign === "<") return angled(text, i);
  if (sign.startsWith("http")) return bare(text, i);
  return depth < MAX_DEPTH ? emphasis(text, i, depth) : null;
}

function code(text, i) {
  let width = 1;
  while (text[i + width] === "`") width += 1;
  const fence = "`".repeat(width);
  const close = text.indexOf(fence, i + width);
  if (close < 0) return { node: fence, next: i + width };
  return { node: h("code", {}, text.slice(i + width, close).trim()), next: close + width };
}

function emphasis(text, i, depth) {
  const mark = text.slice(i, i + 2) in EMPHASIS ? text.slice(i, i + 2) : text[i];
  if (!(mark in EMPHASIS)) return null;
  const from = i + mark.length;
  if (/\s/.test(text[from] ?? " ")) return null;
  if (mark[0] === "_" && /\w/.test(text[i - 1] ?? " ")) return null; // in_a_name
  for (let close = text.indexOf(mark, from + 1); close >= 0; close = text.indexOf(mark, close + 1)) {
    if (mark.length === 1 && text[close + 1] === mark) {
      close += 1; // two of them are the other kind of emphasis
      continue;
    }
    if (/\s/.test(text[close - 1])) continue;
    if (mark[0] === "_" && /\w/.test(text[close + mark.length] ?? " ")) continue;
    return { node: h(EMPHASIS[mark], {}, ...inline(text.slice(from, close), depth + 1)), next: close + mark.length };
  }
  return null;
}

function link(text, i, depth) {
  const middle = text.indexOf("]", i);
  if (middle < 0 || text[middle + 1] !== "(") return null;
  const close = text.indexOf(")", middle);
  if (close < 0) return null;
  const [address] = text.slice(middle + 2, close).trim().split(/\s/, 1);
  const label = text.slice(i + 1, middle);
  // A refused link is its label and its address as text: that it was one is worth knowing.
  const node = linkTo(address, inline(label, depth + 1)) ?? `[${label}](${address})`;
  return { node, next: close + 1 };
}

function angled(text, i) {
  const close = text.indexOf(">", i);
  const node = close > 0 ? linkTo(text.slice(i + 1, close)) : null;
  return node && { node, next: close + 1 };
}

function bare(text, i) {
  let [address] = /^[^\s<>"'`|]+/.exec(text.slice(i, i + 2000)) ?? [""];
  address = address.replace(/[.,;:!?)\]*_]+$/, "");
  const node = linkTo(address);
  return node && { node, next: i + address.length };
}

function linkTo(address, label = [address]) {
  if (!/^(?:https?:\/\/|mailto:)[^\s]+$/i.test(address)) return null;
  let url;
  try {
    url = new URL(address);
  } catch {
    return null;
  }
  if (!["http:", "https:", "mailto:"].includes(url.protocol)) return null;
  return h("a", { href: url.href, target: "_blank", rel: "noopener noreferrer nofollow" }, ...label);
}
