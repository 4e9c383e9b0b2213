"use strict";
// Show and play the audio files that are listed in SONGS (listen-data.js). The files are played by deck.js.

const EARLY = 14; // files of a song that are loaded before the user selects them

const votes = [];
let saved = 0; // number of downloaded votes
let chosen = 0; // number of the selected row
let residual = false; // whether the residual of the selected row is played
let duel = null; // numbers of the rows { a, b } in a blind comparison

const song = () => SONGS.songs[element("song").value];
const target = () => element("target").value;
const rows = () => song().targets[target()] ?? []; // a song can have no targets
const files = (row) => (residual && row.residual?.audio ? row.residual : row);
const cannotPlay = (address) => showHint(`${duel ? "this" : address} cannot be played`);
const showHint = (text) => (element("hint").textContent = text);

function rowOf(row, number) {
  const pick = make("button", { type: "button", className: "pick" }, make("small", { textContent: number + 1 }), row.name);
  const label = make("div", { className: "label" }, pick);
  const picture = make("div", { className: "picture" });
  const line = make("div", { className: "row" }, label, picture);
  if (row.missing) {
    line.classList.add("missing");
    picture.textContent = row.missing;
    pick.disabled = true;
    return line;
  }
  pick.addEventListener("click", () => choose(number));
  if (row.residual?.audio) {
    const button = make("button", { type: "button", className: "residual", textContent: "residual", title: "residual: the mixture minus all estimates" });
    button.addEventListener("click", () => choose(number, !(residual && chosen === number)));
    label.append(button);
  }
  const kHz = make("span", { textContent: `${row.levelled === false ? "unknown level, " : ""}0 – ${row.kHz} kHz` });
  const image = make("img", { alt: `spectrogram of ${row.name}`, src: url(row.picture) });
  picture.append(image, make("i", { className: "region" }), make("i", { className: "cursor" }), kHz);
  picture.addEventListener("pointerdown", () => chosen === number || choose(number));
  onPointer(picture);
  return line;
}

/** Play a row or its residual. */
function choose(number, ofResidual = false) {
  if (!rows()[number] || rows()[number].missing) return;
  [chosen, residual] = [number, ofResidual];
  deck.switchTo(files(rows()[number]).audio);
  showChosen();
  paint();
}

function showChosen() {
  [...element("rows").children].forEach((line, number) => {
    const on = number === chosen;
    line.classList.toggle("on", on);
    line.querySelector(".pick").setAttribute("aria-pressed", on && !residual);
    line.querySelector(".residual")?.setAttribute("aria-pressed", on && residual);
    const image = line.querySelector("img");
    const shown = url((on ? files(rows()[number]) : rows()[number]).picture ?? "");
    if (image && image.getAttribute("src") !== shown) image.src = shown;
  });
}

function openSong() {
  deck.empty();
  const before = target();
  element("target").replaceChildren(...Object.keys(song().targets).map((name) => new Option(name, name, false, name === before)));
  const { missing } = song();
  element("gone").hidden = duel || !missing.length;
  element("gone").querySelector("ul").replaceChildren(...missing.map((reason) => make("li", { textContent: reason })));
  openTarget();
}

function openTarget() {
  element("rows").replaceChildren(...rows().map(rowOf));
  const playable = rows().filter((row) => row.audio);
  playable.slice(0, EARLY).forEach((row) => deck.player(row.audio));
  residual = false;
  const first = rows().findIndex((row) => row.audio);
  if (first >= 0) choose(rows()[chosen]?.audio ? chosen : first);
  element("play").disabled = first < 0;
  element("blind").disabled = contestants().length < 2;
  if (duel) next();
  paint();
}

// Blind A/B

const contestants = () => rows().flatMap((row, number) => (row.kind === "estimate" && row.audio && row.levelled ? [number] : []));

function pairs() {
  const all = contestants();
  return all.flatMap((a, index) => all.slice(index + 1).map((b) => [a, b]));
}

function count(a, b) {
  const names = [rows()[a].name, rows()[b].name];
  const here = votes.filter((vote) => vote.song === song().name && vote.target === target());
  return here.filter((vote) => names.includes(vote.a) && names.includes(vote.b)).length;
}

/** Select one of the pairs with the fewest votes at random, in random order. */
function next() {
  const least = Math.min(...pairs().map(([a, b]) => count(a, b)));
  const open = pairs().filter(([a, b]) => count(a, b) === least);
  if (!open.length) {
    leaveBlind();
    return;
  }
  const [one, other] = open[Math.floor(Math.random() * open.length)];
  const [a, b] = Math.random() < 0.5 ? [one, other] : [other, one];
  duel = { a, b };
  hear("a");
}

function hear(side) {
  const number = side === "target" || side === "mixture" ? rows().findIndex((row) => row.kind === side) : duel[side];
  if (!rows()[number]?.audio) return;
  deck.switchTo(rows()[number].audio);
  for (const button of document.querySelectorAll("[data-side]")) button.setAttribute("aria-pressed", button.dataset.side === side);
  paint();
}

function vote(side) {
  const { a, b } = duel;
  const better = side === "none" ? null : rows()[duel[side]].name;
  votes.push({ song: song().name, target: target(), a: rows()[a].name, b: rows()[b].name, better, time: new Date().toISOString() });
  element("count").textContent = `${votes.length} vote${votes.length === 1 ? "" : "s"}`;
  element("download").disabled = false;
  next();
}

function enterBlind() {
  if (contestants().length < 2) return;
  element("tally").hidden = true;
  showBlind(true);
  next();
}

function leaveBlind() {
  duel = null;
  showBlind(false);
  choose(chosen);
  if (votes.length) showTally();
}

function showBlind(on) {
  element("rows").hidden = on;
  element("gone").hidden = on || !song().missing.length;
  element("duel").hidden = !on;
  element("votes").hidden = !on && !votes.length;
  element("blind").setAttribute("aria-pressed", on);
}

function showTally() {
  const names = [...new Set(votes.flatMap((vote) => [vote.a, vote.b]))];
  const cells = (texts, tag) => make("tr", {}, ...texts.map((text, column) => make(column ? tag : "th", { textContent: text })));
  const lines = names.map((name) => {
    const ofName = votes.filter((vote) => vote.a === name || vote.b === name);
    const won = ofName.filter((vote) => vote.better === name).length;
    const even = ofName.filter((vote) => vote.better === null).length;
    return cells([name, won, even, ofName.length - won - even], "td");
  });
  const head = make("thead", {}, cells(["your votes", "better", "no difference", "worse"], "th"));
  element("tally").replaceChildren(make("table", {}, head, make("tbody", {}, ...lines)));
  element("tally").hidden = false;
}

function download() {
  downloadJSON("votes.json", { report: SONGS.title, votes });
  saved = votes.length;
}

// Keys

const step = (by) => {
  for (let number = chosen + by; rows()[number]; number += by) {
    if (!rows()[number].missing) return choose(number);
  }
};
const kind = (name) => choose(rows().findIndex((row) => row.kind === name));
const KEYS = {
  ...PLAYER_KEYS,
  x: () => (duel ? leaveBlind() : enterBlind()),
};
const OPEN = {
  ArrowUp: () => step(-1),
  ArrowDown: () => step(1),
  m: () => kind("mixture"),
  t: () => kind("target"),
  r: () => rows()[chosen].residual?.audio && choose(chosen, !residual),
};
const BLIND = {
  a: () => hear("a"), b: () => hear("b"), t: () => hear("target"), m: () => hear("mixture"),
  1: () => vote("a"), 2: () => vote("none"), 3: () => vote("b"),
};
for (let number = 1; number <= 9; number += 1) OPEN[number] = () => choose(number - 1);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, input, summary")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const action = KEYS[key] ?? (duel ? BLIND : OPEN)[key];
  if (!action) return;
  event.preventDefault();
  action();
});

element("song").replaceChildren(...SONGS.songs.map((track, number) => new Option(track.name, number)));
element("song").addEventListener("change", openSong);
element("target").addEventListener("change", openTarget);
element("play").addEventListener("click", () => deck.toggle());
element("loop").addEventListener("click", toggleLoop);
element("blind").addEventListener("click", KEYS.x);
element("download").addEventListener("click", download);
for (const button of document.querySelectorAll("[data-side]")) button.addEventListener("click", () => hear(button.dataset.side));
for (const button of document.querySelectorAll("[data-vote]")) button.addEventListener("click", () => vote(button.dataset.vote));
addEventListener("beforeunload", (event) => votes.length > saved && event.preventDefault());
onPointer(element("line"));
openSong();
