"use strict";
// Play the audio files that are listed in SONGS (listen-data.js). Only one <audio> element plays at a time.
// If the user selects another file, its element continues at the same position.

const MOST_PLAYERS = 40; // largest number of <audio> elements; browsers allow about 75 per page
const EARLY = 14; // files of a song that are loaded before the user selects them
const STEP = 2; // seconds that one press of an arrow key moves the position
const DRAG = 6; // pixels; a longer movement of the mouse is a drag, a shorter movement is a click
const SHORTEST_LOOP = 0.1; // length in seconds of the shortest loop
const element = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

class Deck {
  players = new Map(); // by address, in the order of their last use
  current = null;
  playing = false;
  loop = null; // { from, to } in seconds
  looping = false;

  /** Return the <audio> element of a file. The file is loaded in the background. */
  player(address) {
    const wanted = this.players.get(address) ?? this.make(address);
    this.players.delete(address);
    this.players.set(address, wanted);
    for (const [old, player] of this.players) {
      if (this.players.size <= MOST_PLAYERS) break;
      if (player !== this.current && player !== wanted) this.drop(old, player);
    }
    return wanted;
  }

  make(address) {
    const player = new Audio();
    player.preload = "auto";
    player.src = url(address);
    player.addEventListener("ended", () => player === this.current && this.ended());
    player.addEventListener("timeupdate", () => this.wrap()); // also works if the page is hidden
    player.addEventListener("error", () => player === this.current && showHint(`${duel ? "this" : address} cannot be played`));
    return player;
  }

  drop(address, player) {
    player.pause();
    player.removeAttribute("src");
    player.load();
    this.players.delete(address);
  }

  get position() {
    return this.current ? this.current.currentTime : 0;
  }

  /** Select another file, and continue at the same position. */
  switchTo(address) {
    const next = this.player(address);
    if (next === this.current) return;
    const position = this.position;
    this.current?.pause();
    this.current = next;
    next.currentTime = position;
    if (this.playing) this.start();
  }

  start() {
    this.playing = true;
    this.current.play().catch((error) => {
      if (error.name !== "AbortError") throw error; // AbortError: the user has selected another file
    });
    requestAnimationFrame(() => this.tick());
  }

  stop() {
    this.playing = false;
    this.current?.pause();
    paint();
  }

  toggle() {
    if (this.playing) this.stop();
    else if (this.current) this.start();
    paint();
  }

  seek(seconds) {
    if (this.current) this.current.currentTime = clamp(seconds, 0, song().seconds);
    this.wrap();
    paint();
  }

  wrap() {
    if (!this.looping || !this.loop) return;
    const { from, to } = this.loop;
    if (this.position >= to || this.position < from - 0.05) this.current.currentTime = from;
  }

  ended() {
    if (this.looping && this.loop) {
      this.current.currentTime = this.loop.from;
      this.start();
    } else {
      this.stop();
    }
  }

  tick() {
    this.wrap();
    paint();
    if (this.playing) requestAnimationFrame(() => this.tick());
  }

  empty() {
    this.stop();
    for (const [address, player] of [...this.players]) this.drop(address, player);
    this.current = null;
    this.loop = null;
    this.looping = false;
  }
}

const deck = new Deck();
const votes = [];
let saved = 0; // number of downloaded votes
let chosen = 0; // number of the selected row
let residual = false; // whether the residual of the selected row is played
let duel = null; // numbers of the rows { a, b } in a blind comparison

const song = () => SONGS.songs[element("song").value];
const target = () => element("target").value;
const rows = () => song().targets[target()] ?? []; // a song can have no targets
const files = (row) => (residual && row.residual?.audio ? row.residual : row);
const url = (path) => path.split("/").map(encodeURIComponent).join("/"); // file names can contain # ? %
const showHint = (text) => (element("hint").textContent = text);

function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  return `${Math.floor(tenths / 600)}:${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
}

function paint() {
  const { seconds } = song();
  const root = document.documentElement.style;
  root.setProperty("--place", seconds ? deck.position / seconds : 0);
  if (deck.loop) {
    root.setProperty("--from", deck.loop.from / seconds);
    root.setProperty("--to", deck.loop.to / seconds);
  }
  document.body.classList.toggle("marked", Boolean(deck.loop));
  element("time").textContent = `${clock(deck.position)} / ${clock(seconds)}`;
  element("play").textContent = deck.playing ? "❚❚" : "▶";
  element("loop").setAttribute("aria-pressed", deck.looping);
}

function make(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** Add mouse control to an element that shows the whole song: a click seeks, a drag marks a loop. */
function onPointer(surface) {
  let start = null;
  const at = (event) => {
    const { left, width } = surface.getBoundingClientRect();
    return clamp((event.clientX - left) / width, 0, 1) * song().seconds;
  };
  surface.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    surface.setPointerCapture(event.pointerId);
    start = { x: event.clientX, seconds: at(event), dragged: false };
  });
  surface.addEventListener("pointermove", (event) => {
    if (!start) return;
    start.dragged ||= Math.abs(event.clientX - start.x) > DRAG;
    if (start.dragged) mark(Math.min(start.seconds, at(event)), Math.max(start.seconds, at(event)));
  });
  surface.addEventListener("pointerup", (event) => {
    if (start && !start.dragged) deck.seek(at(event));
    else if (start) deck.seek(deck.loop?.from ?? at(event));
    start = null;
  });
  surface.addEventListener("pointercancel", () => (start = null));
}

function mark(from, to) {
  if (to - from < SHORTEST_LOOP) return;
  deck.loop = { from, to };
  deck.looping = true;
  deck.wrap();
  paint();
}

function markHere(edge) {
  const { from, to } = deck.loop ?? { from: 0, to: song().seconds };
  if (edge === "from") mark(deck.position, to > deck.position ? to : song().seconds);
  else mark(from < deck.position ? from : 0, deck.position);
}

function toggleLoop() {
  if (deck.loop) deck.looping = !deck.looping;
  else mark(0, song().seconds);
  deck.wrap();
  paint();
}

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
  const text = JSON.stringify({ report: SONGS.title, votes }, null, 2);
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: "votes.json" });
  link.click();
  URL.revokeObjectURL(link.href);
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
  " ": () => deck.toggle(),
  ArrowLeft: () => deck.seek(deck.position - STEP),
  ArrowRight: () => deck.seek(deck.position + STEP),
  "[": () => markHere("from"),
  "]": () => markHere("to"),
  l: toggleLoop,
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
