"use strict";
// Play audio files. Only one <audio> element plays at a time. If the user selects another file, its element continues at the
// same position. The page defines two functions: song() returns an object with the length `seconds`, and cannotPlay(address)
// shows that a file cannot be played.

const MOST_PLAYERS = 40; // largest number of <audio> elements; browsers allow about 75 per page
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
    player.addEventListener("error", () => player === this.current && cannotPlay(address));
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
const url = (path) => path.split("/").map(encodeURIComponent).join("/"); // file names can contain # ? %

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

/** Download a value as a JSON file. */
function downloadJSON(name, value) {
  const link = make("a", { href: URL.createObjectURL(new Blob([JSON.stringify(value, null, 2)], { type: "application/json" })), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}

// Keys of all pages
const PLAYER_KEYS = {
  " ": () => deck.toggle(),
  ArrowLeft: () => deck.seek(deck.position - STEP),
  ArrowRight: () => deck.seek(deck.position + STEP),
  "[": () => markHere("from"),
  "]": () => markHere("to"),
  l: toggleLoop,
};
