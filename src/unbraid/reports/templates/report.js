"use strict";
// Draw the plots of a report with Plotly from REPORT (report-data.js). Each plot is drawn when it first becomes visible.

// Colours of Okabe and Ito, which colour-blind readers can distinguish. After the last colour, dashes and symbols change.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "star"];
const NAMED = 14; // with more variants, points have no labels
const PAPER = 680; // width of a plot on paper, in pixels
const element = (id) => document.getElementById(id);
const style = (variant) => ({
  colour: COLOURS[variant % COLOURS.length],
  dash: DASHES[Math.floor(variant / COLOURS.length) % DASHES.length],
  symbol: SYMBOLS[Math.floor(variant / COLOURS.length) % SYMBOLS.length],
});
const translucent = (colour) => `${colour}33`;
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;"); // Plotly interprets some tags as markup
const variants = REPORT.variants.map(escaped);
const tracks = REPORT.tracks.map(escaped);

function layout(more) {
  const look = getComputedStyle(document.documentElement);
  const ink = look.getPropertyValue("--ink").trim();
  const rule = look.getPropertyValue("--rule").trim();
  const axis = { gridcolor: rule, zerolinecolor: rule, automargin: true };
  const { xaxis = {}, yaxis = {}, ...rest } = more;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 13 },
    margin: { l: 60, r: 20, t: 30, b: 50 }, hovermode: "closest", showlegend: false,
    ...rest, xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis },
  };
}

const target = () => element("target").value;
const measure = () => element("measure").value;
const decibels = () => ({ title: { text: `${escaped(measure())} (dB)` } });
const scoresOf = () => REPORT.scores[target()][measure()] ?? []; // empty if all measures are undefined

function boxes() {
  const traces = scoresOf().map((scores, variant) => ({
    type: "box", name: variants[variant], y: scores, text: tracks, boxpoints: variants.length > NAMED ? "outliers" : "all", jitter: 0.4,
    pointpos: 0, marker: { color: style(variant).colour, size: 5, symbol: style(variant).symbol }, line: { width: 1.5 },
    fillcolor: translucent(style(variant).colour), hovertemplate: "%{text}<br>%{y:.2f} dB<extra>%{fullData.name}</extra>",
  }));
  return [traces, layout({ xaxis: { type: "category" }, yaxis: decibels(), height: 420 })];
}

function heat() {
  const relative = element("relative").checked;
  const scores = scoresOf();
  const base = scores[REPORT.variants.indexOf(REPORT.baseline)];
  const minus = (a, b) => (a === null || b === null ? null : a - b);
  const z = relative ? scores.map((row) => row.map((value, track) => minus(value, base[track]))) : scores;
  const trace = {
    type: "heatmap", x: tracks, y: variants, z, hoverongaps: false, colorbar: { title: { text: "dB" } },
    colorscale: relative ? "RdBu" : "Cividis", reversescale: false, ...(relative ? { zmid: 0 } : {}),
    hovertemplate: "%{y}<br>%{x}<br>%{z:.2f} dB<extra></extra>",
  };
  const axis = { type: "category", tickangle: -45 };
  return [[trace], layout({ height: 180 + 24 * variants.length, xaxis: axis, yaxis: { type: "category", autorange: "reversed" } })];
}

function reference(curve) {
  const label = `reference ${escaped(curve.name)} (${curve.seeds} seeds)`;
  const grey = { type: "scatter", mode: "lines", legendgroup: label, x: curve.epochs };
  const edge = { ...grey, line: { width: 0 }, hoverinfo: "skip", showlegend: false };
  return [
    { ...edge, y: curve.low }, { ...edge, y: curve.high, fill: "tonexty", fillcolor: "rgba(128, 128, 128, 0.25)" },
    { ...grey, name: label, y: curve.median, line: { color: "#808080", dash: "dot", width: 2 }, hovertemplate: "%{y:.4g}<extra>%{fullData.name}</extra>" },
  ];
}

function curves() {
  const name = element("curve").value;
  const traces = (REPORT.curves[name] || []).flatMap((curve) => {
    const variant = REPORT.variants.indexOf(curve.variant);
    const look = style(variant < 0 ? REPORT.variants.length : variant);
    const label = escaped(curve.variant);
    const edge = { type: "scatter", mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false, legendgroup: label, x: curve.epochs };
    const band = curve.seeds < 2 ? [] : [{ ...edge, y: curve.low }, { ...edge, y: curve.high, fill: "tonexty", fillcolor: translucent(look.colour) }];
    return [...band, {
      type: "scatter", mode: curve.epochs.length > 1 ? "lines" : "markers", name: label, legendgroup: label, x: curve.epochs, y: curve.mean,
      line: { color: look.colour, dash: look.dash, width: 2 }, hovertemplate: "epoch %{x}: %{y:.4g}<extra>%{fullData.name}</extra>",
    }];
  });
  traces.unshift(...(REPORT.references[name] || []).flatMap(reference));
  const last = Math.max(1, ...traces.flatMap((trace) => trace.x));
  const epochs = { title: { text: "epoch" }, dtick: Math.max(1, Math.ceil(last / 10)), tickformat: "d" };
  return [traces, layout({ height: 420, showlegend: true, xaxis: epochs, yaxis: { title: { text: escaped(name || "") } } })];
}

function against(costs, label) {
  const figures = REPORT.figures[target()][measure()] ?? variants.map(() => null);
  const known = variants.map((_, variant) => variant).filter((variant) => costs[variant] && figures[variant] !== null);
  const trace = {
    type: "scatter", mode: variants.length > NAMED ? "markers" : "markers+text", x: known.map((variant) => costs[variant]),
    y: known.map((variant) => figures[variant]), text: known.map((variant) => variants[variant]), textposition: "top center",
    marker: { size: 10, color: known.map((variant) => style(variant).colour), symbol: known.map((variant) => style(variant).symbol) },
    cliponaxis: false, hovertemplate: "%{text}<br>%{x:.4s}, %{y:.2f} dB<extra></extra>",
  };
  const empty = known.length > 0 ? [] : [{ text: "not recorded", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5 }];
  const [least, most] = [Math.min(...trace.x), Math.max(...trace.x)];
  const log = { type: "log", dtick: "D2", range: [Math.log10(least) - 0.3, Math.log10(most) + 0.3] };
  const x = { title: { text: label }, ...(most >= 10 * least ? log : { range: [0, 1.3 * most] }) }; // the margin is for labels
  return [[trace], layout({ height: 380, annotations: empty, xaxis: x, yaxis: decibels() })];
}

const PLOTS = {
  boxes, heat, curves,
  parameters: () => against(REPORT.parameters, "parameters"),
  seconds: () => against(REPORT.seconds, "seconds of training"),
};
const BY_MEASURE = ["boxes", "heat", "parameters", "seconds"];
const seen = new Set();

function draw(names, size = { autosize: true }) {
  for (const name of names.filter((plot) => seen.has(plot))) {
    const [traces, look] = PLOTS[name]();
    Plotly.react(name, traces, { ...look, ...size }, { responsive: true, displaylogo: false });
  }
}

function fill(id, names, chosen) {
  element(id).replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
}

function chooseTarget() {
  const { measures, main } = REPORT.targets[target()];
  fill("measure", measures, main);
}

fill("target", Object.keys(REPORT.targets));
chooseTarget();
fill("curve", Object.keys(REPORT.curves));
element("target").addEventListener("change", () => { chooseTarget(); draw(BY_MEASURE); });
element("measure").addEventListener("change", () => draw(BY_MEASURE));
element("relative").addEventListener("change", () => draw(["heat"]));
element("curve").addEventListener("change", () => draw(["curves"]));
window.addEventListener("beforeprint", () => { // paper also shows the plots to which the reader has not scrolled
  Object.keys(PLOTS).forEach((name) => seen.add(name));
  draw(Object.keys(PLOTS), { width: PAPER });
});
window.addEventListener("afterprint", () => draw(Object.keys(PLOTS)));
document.addEventListener("theme", () => draw(Object.keys(PLOTS)));
const watcher = new IntersectionObserver((entries) => {
  for (const { target: plot } of entries.filter((entry) => entry.isIntersecting)) {
    watcher.unobserve(plot);
    seen.add(plot.id);
    draw([plot.id]);
  }
}, { rootMargin: "200px" });
Object.keys(PLOTS).forEach((id) => watcher.observe(element(id)));
