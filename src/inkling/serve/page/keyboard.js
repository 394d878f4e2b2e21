// One stop of the Tab key for a row of things; the arrow keys move within it.

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/** Let the arrows, Home and End move among the `role`s in `row`; `choose(element)` is called for where they arrive. */
export function withArrows(row, role, choose) {
  row.addEventListener("keydown", (event) => {
    const items = [...row.querySelectorAll(`[role="${role}"]`)];
    const now = items.indexOf(event.target);
    if (now < 0) return;
    let next = now;
    if (event.key in STEPS) next = (now + STEPS[event.key] + items.length) % items.length;
    else if (event.key === "Home") next = 0;
    else if (event.key === "End") next = items.length - 1;
    else if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    items[next].focus();
    choose(items[next]);
  });
  row.addEventListener("click", (event) => {
    const item = event.target.closest(`[role="${role}"]`);
    if (item) choose(item);
  });
}

/** Mark one of the `role`s in `row` by `attribute`; it is the one that Tab stops at. */
export function mark(row, role, attribute, chosen) {
  for (const item of row.querySelectorAll(`[role="${role}"]`)) {
    item.setAttribute(attribute, item === chosen);
    item.tabIndex = item === chosen ? 0 : -1;
  }
}
