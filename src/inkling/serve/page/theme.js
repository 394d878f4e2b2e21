// Light or dark, before anything is drawn: this is the one script that is not a module.
(() => {
  let theme = null;
  try {
    theme = JSON.parse(localStorage.getItem("inkling.theme"));
  } catch {
    // A browser that keeps nothing follows the system, and so does an unreadable choice.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
