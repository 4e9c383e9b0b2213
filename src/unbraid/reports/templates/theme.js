"use strict";
// Use the colours of the system or the choice of the user. The event "theme" signals that the colours have changed.
const THEMES = ["auto", "light", "dark"];

function storedTheme() {
  try {
    return localStorage.getItem("unbraid-theme");
  } catch {
    return null; // some browsers store nothing for pages on the disk
  }
}

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem("unbraid-theme", name);
  } catch {
    // the choice is lost when the page is closed
  }
}

let theme = THEMES.includes(storedTheme()) ? storedTheme() : "auto";
setTheme(theme);
const changed = () => document.dispatchEvent(new Event("theme"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
document.addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("theme");
  const show = () => (button.textContent = `theme: ${theme}`);
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    setTheme(theme);
    show();
    changed();
  });
  show();
});
