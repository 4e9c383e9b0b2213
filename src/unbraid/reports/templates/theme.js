"use strict";
// Colours as the system has them, or as a button says; pages that draw listen to the event "theme".
const THEMES = ["auto", "light", "dark"];

function remembered() {
  try {
    return localStorage.getItem("unbraid-theme");
  } catch {
    return null; // a browser may keep nothing for pages from the disk
  }
}

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem("unbraid-theme", name);
  } catch {
    // for this page only, then
  }
}

let theme = THEMES.includes(remembered()) ? remembered() : "auto";
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
