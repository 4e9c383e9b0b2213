"use strict";
// Synchronised players over the files of SONGS (listen-data.js). One <audio> sounds at a time; a switch hands it the place.

const MOST_PLAYERS = 40; // browsers allow some 75 in a page
const EARLY = 14; // so many files of a song are loaded before they are asked for
const STEP = 2; // seconds of an arrow key
const DRAG = 6; // pixels that make a click a drag
const SHORTEST_LOOP = 0.1; // seconds
const element = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

class Deck {
  players = new Map(); // by address, the latest used last
  current = null;
  playing = false;
  loop = null; // { from, to } in seconds
  looping = false;

  /** The player of a file, which loads in the background. */
  player(address) {
    const found = this.players.get(address) ?? this.make(address);
    this.players.delete(address);
    this.players.set(address, found);
    for (const [old, player] of this.players) {
      if (this.players.size <= MOST_PLAYERS) break;
      if (player !== this.current && player !== found) this.drop(old, player);
    }
    return found;
  }

  make(address) {
    const player = new Audio();
    player.preload = "auto";
    player.src = url(address);
    player.addEventListener("ended", () => player === this.current && this.ended());
    player.addEventListener("timeupdate", () => this.wrap()); // also where the page is hidden and nothing is painted
    player.addEventListener("error", () => player === this.current && say(`${duel ? "this" : address} cannot be played`));
    return player;
  }

  drop(address, player) {
    player.pause();
    player.removeAttribute("src");
    player.load();
    this.players.delete(address);
  }

  get place() {
    return this.current ? this.current.currentTime : 0;
  }

  /** Another file goes on where this one stops. */
  switchTo(address) {
    const next = this.player(address);
    if (next === this.current) return;
    const place = this.place;
    this.current?.pause();
    this.current = next;
    next.currentTime = place;
    if (this.playing) this.start();
  }

  start() {
    this.playing = true;
    this.current.play().catch((error) => {
      if (error.name !== "AbortError") throw error; // which says that another file was chosen meanwhile
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
    if (this.place >= to || this.place < from - 0.05) this.current.currentTime = from;
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
let saved = 0; // votes that have been downloaded
let chosen = 0; // row
let residual = false; // of it
let duel = null; // { a, b, side }: rows

const song = () => SONGS.songs[element("song").value];
const target = () => element("target").value;
const rows = () => song().targets[target()] ?? []; // a song may have no target
const files = (row) => (residual && row.residual?.audio ? row.residual : row);
const url = (path) => path.split("/").map(encodeURIComponent).join("/"); // names of files may hold # ? %
const say = (words) => (element("hint").textContent = words);

function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  return `${Math.floor(tenths / 600)}:${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
}

function paint() {
  const { seconds } = song();
  const root = document.documentElement.style;
  root.setProperty("--place", seconds ? deck.place / seconds : 0);
  if (deck.loop) {
    root.setProperty("--from", deck.loop.from / seconds);
    root.setProperty("--to", deck.loop.to / seconds);
  }
  document.body.classList.toggle("marked", Boolean(deck.loop));
  element("time").textContent = `${clock(deck.place)} / ${clock(seconds)}`;
  element("play").textContent = deck.playing ? "❚❚" : "▶";
  element("loop").setAttribute("aria-pressed", deck.looping);
}

function make(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A surface over the whole song: a click goes there, a drag marks a loop. */
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
  if (edge === "from") mark(deck.place, to > deck.place ? to : song().seconds);
  else mark(from < deck.place ? from : 0, deck.place);
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
  const whole = make("div", { className: "row" }, label, picture);
  if (row.missing) {
    whole.classList.add("missing");
    picture.textContent = row.missing;
    pick.disabled = true;
    return whole;
  }
  pick.addEventListener("click", () => choose(number));
  if (row.residual?.audio) {
    const rest = make("button", { type: "button", className: "rest", textContent: "residual", title: "what it leaves over: the mixture less all estimates" });
    rest.addEventListener("click", () => choose(number, !(residual && chosen === number)));
    label.append(rest);
  }
  const kHz = make("span", { textContent: `${row.levelled === false ? "level not known, " : ""}0 – ${row.kHz} kHz` });
  const image = make("img", { alt: `spectrogram of ${row.name}`, src: url(row.picture) });
  picture.append(image, make("i", { className: "region" }), make("i", { className: "cursor" }), kHz);
  picture.addEventListener("pointerdown", () => chosen === number || choose(number));
  onPointer(picture);
  return whole;
}

/** Hear a row, or what it leaves over. */
function choose(number, rest = false) {
  if (!rows()[number] || rows()[number].missing) return;
  [chosen, residual] = [number, rest];
  deck.switchTo(files(rows()[number]).audio);
  showChosen();
  paint();
}

function showChosen() {
  [...element("rows").children].forEach((place, number) => {
    const on = number === chosen;
    place.classList.toggle("on", on);
    place.querySelector(".pick").setAttribute("aria-pressed", on && !residual);
    place.querySelector(".rest")?.setAttribute("aria-pressed", on && residual);
    const image = place.querySelector("img");
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
  element("gone").querySelector("ul").replaceChildren(...missing.map((words) => make("li", { textContent: words })));
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
  return all.flatMap((a, place) => all.slice(place + 1).map((b) => [a, b]));
}

function count(a, b) {
  const names = [rows()[a].name, rows()[b].name];
  const here = votes.filter((vote) => vote.song === song().name && vote.target === target());
  return here.filter((vote) => names.includes(vote.a) && names.includes(vote.b)).length;
}

/** One of the pairs that have been heard least, in an order drawn by lot. */
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
  const names = [...new Set(votes.flatMap((one) => [one.a, one.b]))];
  const cells = (texts, tag) => make("tr", {}, ...texts.map((text, place) => make(place ? tag : "th", { textContent: text })));
  const lines = names.map((name) => {
    const own = votes.filter((one) => one.a === name || one.b === name);
    const won = own.filter((one) => one.better === name).length;
    const even = own.filter((one) => one.better === null).length;
    return cells([name, won, even, own.length - won - even], "td");
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
  ArrowLeft: () => deck.seek(deck.place - STEP),
  ArrowRight: () => deck.seek(deck.place + STEP),
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

element("song").replaceChildren(...SONGS.songs.map((one, number) => new Option(one.name, number)));
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
