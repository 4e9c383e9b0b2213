// The page uploads a song, waits for its stems, plays the stems together, and draws the mask of each stem over the spectrogram.
"use strict";

const $ = (id) => document.getElementById(id);
const COLOURS = [[242, 165, 65], [97, 175, 239], [152, 195, 121], [224, 108, 117], [198, 120, 221], [150, 150, 150]];
const FFT = 2048, FLOOR_DB = -80;

const context = { audio: null, song: null, sending: false, stems: [], sources: [], startedAt: 0, offset: 0, playing: false, shown: 0, picture: [] };

function show(message, wrong = false) {
  $("message").textContent = message;
  $("message").classList.toggle("wrong", wrong);
}

async function answer(response) {
  const body = await response.json();
  if (!response.ok) throw new Error(body.message);
  return body;
}

// Upload

async function upload(file) {
  if (context.sending) return show(`${file.name}: another song is being uploaded. Wait until its upload has ended.`, true);
  await removeSong();
  const { megabytes } = await answer(await fetch("/model"));
  if (file.size > megabytes * 1e6) return show(`${file.name}: the file is larger than ${megabytes} MB`, true);
  show(`${file.name}: uploading`);
  context.sending = true;
  await follow(fetch(`/songs?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file }));
}

async function follow(request) { // show the song whose id the request returns
  $("progress").hidden = false;
  $("progress").removeAttribute("value");
  try {
    const { id } = await answer(await request);
    context.song = id;
    context.sending = false;
    if (id) await wait(id);
  } catch (error) {
    show(error.message, true);
  } finally {
    context.sending = false;
    $("progress").hidden = true;
  }
}

async function wait(id) {
  for (;;) {
    const song = await answer(await fetch(`/songs/${id}`));
    if (context.song !== id) return;
    if (song.state === "failed") throw new Error(song.message);
    if (song.state === "done") {
      show(song.message);
      return openPlayer(id, song);
    }
    const share = song.total ? Math.min(song.done / song.total, 1) : 0;
    $("progress").value = share;
    show(song.state === "waiting" ? `${song.name}: waiting, songs before this song: ${song.before}` : `${song.name}: ${Math.round(100 * share)} % separated`);
    await new Promise((done) => setTimeout(done, 250));
  }
}

async function removeSong() {
  stop();
  context.offset = 0;
  $("player").hidden = true;
  const id = context.song;
  context.song = null;
  if (id) await fetch(`/songs/${id}`, { method: "DELETE" });
}

// Playing

async function openPlayer(id, song) {
  context.audio ??= new AudioContext();
  const load = async (name, i) => {
    const url = `/songs/${id}/${encodeURIComponent(name)}`;
    const bytes = await (await fetch(url)).arrayBuffer();
    const gain = context.audio.createGain();
    gain.connect(context.audio.destination);
    return { name, url, gain, colour: COLOURS[i % COLOURS.length], buffer: await context.audio.decodeAudioData(bytes),
      volume: 1, mute: false, solo: false };
  };
  context.stems = await Promise.all(song.stems.map(load));
  $("name").textContent = song.name;
  $("stems").replaceChildren(...context.stems.map(row));
  $("player").hidden = false;
  context.picture = analyse();
  level();
  draw(0);
  tick();
}

function element(kind, properties = {}, ...children) {
  const node = Object.assign(document.createElement(kind), properties);
  node.append(...children);
  return node;
}

function row(stem, i) {
  const dot = element("i");
  dot.style.background = `rgb(${stem.colour})`;
  const volume = element("input", { type: "range", min: 0, max: 1.5, step: 0.01, value: 1, ariaLabel: `volume of ${stem.name}` });
  volume.addEventListener("input", () => { stem.volume = Number(volume.value); level(); });
  const toggle = (key) => {
    const button = element("button", { textContent: key, ariaPressed: "false", ariaLabel: `${key} ${stem.name}` });
    button.addEventListener("click", () => { stem[key] = !stem[key]; button.ariaPressed = String(stem[key]); level(); });
    return button;
  };
  const mask = element("button", { textContent: "mask", className: "mask", ariaPressed: String(i === 0), ariaLabel: `mask of ${stem.name}` });
  mask.addEventListener("click", () => draw(i));
  const download = element("a", { textContent: "download", href: stem.url, download: "" });
  const node = element("div", { className: "stem" }, dot, element("span", { textContent: stem.name }), volume,
    element("div", {}, toggle("mute"), toggle("solo"), mask, download));
  node.dataset.stem = stem.name;
  return node;
}

function level() {
  const solo = context.stems.some((stem) => stem.solo);
  for (const stem of context.stems) stem.gain.gain.value = stem.mute || (solo && !stem.solo) ? 0 : stem.volume;
}

const duration = () => (context.stems.length ? context.stems[0].buffer.duration : 0);
const position = () => Math.min(context.offset + (context.playing ? context.audio.currentTime - context.startedAt : 0), duration());

function start() {
  if (context.offset >= duration()) context.offset = 0;
  context.audio.resume();
  context.startedAt = context.audio.currentTime + 0.05; // all stems start at the same time
  context.sources = context.stems.map((stem) => {
    const source = new AudioBufferSourceNode(context.audio, { buffer: stem.buffer });
    source.connect(stem.gain);
    source.start(context.startedAt, context.offset);
    return source;
  });
  context.playing = true;
  $("play").textContent = "❚❚";
}

function stop() {
  context.offset = Math.max(position(), 0);
  for (const source of context.sources) source.stop();
  context.sources = [];
  context.playing = false;
  $("play").textContent = "▶";
}

function seek(seconds) {
  const again = context.playing;
  stop();
  context.offset = seconds;
  if (again) start();
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function tick() {
  if ($("player").hidden) return;
  if (context.playing && position() >= duration()) stop();
  const now = Math.max(position(), 0), share = duration() ? now / duration() : 0;
  $("cursor").style.left = `${100 * share}%`;
  $("seek").value = share;
  $("time").textContent = `${clock(now)} / ${clock(duration())}`;
  requestAnimationFrame(tick);
}

// Spectrogram: magnitudes of each stem and of their sum, one spectrum per column of the picture

function transform(real, imaginary) { // in place, Cooley and Tukey 1965
  const n = real.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let size = 2; size <= n; size <<= 1) {
    const half = size >> 1;
    for (let k = 0; k < half; k++) {
      const c = Math.cos(-2 * Math.PI * k / size), s = Math.sin(-2 * Math.PI * k / size);
      for (let a = k; a < n; a += size) {
        const b = a + half, x = real[b] * c - imaginary[b] * s, y = real[b] * s + imaginary[b] * c;
        real[b] = real[a] - x; imaginary[b] = imaginary[a] - y;
        real[a] += x; imaginary[a] += y;
      }
    }
  }
}

function magnitudes(samples, at, window) {
  const real = new Float64Array(FFT), imaginary = new Float64Array(FFT);
  for (let i = 0; i < FFT; i++) real[i] = (samples[at + i] ?? 0) * window[i];
  transform(real, imaginary);
  return Float32Array.from({ length: FFT / 2 }, (_, k) => Math.hypot(real[k], imaginary[k]));
}

function analyse() {
  const window = Float64Array.from({ length: FFT }, (_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / FFT));
  const signals = context.stems.map((stem) => stem.buffer.getChannelData(0));
  const mixture = Float32Array.from(signals[0], (_, i) => signals.reduce((sum, signal) => sum + signal[i], 0));
  const columns = $("spectrogram").width, hop = Math.max(mixture.length - FFT, 0) / columns;
  return Array.from({ length: columns }, (_, column) => {
    const at = Math.round(column * hop);
    return { mixture: magnitudes(mixture, at, window), stems: signals.map((signal) => magnitudes(signal, at, window)) };
  });
}

function draw(shown) {
  context.shown = shown;
  document.querySelectorAll(".mask").forEach((button, i) => { button.ariaPressed = String(i === shown); });
  const canvas = $("spectrogram"), { width, height } = canvas, pen = canvas.getContext("2d");
  const image = pen.createImageData(width, height), colour = context.stems[shown].colour;
  let loudest = 1e-9;
  for (const column of context.picture) for (const value of column.mixture) loudest = Math.max(loudest, value);
  const low = Math.log(2), high = Math.log(FFT / 2 - 1); // bins on a logarithmic axis
  for (let y = 0; y < height; y++) {
    const bin = Math.round(Math.exp(low + (high - low) * (1 - y / (height - 1))));
    for (let x = 0; x < width; x++) {
      const column = context.picture[x], all = column.mixture[bin];
      const light = Math.max(0, 1 - 20 * Math.log10(loudest / Math.max(all, 1e-12)) / -FLOOR_DB);
      const others = column.stems.reduce((sum, stem) => sum + stem[bin], 0);
      const mask = others > 0 ? column.stems[shown][bin] / others : 0;
      for (let c = 0; c < 3; c++) image.data[4 * (y * width + x) + c] = light * (mask * colour[c] * 1.1 + (1 - mask) * 120);
      image.data[4 * (y * width + x) + 3] = 255;
    }
  }
  pen.putImageData(image, 0, 0);
}

// Input of the user

$("file").addEventListener("change", () => { if ($("file").files.length) upload($("file").files[0]); $("file").value = ""; });
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
  });
}
$("drop").addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") $("file").click(); });
$("play").addEventListener("click", () => (context.playing ? stop() : start()));
$("seek").addEventListener("input", () => seek(Number($("seek").value) * duration()));
$("spectrogram").addEventListener("click", (event) => seek(event.offsetX / $("spectrogram").clientWidth * duration()));
$("remove").addEventListener("click", async () => { await removeSong(); show("The song was deleted."); });
window.addEventListener("pagehide", () => { // a closed page deletes its song
  if (context.song) fetch(`/songs/${context.song}`, { method: "DELETE", keepalive: true });
});
fetch("/model").then(answer).then((model) => { $("model").textContent = `${model.title}: ${model.stems.join(", ")}`; });
follow(fetch("/songs")); // a song of an app that was killed
