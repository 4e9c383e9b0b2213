"use strict";
// Collect the ratings of the items in TEST (mushra-data.js). The files are played by deck.js.
// The order of the items, and the order of the stimuli of each item, are random for each listener.

const HIGHEST = 100;
const LETTERS = "ABCDEFGHIJK";
const MIDDLE = 50; // position of the slider of a stimulus without a rating

const shuffled = (values) => {
  const result = [...values];
  for (let last = result.length - 1; last > 0; last -= 1) {
    const other = Math.floor(Math.random() * (last + 1));
    [result[last], result[other]] = [result[other], result[last]];
  }
  return result;
};
const newTrial = (item) => ({ ...item, stimuli: shuffled(item.stimuli), ratings: {}, played: new Set(), milliseconds: 0 });

const trials = shuffled(TEST.items).map(newTrial);
const session = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 12)}`;
const started = new Date().toISOString();
let number = -1; // number of the open trial; -1: the start of the page; the number of trials: the end
let chosen = null; // selected stimulus; null: the reference
let shownSince = 0; // time at which the trial was opened
let unsaved = false;

const trial = () => trials[number];
const song = () => trial() ?? { seconds: 0 };
const address = (name) => `audio/${trial().item}/${name}.flac`;
const showHint = (text) => (element("hint").textContent = text);
const cannotPlay = () => showHint("this sound cannot be played");
const letterOf = (stimulus) => LETTERS[trial().stimuli.indexOf(stimulus)];

function openTrial(next) {
  if (trial()) trial().milliseconds += performance.now() - shownSince;
  deck.empty();
  number = next;
  shownSince = performance.now();
  element("intro").hidden = number >= 0;
  element("trial").hidden = !trial();
  element("end").hidden = number < trials.length;
  element(trial() ? "play" : "save").focus();
  if (!trial()) return;
  element("item").textContent = `Item ${number + 1} of ${trials.length}: ${trial().target}`;
  element("back").disabled = number === 0;
  element("next").textContent = number + 1 < trials.length ? "next item" : "finish";
  element("stimuli").replaceChildren(...trial().stimuli.map(lineOf));
  [...trial().stimuli, "reference"].forEach((name) => deck.player(address(name)));
  hear(null);
  mark(0, trial().seconds); // the whole excerpt is repeated
  showHint("Play the reference and all stimuli. Keys: R, letters, Space.");
}

/** Return the row of a stimulus: a button that plays it, a slider, and the rating as a number. */
function lineOf(stimulus) {
  const letter = letterOf(stimulus);
  const pick = make("button", { type: "button", className: "pick" }, make("small", { textContent: letter }), "stimulus");
  const slider = make("input", { type: "range", min: 0, max: HIGHEST, step: 1, value: trial().ratings[stimulus] ?? MIDDLE });
  slider.setAttribute("aria-label", `rating of stimulus ${letter}`);
  pick.addEventListener("click", () => hear(stimulus));
  slider.addEventListener("focus", () => chosen === stimulus || hear(stimulus));
  slider.addEventListener("pointerdown", () => chosen === stimulus || hear(stimulus));
  slider.addEventListener("input", () => rate(stimulus, slider.valueAsNumber));
  return make("div", { className: "stimulus" }, pick, slider, make("output", {}));
}

/** Play a stimulus, or the reference if the argument is null, at the same position. */
function hear(stimulus) {
  chosen = stimulus;
  deck.switchTo(address(stimulus ?? "reference"));
  notePlayed();
  show();
  paint();
}

function toggle() {
  deck.toggle();
  notePlayed();
}

const notePlayed = () => deck.playing && chosen !== null && trial().played.add(chosen);

function rate(stimulus, value) {
  trial().ratings[stimulus] = clamp(Math.round(value), 0, HIGHEST);
  unsaved = true;
  show();
}

const change = (by) => () => chosen === null || rate(chosen, (trial().ratings[chosen] ?? MIDDLE) + by);
const setRating = (value) => () => chosen === null || rate(chosen, value);

function show() {
  element("reference").setAttribute("aria-pressed", chosen === null);
  trial().stimuli.forEach((stimulus, place) => {
    const [pick, slider, output] = element("stimuli").children[place].children;
    const rating = trial().ratings[stimulus];
    pick.setAttribute("aria-pressed", stimulus === chosen);
    slider.classList.toggle("unrated", rating === undefined);
    slider.value = rating ?? MIDDLE;
    output.textContent = rating ?? "–";
  });
}

function next() {
  const missing = trial().stimuli.filter((stimulus) => !trial().played.has(stimulus));
  const unrated = trial().stimuli.filter((stimulus) => trial().ratings[stimulus] === undefined);
  if (missing.length) showHint(`Play these stimuli first: ${missing.map(letterOf).join(", ")}`);
  else if (unrated.length) showHint(`Rate these stimuli first: ${unrated.map(letterOf).join(", ")}`);
  else openTrial(number + 1);
}

function save() {
  const items = trials.map(({ item, stimuli, ratings, milliseconds }) => ({
    item, seconds: Math.round(milliseconds / 100) / 10,
    ratings: Object.fromEntries(stimuli.map((stimulus) => [stimulus, ratings[stimulus]])),
  }));
  const listener = element("listener").value.trim();
  const file = `ratings-${listener.replace(/[^A-Za-z0-9]+/g, "_").slice(0, 30) || "listener"}-${session}.json`;
  downloadJSON(file, { made_by: TEST.made_by, test: TEST.test, session, listener, started, saved: new Date().toISOString(), items });
  unsaved = false;
  element("stored").textContent = `The file ${file} is in the download folder of your browser.`;
}

const KEYS = {
  ...PLAYER_KEYS,
  " ": toggle,
  r: () => hear(null),
  n: next,
  p: () => number > 0 && openTrial(number - 1),
  ArrowUp: change(1), ArrowDown: change(-1), PageUp: change(10), PageDown: change(-10),
  Home: setRating(0), End: setRating(HIGHEST),
};
for (let digit = 0; digit <= 9; digit += 1) KEYS[digit] = setRating(10 * digit);
for (const [place, letter] of [...LETTERS].entries()) KEYS[letter.toLowerCase()] = () => trial().stimuli[place] && hear(trial().stimuli[place]);
const END_KEYS = { s: save, p: () => openTrial(trials.length - 1) };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("summary")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const action = (trial() ? KEYS : number < 0 ? {} : END_KEYS)[key];
  if (!action) return;
  event.preventDefault();
  action();
});

element("number").textContent = trials.length;
element("start").addEventListener("submit", (event) => {
  event.preventDefault();
  openTrial(0);
});
element("play").addEventListener("click", toggle);
element("loop").addEventListener("click", toggleLoop);
element("reference").addEventListener("click", () => hear(null));
element("back").addEventListener("click", () => openTrial(number - 1));
element("next").addEventListener("click", next);
element("save").addEventListener("click", save);
element("again").addEventListener("click", () => openTrial(trials.length - 1));
addEventListener("beforeunload", (event) => unsaved && event.preventDefault());
onPointer(element("line"));
element("listener").focus();
