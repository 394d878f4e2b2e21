// How answers are drawn: what the person has set, and nothing where the server's own choice is to stand.

import { $ } from "./dom.js";
import { keep, kept } from "./store.js";

const WHOLE = ["top_k", "max_tokens", "seed"];

/** Fill the form with what was set before, and keep what is changed. */
export function startSampling() {
  const form = $("sampling");
  const before = kept("sampling", {});
  for (const field of fields(form)) field.value = before[field.name] ?? "";
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => keep("sampling", written(form)));
  $("reset").addEventListener("click", () => {
    for (const field of fields(form)) field.value = "";
    keep("sampling", {});
  });
}

/** The fields of a request. Without a seed of the person's, one is drawn here, so that it can be shown. */
export function sampling() {
  const chosen = {};
  for (const field of fields($("sampling"))) {
    if (field.value === "" || !field.checkValidity()) continue;
    chosen[field.name] = WHOLE.includes(field.name) ? Number.parseInt(field.value, 10) : Number(field.value);
  }
  chosen.seed ??= crypto.getRandomValues(new Uint32Array(1))[0];
  return chosen;
}

const fields = (form) => [...form.querySelectorAll("input[name]")];

const written = (form) => Object.fromEntries(fields(form).map((field) => [field.name, field.value]));
