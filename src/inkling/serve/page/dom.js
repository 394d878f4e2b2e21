// Making nodes. Text becomes text nodes and attributes are named by this page's own code: nothing that a model or a
// server says is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** The element of this id. */
export const $ = (id) => document.getElementById(id);

/** h("p", { class: "note", onclick: f, hidden: true }, "text", otherNode) */
export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for the elements of a picture. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

/** Say something to screen readers alone. */
export function speak(text) {
  $("spoken").textContent = text;
}

/** Copy to the clipboard, also on pages that came without TLS, where the modern way is closed. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = h("textarea", { readonly: true, class: "unseen" });
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}

/** Wait until `milliseconds` have passed without another call. */
export function debounced(work, milliseconds) {
  let timer = 0;
  return (...words) => {
    clearTimeout(timer);
    timer = setTimeout(work, milliseconds, ...words);
  };
}

/** At most once in `milliseconds`, the first time after as many. */
export function throttled(work, milliseconds) {
  let timer = 0;
  return () => {
    timer ||= setTimeout(() => {
      timer = 0;
      work();
    }, milliseconds);
  };
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}
