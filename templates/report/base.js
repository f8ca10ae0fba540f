// Runs before the page is drawn: the theme that was chosen, and what only works with a script.
"use strict";
(() => {
  const root = document.documentElement;
  const THEMES = ["system", "light", "dark"];
  const KEY = "vllm-launch-theme";

  function kept() {
    try { return localStorage.getItem(KEY); } catch { return null; } // a browser may keep nothing for file://
  }
  function keep(theme) {
    try { localStorage.setItem(KEY, theme); } catch { /* then it lasts as long as the page */ }
  }
  function show(theme) {
    if (theme === "system") delete root.dataset.theme; else root.dataset.theme = theme;
    document.dispatchEvent(new Event("themechange"));
  }

  let theme = THEMES.includes(kept()) ? kept() : "system";
  show(theme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(theme));
  document.addEventListener("DOMContentLoaded", () => {
    for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;
    const button = document.getElementById("theme");
    const name = button.querySelector("span");
    name.textContent = theme;
    button.addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      name.textContent = theme;
      keep(theme);
      show(theme);
    });
  });
})();
