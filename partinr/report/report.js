"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const store = JSON.parse(document.getElementById("store").textContent);
const at = (id) => document.getElementById(id);
const { fits, learned } = data.studies;
const AXES = {
  inner: { title: "inner steps, at the end of training", hover: "%{x} inner steps" },
  step: { title: "optimiser steps", hover: "%{x:,.0f} steps", effort: "Steps" },
  seconds: { title: "seconds of training", hover: "%{x:.3~s} s", effort: "Seconds of training" },
  macs: { title: "multiply-accumulates", hover: "%{x:.3~s} multiply-accumulates", effort: "Multiply-accumulates" },
};
const STATES = ["completed", "running", "queued", "interrupted", "failed", "damaged"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const COLOURS = 6;
// Of more groups than styles, lines say nothing by themselves: they are coloured by a setting.
const STYLES = COLOURS * DASHES.length;
const MOST = { rows: 100, panels: 24, efforts: 24, rates: 30 };
const page = { ...MOST };

// -- what is shown, and the address that says so ---------------------------------------------------------------------

// `image` is a number or "all"; `by` null for the whole configuration; `colour` and `level` empty for the page's choice.
const start = () => ({
  image: 0, axis: "step", scale: "linear", outer: "step", outerScale: "linear",
  filter: "", facets: {}, by: null, colour: "", level: "", sort: null,
});
let view = start();

const CHOICES = { axis: ["step", "seconds", "macs"], scale: ["linear", "log"] };
CHOICES.outer = CHOICES.axis;
CHOICES.outerScale = CHOICES.scale;

function address() {
  const said = new URLSearchParams();
  const plain = start();
  if (view.image !== plain.image) said.set("image", view.image === "all" ? "all" : `=${fits.images[view.image].name}`);
  for (const key of ["axis", "scale", "outer", "outerScale", "filter", "colour", "level"]) if (view[key] !== plain[key]) said.set(key, view[key]);
  for (const [name, values] of Object.entries(view.facets)) for (const value of values) said.append(`only.${name}`, value);
  if (view.by) for (const name of view.by.length ? view.by : [""]) said.append("by", name);
  if (view.sort) said.set("sort", [view.sort.table, view.sort.column, view.sort.descending ? "down" : "up"].join(" "));
  return said.toString();
}

// What an address says that this page does not know (a value that no run has yet) is left out, but for chosen values.
function read(said) {
  const parts = new URLSearchParams(said);
  const found = start();
  const image = parts.get("image");
  if (image === "all" && fits.images.length > 1) found.image = "all";
  else if (image) found.image = Math.max(0, fits.images.findIndex(({ name }) => `=${name}` === image));
  for (const [key, allowed] of Object.entries(CHOICES)) if (allowed.includes(parts.get(key))) found[key] = parts.get(key);
  found.filter = parts.get("filter") ?? "";
  if (Number(parts.get("level")) > 0) found.level = parts.get("level");
  for (const { name } of data.facets) {
    if (parts.has(`only.${name}`)) found.facets[name] = parts.getAll(`only.${name}`);
    if (parts.get("colour") === name) found.colour = name;
  }
  if (parts.get("colour") === "group") found.colour = "group";
  if (parts.has("by")) found.by = data.facets.map(({ name }) => name).filter((name) => parts.getAll("by").includes(name));
  const [table, column, direction] = (parts.get("sort") ?? "").split(" ");
  if (document.querySelector(`table[id="${CSS.escape(table)}"] [data-column="${CSS.escape(column ?? "")}"]`)) {
    found.sort = { table, column, descending: direction === "down" };
  }
  return found;
}

// -- filter ----------------------------------------------------------------------------------------------------------

const texts = data.runs.map((run) => [
  run.name, run.path, run.message, run.study && data.studies[run.study].labels[run.label].label,
  ...data.facets.map(({ name, key, values }, i) => (run.facets[i] < 0 ? "" : [name, key].map((word) => `${word} ${values[run.facets[i]]}\n${word}=${values[run.facets[i]]}`).join("\n"))),
].join("\n").toLowerCase());

function matching() {
  const words = view.filter.toLowerCase().split(/\s+/).filter((word) => word && word !== "-");
  const chosen = Object.entries(view.facets).map(([name, values]) => {
    const i = data.facets.findIndex((facet) => facet.name === name);
    return [i, new Set(values.map((value) => data.facets[i].values.indexOf(value)).filter((value) => value >= 0))];
  });
  return data.runs.map((run, i) => words.every((word) => (word[0] === "-" ? !texts[i].includes(word.slice(1)) : texts[i].includes(word)))
    && chosen.every(([facet, values]) => values.has(run.facets[facet])));
}

const filtered = () => view.filter.trim() !== "" || Object.keys(view.facets).length > 0;
let shownRuns = data.runs.map(() => true);

// The image that is shown: the chosen one, or the first that has runs where a filter leaves none on it.
function image() {
  if (view.image === "all") return "all";
  const has = (index) => data.runs.some((run, i) => shownRuns[i] && run.study === "fits" && run.image === index);
  if (!filtered() || has(view.image)) return view.image;
  const other = fits.images.findIndex((_, index) => has(index));
  return other < 0 ? view.image : other;
}

// -- groups ----------------------------------------------------------------------------------------------------------

const facetIndex = (name) => data.facets.findIndex((facet) => facet.name === name);

// The label of a run's group, and its place among the others.
function labelOf(run) {
  if (!view.by) return { label: data.studies[run.study].labels[run.label].label, order: [run.label] };
  const order = view.by.map((name) => run.facets[facetIndex(name)]);
  const words = view.by.map((name, i) => {
    const { kind, values } = data.facets[facetIndex(name)];
    const value = order[i] < 0 ? "" : values[order[i]];
    const bare = kind === "image" || kind === "status" || isNaN(value) && !["on", "off", "unset"].includes(value);
    return value && (bare ? value : `${name} ${value}`);
  }).filter(Boolean);
  return { label: words.join(" · ") || (view.by.length ? "other" : "all runs"), order };
}

const compare = (a, b) => a.map((x, i) => x - b[i]).find(Boolean) ?? 0;

// Colours of groups do not change with the filter: they are given out over all runs.
function stylesOf(study) {
  const all = new Map();
  for (const run of data.runs) {
    if (run.study !== study) continue;
    const { label, order } = labelOf(run);
    if (!all.has(label)) all.set(label, { order, runs: [] });
    all.get(label).runs.push(run);
  }
  const labels = [...all.keys()].sort((a, b) => compare(all.get(a).order, all.get(b).order));
  const facet = colourFacet(study, labels.length);
  if (facet) {
    const { values } = data.facets[facet.index];
    const others = values.filter((value) => value !== "none");
    const drawn = new Map();
    return { facet: values, of: new Map(labels.map((label) => {
      const found = new Set(all.get(label).runs.map((run) => run.facets[facet.index]));
      const value = found.size === 1 ? values[[...found][0]] : undefined;
      const rank = others.indexOf(value);
      const count = drawn.get(value) ?? 0;
      drawn.set(value, count + 1);
      // Several groups of one colour differ in their dashes, unless the colours have run out and need these.
      const dash = others.length > COLOURS ? Math.floor(rank / COLOURS) : labels.length > STYLES ? 0 : count;
      return [label, { slot: rank < 0 ? 0 : 1 + rank % COLOURS, dash: DASHES[Math.max(0, dash) % DASHES.length], value: value ?? "several" }];
    })) };
  }
  if (!view.by) return { of: new Map(data.studies[study].labels.map((of) => [of.label, of])) };
  const others = labels.filter((label) => label !== "none");
  return { of: new Map(labels.map((label) => {
    const rank = others.indexOf(label);
    return [label, { slot: rank < 0 ? 0 : 1 + rank % COLOURS, dash: DASHES[Math.floor(Math.max(0, rank) / COLOURS) % DASHES.length] }];
  })) };
}

function colourFacet(study, count) {
  if (view.colour === "group") return null;
  if (view.colour) return { index: facetIndex(view.colour) };
  if (count <= STYLES) return null;
  const usable = ({ name, kind, values }) => (view.by ? view.by.includes(name) : kind === "setting") && values.length <= COLOURS + 1;
  const index = data.facets.findIndex(usable);
  return index < 0 ? null : { index };
}

function groupsOf(study, only, styles) {
  const found = new Map();
  data.runs.forEach((run, i) => {
    if (!shownRuns[i] || run.study !== study || (only !== "all" && run.image !== only)) return;
    const { label, order } = labelOf(run);
    if (!found.has(label)) found.set(label, { label, order: view.by ? order : [only === "all" ? run.label : run.rank], runs: [] });
    found.get(label).runs.push(run);
  });
  const groups = [...found.values()].sort((a, b) => compare(a.order, b.order));
  for (const group of groups) {
    // As everywhere in the report: completed runs count; where there is none, those that have a curve.
    const completed = group.runs.filter((run) => run.status === "completed");
    group.provisional = !completed.length;
    group.counted = (completed.length ? completed : group.runs.filter((run) => run.curve)).filter((run) => !run.repeated);
    const count = STATES.map((state) => [state, group.runs.filter((run) => run.status === state).length]).filter(([, n]) => n);
    group.state = count.length === 1 ? count[0][0] : count.map(([state, n]) => `${n} ${state}`).join(", ");
    Object.assign(group, styles.of.get(group.label));
  }
  return groups;
}

// -- numbers over seeds ----------------------------------------------------------------------------------------------

// Mean and sample deviation; no mean unless every run has the number, so it never leaves out those that did badly.
function statOf(values) {
  const known = values.filter((value) => value !== null && value !== undefined).map(Number);
  const stat = { mean: null, std: null, have: known.length, n: values.length };
  if (!known.length || known.length < values.length) return stat;
  stat.mean = known.reduce((sum, value) => sum + value, 0) / known.length;
  if (known.length > 1 && known.every(Number.isFinite)) {
    stat.std = Math.sqrt(known.reduce((sum, value) => sum + (value - stat.mean) ** 2, 0) / (known.length - 1));
  }
  return stat;
}

// At every evaluated step up to the end of the shortest run; values between evaluations are interpolated.
function meanCurve(runs) {
  const empty = { step: [], seconds: [], macs: [], psnr: [], std: null };
  const curves = runs.map(({ curve }) => {
    const finite = [...(curve?.psnr ?? []).keys()].filter((i) => curve.psnr[i] !== null);
    return Object.fromEntries(["step", "seconds", "macs", "psnr"].map((name) => [name, finite.map((i) => curve[name][i])]));
  });
  if (!curves.length || curves.some((curve) => !curve.step.length)) return empty;
  if (curves.length === 1) return { ...curves[0], std: null };
  const first = Math.max(...curves.map(({ step }) => step[0]));
  const last = Math.min(...curves.map(({ step }) => step.at(-1)));
  const steps = [...new Set(curves.flatMap(({ step }) => step))].filter((step) => step >= first && step <= last).sort((a, b) => a - b);
  const mean = { ...empty, step: steps };
  const over = (name) => {
    const columns = curves.map((curve) => interpolated(steps, curve.step, curve[name]));
    return steps.map((_, i) => statOf(columns.map((column) => column[i])));
  };
  for (const name of ["seconds", "macs"]) mean[name] = over(name).map((stat) => stat.mean);
  const psnr = over("psnr");
  mean.psnr = psnr.map((stat) => stat.mean);
  mean.std = psnr.map((stat) => stat.std);
  return mean;
}

function interpolated(at, x, y) {
  let i = 0;
  return at.map((where) => {
    while (i < x.length - 2 && x[i + 1] < where) i += 1;
    if (x.length === 1 || where <= x[i]) return y[i];
    if (where >= x[i + 1]) return y[i + 1];
    return y[i] + (y[i + 1] - y[i]) * (where - x[i]) / (x[i + 1] - x[i]);
  });
}

// Where a curve first reaches a PSNR, linear between the two evaluations around it; null if it does not.
function reaches({ curve }, level, axis) {
  const valid = [...(curve?.psnr ?? []).keys()].filter((i) => curve.psnr[i] !== null);
  const above = valid.findIndex((i) => curve.psnr[i] >= level);
  if (above < 0) return null;
  const [x, psnr] = [curve[axis], curve.psnr];
  const i = valid[above];
  if (above === 0) return x[i];
  const before = valid[above - 1];
  return x[before] + (x[i] - x[before]) * (level - psnr[before]) / (psnr[i] - psnr[before]);
}

// -- numbers for people ----------------------------------------------------------------------------------------------

const exponent = (number) => (Number.isFinite(number) ? Number(number.toExponential(2).split("e")[1]) : 0);

// Decimals, divisor and unit of a number; its deviation is then written alike.
function formOf({ form, decimals }, number) {
  if (form === "fixed") return [decimals, 1, ""];
  if (form === "steps") return [Math.abs(number) >= 10 ? 0 : 1, 1, ""];
  if (form === "milli") return [Math.max(0, 2 - exponent(number * 1000)), 1e-3, ""];
  if (form === "significant") return [Math.max(0, 2 - exponent(number)), 1, ""];
  if (Math.abs(number) < 1000 && Number.isInteger(number)) return [0, 1, ""];
  const power = Math.min(Math.max(Math.floor(exponent(number) / 3), 0), 4);
  const divisor = 1000 ** power;
  return [Math.max(0, 2 - exponent(number / divisor)), divisor, ["", "k", "M", "G", "T"][power]];
}

function written(number, [decimals, divisor, unit]) {
  if (!Number.isFinite(number)) return number > 0 ? "∞" : "–";
  const [whole, fraction] = (number / divisor).toFixed(decimals).split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (fraction ? `.${fraction}` : "") + unit;
}

function escaped(text) {
  return String(text).replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
}

function swatch({ slot, dash }) {
  return `<svg class="swatch" viewBox="0 0 22 8" aria-hidden="true"><line class="${dash}" x1="1" y1="4" x2="21" y2="4" stroke="var(--slot-${slot})"/></svg>`;
}

// -- curves ----------------------------------------------------------------------------------------------------------

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function translucent(hex, alpha) {
  const [r, g, b] = [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16));
  return `rgba(${r},${g},${b},${alpha})`;
}

// Plotly reads tags in a name.
function plain(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

// A logarithmic axis has no place for 0, and a gap is no corner of a band.
function drawable(points, xs, scale) {
  return points.filter((i) => xs[i] !== null && (scale === "linear" || xs[i] > 0));
}

// The groups as they are drawn. The thin lines of single runs would hide each other where there are many groups.
function seriesOf(groups) {
  return groups.map((group) => ({
    ...group, mean: meanCurve(group.counted), crossing: crossingOf(group),
    lines: groups.length > STYLES ? [] : group.runs.filter((run) => run.curve && (group.counted.length > 1 || !group.counted.includes(run))),
  }));
}

function crossingOf({ counted }) {
  if (!counted.length || !counted.every(({ reached }) => reached)) return null;
  const [step, seconds, macs, psnr] = ["step", "seconds", "macs", "psnr"].map((name) => statOf(counted.map(({ reached }) => reached[name])).mean);
  return step && seconds && macs ? { step, seconds, macs, psnr } : null;
}

function innerSeries(groups) {
  return groups.map((group) => {
    const runs = group.counted.map(({ inner }) => inner);
    const inner = [...Array(runs.length ? Math.min(...runs.map((values) => values.length)) : 0).keys()];
    const stats = inner.map((step) => statOf(runs.map((values) => values[step])));
    const { trained } = group.runs[0];
    return {
      ...group, lines: [],
      mean: { inner, psnr: stats.map(({ mean }) => mean), std: runs.length > 1 ? stats.map(({ std }) => std) : null },
      crossing: trained !== null && trained < inner.length ? { inner: trained, psnr: stats[trained].mean } : null,
    };
  });
}

function traces(series, axis, scale) {
  const bands = [], runs = [], means = [], marks = [];
  series.forEach((one, rank) => {
    const line = colour(`--slot-${one.slot}`);
    const { mean } = one;
    const x = mean[axis];
    const points = drawable([...x.keys()], x, scale).filter((i) => mean.psnr[i] !== null);
    const common = { legendgroup: one.label, family: one.value ?? `${one.label} …`, name: plain(one.label + (one.provisional ? ` (${one.state})` : "")) };
    if (mean.std && points.length > 1) {
      const back = [...points].reverse();
      bands.push({
        ...common, meta: "band", type: "scatter", mode: "lines", fill: "toself", showlegend: false, hoverinfo: "skip",
        x: [...points, ...back].map((i) => x[i]),
        y: [...points.map((i) => mean.psnr[i] + mean.std[i]), ...back.map((i) => mean.psnr[i] - mean.std[i])],
        line: { width: 0 }, fillcolor: translucent(line, 0.16),
      });
    }
    for (const run of one.lines) {
      const own = drawable([...run.curve.step.keys()], run.curve[axis], scale);
      runs.push({
        ...common, meta: "run", type: "scatter", mode: "lines", showlegend: false, hoverinfo: "skip",
        x: own.map((i) => run.curve[axis][i]), y: own.map((i) => run.curve.psnr[i]),
        line: { color: translucent(line, 0.45), width: 1, dash: run.status === "completed" ? "solid" : "4px,3px" },
      });
    }
    if (points.length) means.push({
      ...common, meta: "mean", type: "scatter", mode: points.length > 24 ? "lines" : "lines+markers", legendrank: rank,
      x: points.map((i) => x[i]), y: points.map((i) => mean.psnr[i]),
      text: points.map((i) => mean.psnr[i].toFixed(2) + (mean.std ? ` ± ${mean.std[i].toFixed(2)}` : "")),
      hovertemplate: "%{text} dB",
      line: { color: line, width: 2.4, dash: one.dash }, marker: { size: 5, color: line },
      showlegend: true,
    });
    if (one.crossing) {
      marks.push({
        ...common, meta: "crossing", type: "scatter", mode: "markers", showlegend: false, hoverinfo: "skip",
        x: [one.crossing[axis]], y: [one.crossing.psnr],
        marker: { size: 9, color: colour("--ground"), line: { color: line, width: 2 } },
      });
    }
  });
  return series.length > STYLES ? together([...bands, ...means]) : [...together([...bands, ...runs]), ...means, ...marks];
}

// Traces of one look as one trace, with gaps: plotly's time goes by traces.
function together(all) {
  const found = new Map();
  for (const trace of all) {
    const look = JSON.stringify([trace.meta, trace.line, trace.fillcolor, trace.mode, trace.meta === "run" && trace.legendgroup]);
    const before = found.get(look);
    if (!before) {
      const text = trace.text?.map((each) => `${trace.name}<br>${each}`);
      found.set(look, { ...trace, x: [...trace.x], y: [...trace.y], text, ...(text && { name: plain(trace.family), hovertemplate: "%{text} dB<extra></extra>" }) });
      continue;
    }
    before.x.push(null, ...trace.x);
    before.y.push(null, ...trace.y);
    before.text?.push("", ...trace.text.map((text) => `${trace.name}<br>${text}`));
  }
  return [...found.values()];
}

function layout(series, level, name, scale, words) {
  const [ink, soft, rule, ground] = ["--ink", "--soft", "--line", "--ground"].map(colour);
  const axis = {
    gridcolor: rule, linecolor: rule, zeroline: false, tickcolor: rule, ticks: "outside", ticklen: 4,
    tickfont: { color: soft }, automargin: true,
  };
  const many = series.length > 8;
  const crowd = series.length > STYLES;
  const line = level !== null && {
    type: "line", xref: "paper", x0: 0, x1: 1, y0: level, y1: level, layer: "below",
    line: { color: soft, width: 1, dash: "dot" },
  };
  return {
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink },
    paper_bgcolor: ground, plot_bgcolor: ground,
    margin: { l: 56, r: many && !crowd ? 8 : 16, t: many && !crowd ? 12 : 44, b: 52 },
    xaxis: {
      ...axis, type: scale, title: { text: words.title, font: { color: soft, size: 13 } },
      unifiedhovertitle: { text: words.hover },
      tickformat: ["step", "inner"].includes(name) ? "," : "~s", ...(scale === "log" ? { dtick: 1 } : { rangemode: "tozero" }),
    },
    yaxis: { ...axis, title: { text: "PSNR [dB]", font: { color: soft, size: 13 } } },
    hovermode: crowd ? "closest" : "x unified",
    hoverlabel: { bgcolor: ground, bordercolor: rule, font: { color: ink, size: 12.5 } },
    legend: many && !crowd
      ? { x: 1.01, y: 1, font: { size: 12 } }
      : { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 13 } },
    shapes: line ? [line] : [],
    annotations: line ? [{
      xref: "paper", x: 0.004, xanchor: "left", y: level, yanchor: "bottom", showarrow: false,
      text: `${level.toFixed(2)} dB`, font: { size: 11.5, color: soft },
    }] : [],
  };
}

function plot(into, series, level, axis, scale, words = AXES[axis], nothing = "No run on this image has been evaluated.") {
  const empty = !series.some((one) => one.mean.psnr.length || one.lines.length);
  into.classList.toggle("empty", empty);
  if (empty) {
    Plotly.purge(into);
    into.textContent = nothing;
    return;
  }
  if (!into.data) into.textContent = "";
  Plotly.react(into, traces(series, axis, scale), layout(series, level, axis, scale, words), {
    displaylogo: false, responsive: true,
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
    toImageButtonOptions: { format: "svg", filename: `psnr-${axis}` },
  });
}

// Plots below the first ones are drawn when they come into sight.
const late = new Map();
const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting && late.has(target)) {
    late.get(target)();
    late.delete(target);
  }
}, { rootMargin: "600px" });

function whenSeen(into, now, drawing) {
  watcher.unobserve(into);
  late.delete(into);
  if (now) return drawing();
  late.set(into, drawing);
  watcher.observe(into);
}

function draw() {
  if (at("curve")) {
    const nothing = filtered() ? "No run that has been evaluated matches the filter." : undefined;
    const chosen = image();
    const level = chosen === "all" ? null : fits.images[chosen].level;
    plot(at("curve"), seriesOf(groupsOf("fits", chosen, stylesOf("fits"))), level, view.axis, view.scale, undefined, nothing);
  }
  if (at("rates")) whenSeen(at("rates"), false, drawRates);
  const outer = view.outer === "step" ? { ...AXES.step, title: "outer steps" } : AXES[view.outer];
  document.querySelectorAll("[data-learned]").forEach((into, i) => whenSeen(into, i < 2, () => {
    const groups = groupsOf("learned", Number(into.dataset.learned), stylesOf("learned"));
    const nothing = filtered() ? "No run that has been evaluated matches the filter." : "No run has been evaluated.";
    if (into.dataset.curve === "inner") plot(into, innerSeries(groups), null, "inner", "linear", AXES.inner, nothing);
    else plot(into, seriesOf(groups), null, view.outer, view.outerScale, outer, nothing);
  }));
}

// -- effort to a quality ---------------------------------------------------------------------------------------------

// The highest of 5, 10, … dB to which at least half of the groups come.
function usualLevel(groups) {
  const ends = groups.filter(({ counted }) => counted.length)
    .map(({ counted }) => Math.min(...counted.map(({ curve }) => Math.max(...(curve?.psnr ?? []).filter((psnr) => psnr !== null), 0))))
    .sort((a, b) => b - a);
  return ends.length ? Math.max(5, 5 * Math.floor(ends[Math.floor((ends.length - 1) / 2)] / 5)) : 25;
}

function efforts() {
  const list = at("efforts");
  if (!list) return;
  const groups = groupsOf("fits", image(), stylesOf("fits")).filter(({ counted }) => counted.length);
  const level = Number(view.level) || usualLevel(groups);
  if (document.activeElement !== at("level")) at("level").value = level;
  const rows = groups.map((group) => ({ group, stat: statOf(group.counted.map((run) => reaches(run, level, view.axis))) }));
  rows.sort((a, b) => (a.stat.mean === null) - (b.stat.mean === null) || (a.stat.mean ?? -a.stat.have) - (b.stat.mean ?? -b.stat.have));
  const longest = Math.max(...rows.map(({ stat }) => (stat.mean ?? 0) + (stat.std ?? 0)), 1e-12);
  const form = { form: { step: "steps", seconds: "significant", macs: "si" }[view.axis] };
  list.innerHTML = rows.slice(0, page.efforts).map(({ group, stat }) => {
    const known = stat.mean !== null;
    const shape = known && formOf(form, stat.mean);
    const share = (value) => `${(100 * value / longest).toFixed(2)}%`;
    const bar = known ? `<i class="fill" style="width:${share(stat.mean)};background:var(--slot-${group.slot})"></i>` : "";
    const whisker = known && stat.std ? `<i class="whisker" style="left:${share(Math.max(0, stat.mean - stat.std))};width:${share(Math.min(stat.mean, stat.std) + stat.std)}"></i>` : "";
    const value = known ? `${written(stat.mean, shape)}${stat.std === null ? "" : `<span class="std"> ± ${written(stat.std, shape)}</span>`}` : `${stat.have} of ${stat.n}`;
    return `<li class="${group.provisional ? "provisional" : ""}" data-label="${escaped(group.label)}"${known ? ` data-value="${stat.mean}"` : ""} data-reached="${stat.have}">`
      + `<span class="who">${swatch(group)}${escaped(group.label)}</span><span class="track">${bar}${whisker}</span><span class="much">${value}</span></li>`;
  }).join("");
  more("efforts", rows.length, "groups");
  at("effort-axis").textContent = AXES[view.axis].effort;
}

function more(what, count, words) {
  for (const button of document.querySelectorAll(`[data-more="${what}"]`)) {
    button.hidden = count <= page[what];
    button.textContent = `Show all ${count} ${words}`;
  }
}

// -- rate and distortion ---------------------------------------------------------------------------------------------

// Of the groups whose runs have all been measured: bits per pixel and PSNR in each precision, mean over seeds. Where a run
// is for several images, these are means over them, and `parts` has each of them.
function ratesOf(only) {
  if (only === "all") return [];
  return groupsOf("fits", only, stylesOf("fits")).filter(({ counted }) => counted.length && counted.every(({ rates }) => rates)).map((group) => {
    const whole = ratePoints(group.counted.map(({ rates }) => rates));
    const known = group.counted.every(({ parts }) => parts);
    const parts = known ? fits.images[only].parts.map((_, i) => ratePoints(group.counted.map((run) => run.rates.map(([setting], at) => [setting, ...run.parts[i][at]])))) : [];
    return { ...group, points: whole, parts };
  });
}

function ratePoints(runs) {
  return runs[0].map(([setting]) => {
    const own = runs.map((rates) => rates.find(([name]) => name === setting) ?? []);
    return { setting, bpp: statOf(own.map(([, bpp]) => bpp)).mean, psnr: statOf(own.map(([,, psnr]) => psnr)) };
  }).filter(({ bpp, psnr }) => bpp > 0 && psnr.mean !== null);
}

const CODECS = { jpeg: ["JPEG", "dash"], webp: ["WebP", "dot"] };
// More lines of single images than these would hide the means; those of more images in a run are not even in the page.
const PARTED = 48;

function drawRates() {
  const into = at("rates");
  const only = image();
  const series = ratesOf(only);
  const all = series.flatMap(({ points }) => points.map(({ bpp }) => bpp));
  into.classList.toggle("empty", !all.length);
  if (!all.length) {
    Plotly.purge(into);
    into.textContent = only === "all" ? "Choose an image: bits are worth something else on each." : "No group of this choice has been measured.";
    return;
  }
  if (!into.data) into.textContent = "";
  const { codecs, count, parts: images } = fits.images[only];
  const common = { type: "scatter", hovertemplate: "%{text}<br>%{x:.3~f} bits per pixel, %{y:.2f} dB" };
  const isTensor = ({ setting }) => setting.endsWith(" tensor");
  const parted = series.reduce((sum, { parts }) => sum + parts.length, 0) <= PARTED;
  const crowd = series.length > STYLES;
  const named = new Set();
  const each = [], drawn = [];
  series.forEach((one, rank) => {
    const line = colour(`--slot-${one.slot}`);
    const label = plain(one.label + (one.provisional ? ` (${one.state})` : ""));
    // As of the curves: of more groups than styles the legend has each style once.
    const family = crowd ? `${one.slot} ${one.dash}` : one.label;
    const name = crowd ? plain(one.value ?? `${one.label} …`) : label;
    const said = ({ text, setting }) => text ?? (crowd ? `${label}<br>${setting}` : setting);
    const part = (points, look) => ({ ...common, name, legendgroup: family, legendrank: rank, x: points.map(({ bpp }) => bpp), y: points.map(({ psnr }) => psnr && psnr.mean), text: points.map(said), ...look });
    if (parted && one.parts.length) {
      const points = one.parts.flatMap((own, i) => [...own.filter((point) => !isTensor(point)).map((point) => ({ ...point, text: partText(images[i], point) })), { bpp: null, psnr: null, text: "" }]);
      each.push(part(points, { meta: "image", mode: "lines+markers", showlegend: false, line: { color: translucent(line, 0.3), width: 1 }, marker: { size: 4, color: translucent(line, 0.5) } }));
    }
    drawn.push(
      part(one.points.filter((point) => !isTensor(point)), { meta: "channel", mode: "lines+markers", showlegend: !named.has(family), line: { color: line, width: 2, dash: one.dash }, marker: { size: 8, color: line } }),
      part(one.points.filter(isTensor), { meta: "tensor", mode: "markers", showlegend: false, marker: { size: 8, symbol: "circle-open", color: line, line: { width: 2 } } }),
    );
    named.add(family);
  });
  const [low, high] = [Math.min(...all) / 4, Math.max(...all) * 1.5];
  for (const [coder, [name, dash]] of Object.entries(CODECS)) {
    const points = nearBits((codecs[coder] ?? []).filter(([, psnr]) => psnr !== null), low, high);
    drawn.push({ ...common, name, meta: coder, mode: "lines+markers", legendrank: 1000, x: points.map(([bpp]) => bpp), y: points.map(([, psnr]) => psnr), text: points.map(() => name), line: { color: colour("--soft"), width: 1.6, dash }, marker: { size: 4, color: colour("--soft") } });
  }
  const over = count > 1 ? `, mean over ${count} images` : "";
  const shape = layout(series, null, "bpp", "log", { title: `bits per pixel${over}`, hover: "%{x}" });
  if (over) shape.yaxis.title.text = "mean PSNR [dB]";
  const shown = [...each, ...drawn];
  // A decade has at least three ticks: 1, 2, 5.
  const bits = spanOf(shown.flatMap(({ x }) => x).filter((bpp) => bpp > 0).map(Math.log10), 1);
  Object.assign(shape.xaxis, { dtick: "D2", tickformat: "~r", range: bits });
  // Less than a dB must not look like a cliff.
  shape.yaxis.range = spanOf(shown.flatMap(({ y }) => y).filter((psnr) => psnr !== null), 1);
  Plotly.react(into, shown, { ...shape, hovermode: "closest" }, {
    displaylogo: false, responsive: true, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
    toImageButtonOptions: { format: "svg", filename: "rate-distortion" },
  });
}

// What a codec has between two rates; where all its files are smaller, or all larger, those nearest to them.
function nearBits(points, low, high) {
  const within = points.filter(([bpp]) => bpp >= low && bpp <= high);
  if (within.length || !points.length) return within;
  const all = points.map(([bpp]) => bpp);
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const nearest = most < low ? most : least;
  return points.filter(([bpp]) => bpp >= nearest / 4 && bpp <= nearest * 4);
}

// An axis around values, with some room, and of some length at least.
function spanOf(values, least) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.max(0.06 * (high - low), (least - (high - low)) / 2);
  return [low - room, high + room];
}

// One of several images in one precision, with what JPEG and WebP leave of it in as many bits.
function partText({ name, codecs }, { setting, bpp }) {
  const others = Object.entries(CODECS).map(([coder, [word]]) => `${word} ${besideCodec(codecs[coder] ?? [], bpp)}`);
  return `${plain(name)}, ${setting}<br>${others.join(", ")}`;
}

// What a coder leaves of an image in so many bits, linear in their logarithm between the two qualities around them.
function atRate(points, bpp) {
  const ordered = points.filter(([, psnr]) => psnr !== null).sort((a, b) => a[0] - b[0]);
  for (let i = 1; i < ordered.length; i += 1) {
    const [[x0, y0], [x1, y1]] = [ordered[i - 1], ordered[i]];
    if (x0 <= bpp && bpp <= x1 && x0 < x1) return y0 + (y1 - y0) * Math.log(bpp / x0) / Math.log(x1 / x0);
  }
  return null;
}

// A codec that takes fewer bits at its best quality has at least that PSNR.
function besideCodec(points, bpp) {
  const found = atRate(points, bpp);
  if (found !== null) return found.toFixed(2);
  const best = points.reduce((a, b) => (b[1] > a[1] ? b : a), [Infinity, -Infinity]);
  return best[0] < bpp ? `&gt;${best[1].toFixed(2)}` : "–";
}

function rates() {
  const table = at("rate-table");
  if (!table) return;
  const only = image();
  const rows = ratesOf(only).flatMap((group) => group.points.map((point) => ({ group, point })));
  const body = rows.slice(0, page.rates).map(({ group, point: { setting, bpp, psnr } }) => {
    const plainPsnr = group.points[0].psnr.mean;
    const others = Object.keys(CODECS).map((coder) => besideCodec(fits.images[only].codecs[coder] ?? [], bpp));
    const size = Math.abs(psnr.mean - plainPsnr).toFixed(2);
    const change = setting === group.points[0].setting ? "" : `${Number(size) === 0 ? "" : psnr.mean < plainPsnr ? "−" : "+"}${size}`;
    return `<tr class="${group.provisional ? "provisional" : ""}"><th scope="row">${swatch(group)}${escaped(group.label)}</th><td>${escaped(setting)}</td>`
      + `<td class="number" data-key="bpp" data-value="${bpp}">${written(bpp, formOf({ form: "significant" }, bpp))}</td>`
      + `<td class="number" data-key="rate-psnr" data-value="${psnr.mean}">${psnr.mean.toFixed(2)}${psnr.std === null ? "" : `<span class="std"> ± ${psnr.std.toFixed(2)}</span>`}</td>`
      + `<td class="number">${change}</td>${others.map((text) => `<td class="number">${text}</td>`).join("")}</tr>`;
  }).join("");
  for (const old of [...table.tBodies]) old.remove();
  table.tHead.insertAdjacentHTML("afterend", `<tbody>${body}</tbody>`);
  table.hidden = !rows.length;
  more("rates", rows.length, "rows");
}

// -- tables ----------------------------------------------------------------------------------------------------------

function cellOf(column, index, group) {
  const values = group.counted.map((run) => run.values[index]);
  if (column.words) {
    const found = [...new Set(group.runs.map((run) => run.values[index]))];
    return { text: found.length === 1 ? String(found[0]) : "several", words: true };
  }
  const stat = statOf(values);
  if (stat.mean === null) return { stat, text: stat.have ? `${stat.have}/${stat.n}` : "–" };
  if (column.ratio && group.counted.every(({ own }) => own)) return { stat, text: "1", own: true };
  const form = formOf(column, stat.mean);
  const std = stat.std === null ? "" : written(stat.std, form);
  return { stat, text: written(stat.mean, form), std: column.constant && !/[^0.kMGT]/.test(std) ? "" : std };
}

// The best value as it is written, so that what reads alike is marked alike; nothing where all read alike.
function markBest(column, rows) {
  const found = new Map();
  for (const { group, cells } of rows) {
    const cell = cells[column.key];
    if (!group.provisional && cell.stat && cell.stat.mean !== null) found.set(cell.text, cell.stat.mean);
  }
  if (!column.better || found.size < 2) return;
  const [best] = [...found].reduce((a, b) => ((column.better === "high" ? b[1] > a[1] : b[1] < a[1]) ? b : a));
  for (const { group, cells } of rows) cells[column.key].best = !group.provisional && cells[column.key].text === best;
}

function sortKey({ group, cells }, column) {
  if (column === "group") return group.label;
  if (column === "seeds") return group.counted.length;
  if (column === "state") return group.state;
  const cell = cells[column];
  return cell.words ? cell.text : cell.stat?.mean ?? undefined;
}

function sorted(rows, { column, descending }) {
  return [...rows].sort((a, b) => {
    const [p, q] = [sortKey(a, column), sortKey(b, column)];
    // What has no number stays at the end in either direction.
    if (p === undefined || q === undefined) return (p === undefined) - (q === undefined);
    const order = typeof p === "string" ? p.localeCompare(q, undefined, { numeric: true }) : p - q;
    return descending ? -order : order;
  });
}

function rowHtml({ group, cells }, shown, heads, image) {
  const where = `data-group="${escaped(group.label)}" data-image="${escaped(image)}"`;
  const parts = shown.map((column) => {
    const cell = cells[column.key];
    const classes = [!column.words && "number", heads.get(column.key).classList.contains("start") && "start", cell.best && "best", cell.own && "own"].filter(Boolean).join(" ");
    const stat = cell.stat ?? {};
    const value = cell.words ? escaped(cell.text) : stat.mean;
    return `<td class="${classes}" data-key="${column.key}" ${where}${value === null || value === undefined ? "" : ` data-value="${value}"`}`
      + (cell.stat ? `${stat.std === null ? "" : ` data-std="${stat.std}"`} data-n="${stat.n}" data-reached="${stat.have}"` : "")
      + (cell.stat && stat.mean === null && stat.have ? ` title="${stat.have} of ${stat.n} seeds"` : "")
      + `>${escaped(cell.text)}${cell.std ? `<span class="std"> ± ${cell.std}</span>` : ""}</td>`;
  });
  if (heads.has("seeds")) parts.push(`<td class="number start" data-key="seeds" ${where} data-value="${group.counted.length}">${group.counted.length}</td>`);
  if (heads.has("state")) parts.push(`<td data-key="state" ${where} data-value="${escaped(group.state)}">${escaped(group.state)}</td>`);
  return `<tr class="${group.provisional ? "provisional" : ""}"><th scope="row" data-value="${escaped(group.label)}">${swatch(group)}${escaped(group.label)}</th>${parts.join("")}</tr>`;
}

// The page comes with its tables; they are written anew once they are to be other ones.
function tables() {
  const asMade = !filtered() && !view.by && !view.colour && view.image !== "all";
  for (const table of document.querySelectorAll("table[data-study]")) {
    const { study } = table.dataset;
    const sort = view.sort?.table === table.id ? view.sort : null;
    for (const head of table.querySelectorAll("[data-column]")) {
      head.removeAttribute("aria-sort");
      if (sort?.column === head.dataset.column) head.setAttribute("aria-sort", sort.descending ? "descending" : "ascending");
    }
    if (asMade && !sort && table.tBodies.length && !table.dataset.written) continue;
    table.dataset.written = "yes";
    const heads = new Map([...table.querySelectorAll("[data-column]")].map((head) => [head.dataset.column, head]));
    const { columns, images } = data.studies[study];
    const shown = columns.filter((column) => column.table === table.id);
    const styles = stylesOf(study);
    const all = study === "fits" && view.image === "all";
    const bodies = all ? [["all images", "all"]] : images.map(({ name }, index) => [name, index]);
    let [left, count] = [page.rows, 0];
    const html = bodies.map(([name, only]) => {
      let rows = groupsOf(study, only, styles).map((group) => ({
        group, cells: Object.fromEntries(columns.map((column, index) => [column, index]).filter(([column]) => column.table === table.id)
          .map(([column, index]) => [column.key, cellOf(column, index, group)])),
      }));
      for (const column of shown) markBest(column, rows);
      if (sort) rows = sorted(rows, sort);
      count += rows.length;
      rows = rows.slice(0, left);
      left -= rows.length;
      if (!rows.length) return "";
      const title = images.length > 1 ? `<tr class="image"><th colspan="${heads.size}" scope="rowgroup">${escaped(name)}</th></tr>` : "";
      return `<tbody>${title}${rows.map((row) => rowHtml(row, shown, heads, name)).join("")}</tbody>`;
    }).join("");
    for (const body of [...table.tBodies]) body.remove();
    table.tHead.insertAdjacentHTML("afterend", html || `<tbody><tr><td colspan="${heads.size}">No run matches the filter.</td></tr></tbody>`);
    const button = table.closest("section").querySelector(`[data-more="rows"][data-table="${table.id}"]`);
    button.hidden = count <= page.rows;
    button.textContent = `Show all ${count} rows`;
  }
}

for (const table of document.querySelectorAll("table[data-study]")) {
  for (const head of table.querySelectorAll("[data-column]")) head.querySelector("button").addEventListener("click", () => {
    const column = head.dataset.column;
    const again = view.sort?.table === table.id && view.sort.column === column && !view.sort.descending;
    view.sort = { table: table.id, column, descending: again };
    remember();
    tables();
  });
}

// -- pictures --------------------------------------------------------------------------------------------------------

// Pictures come out of the store when their panel is first shown: a page of many opens as fast as one of few.
function pictures() {
  const [groups, seeds] = [new Set(), new Set()];
  data.runs.forEach((run, i) => {
    if (!shownRuns[i] || !run.study) return;
    const { images, labels } = data.studies[run.study];
    const group = JSON.stringify([images[run.image].name, labels[run.label].label]);
    groups.add(group);
    seeds.add(group + run.seed);
  });
  const chosen = image();
  const plainView = !filtered() && chosen !== "all";
  let count = 0;
  for (const panel of document.querySelectorAll("[data-image-panel]")) {
    const ofPictures = panel.querySelector("[data-label]") !== null;
    panel.hidden = ofPictures ? chosen !== "all" && Number(panel.dataset.imagePanel) !== chosen : !plainView || Number(panel.dataset.imagePanel) !== chosen;
    if (!panel.hidden) for (const one of panel.querySelectorAll("[data-label]")) count = show(one, groups, seeds, count);
  }
  more("panels", count, "groups");
  for (const name of document.querySelectorAll(".which-image")) name.hidden = chosen !== "all";
  for (const one of document.querySelectorAll("#learning-to-learn [data-label]")) if (one.matches("article, p")) show(one, groups, seeds, 0);
}

function show(one, groups, seeds, count) {
  const group = JSON.stringify([one.dataset.image, one.dataset.label]);
  one.hidden = !groups.has(group) || count >= page.panels;
  one.classList.toggle("outside", "seed" in one.dataset && !seeds.has(group + one.dataset.seed));
  if (!one.hidden) for (const button of one.querySelectorAll("[data-picture]")) place(button.firstElementChild, button.dataset.picture);
  return count + groups.has(group);
}

// Enlarged pixels are shown as pixels, not smoothed over.
function place(img, key) {
  if (!img.src) img.src = store[key];
  const width = Number(img.getAttribute("width"));
  img.classList.toggle("coarse", img.clientWidth > width);
}

// -- runs ------------------------------------------------------------------------------------------------------------

const entries = [...document.querySelectorAll("#runs > details")];

function runs() {
  entries.forEach((entry, i) => { entry.hidden = !shownRuns[i]; });
  const count = shownRuns.filter(Boolean).length;
  const said = `${count.toLocaleString("en")} of ${data.runs.length.toLocaleString("en")} runs`;
  at("shown-runs").hidden = !filtered();
  at("shown-runs").textContent = said;
  if (at("matching")) {
    at("matching").textContent = filtered() ? said : "";
    at("clear").hidden = !filtered();
  }
}

// What a run has to tell is written when it is opened.
entries.forEach((entry, i) => entry.addEventListener("toggle", () => {
  if (entry.children.length > 1) return;
  const run = data.runs[i];
  const word = (index) => escaped(data.words[index]);
  const facts = run.facts.map(([name, fact]) => {
    const text = ["command", "folder"].includes(data.words[name]) ? `<code>${word(fact)}</code>` : word(fact);
    return `<dt>${word(name)}</dt><dd>${text}</dd>`;
  });
  entry.insertAdjacentHTML("beforeend", (run.message ? `<p class="message">${escaped(run.message)}</p>` : "")
    + `<dl>${facts.join("")}</dl>` + (run.config.length ? `<pre>${run.config.map(word).join("\n")}</pre>` : ""));
}));

// -- what the reader chooses -----------------------------------------------------------------------------------------

// A button that opens a list of boxes to tick, which is written when it is first opened.
function boxes(name, title, values, ticked, change) {
  const facet = document.createElement("details");
  facet.className = "facet";
  facet.dataset.facet = name;
  facet.innerHTML = `<summary>${escaped(title)}</summary><div class="boxes"></div>`;
  facet.addEventListener("toggle", () => {
    if (facet.lastElementChild.children.length) return;
    facet.lastElementChild.innerHTML = values().map(([value, note]) =>
      `<label><input type="checkbox" value="${escaped(value)}"${ticked.includes(value) ? " checked" : ""}> <span>${escaped(value)}</span> <span class="note">${escaped(note)}</span></label>`).join("");
  });
  facet.addEventListener("change", () => change([...facet.querySelectorAll("input:checked")].map((box) => box.value)));
  return facet;
}

function controls() {
  if (!at("filter")) return;
  at("filter").value = view.filter;
  at("facets").replaceChildren(...data.facets.map(({ name, values }, i) => {
    const counted = () => values.map((value, k) => [value, data.runs.filter((run) => run.facets[i] === k).length]);
    return boxes(name, name, counted, view.facets[name] ?? [], (now) => {
      if (now.length) view.facets[name] = now;
      else delete view.facets[name];
      update();
    });
  }));
  if (at("grouping")) {
    const settings = data.facets.filter(({ kind }) => kind === "setting").map(({ name }) => name);
    at("grouping").hidden = data.facets.length === 0;
    at("by").replaceChildren(boxes("by", "", () => data.facets.map(({ name, values }) => [name, `${values.length} values`]), view.by ?? settings, (now) => {
      // All settings are what the page groups by anyway, under the names that it gives.
      view.by = now.length === settings.length && now.every((name) => settings.includes(name)) ? null : now;
      update();
    }));
    at("colour").innerHTML = [["", "as it fits"], ["group", "group"], ...data.facets.map(({ name }) => [name, name])]
      .map(([value, text]) => `<option value="${escaped(value)}">${escaped(text)}</option>`).join("");
    at("colour").value = view.colour;
  }
  for (const key of Object.keys(CHOICES)) {
    const radio = document.querySelector(`input[name="${key}"][value="${view[key]}"]`);
    if (radio) radio.checked = true;
  }
}

// The buttons say what is chosen, without a list being opened.
function say() {
  for (const facet of document.querySelectorAll("#facets .facet")) {
    const chosen = view.facets[facet.dataset.facet] ?? [];
    facet.classList.toggle("chosen", chosen.length > 0);
    facet.firstElementChild.textContent = facet.dataset.facet + (chosen.length ? `: ${chosen.length > 2 ? `${chosen.length} values` : chosen.join(", ")}` : "");
  }
  const by = document.querySelector("#by summary");
  if (by) by.textContent = view.by ? view.by.join(", ") || "nothing" : "configuration";
  const chosen = image();
  for (const input of document.querySelectorAll('input[name="image"]')) input.checked = input.value === String(chosen);
  const select = document.querySelector('select[name="image"]');
  if (select) select.value = String(chosen);
  for (const name of document.querySelectorAll("[data-image-name]")) name.textContent = chosen === "all" ? "all images" : fits.images[chosen].name;
}

function remember() {
  const said = address();
  if (said !== location.hash.slice(1)) history.replaceState(null, "", `#${said}`);
}

function update() {
  Object.assign(page, MOST);
  shownRuns = matching();
  remember();
  refresh();
}

function refresh() {
  say();
  tables();
  pictures();
  runs();
  efforts();
  rates();
  draw();
}

const waiting = {};
document.addEventListener("input", ({ target }) => {
  if (target.id !== "filter" && target.id !== "level") return;
  clearTimeout(waiting[target.id]);
  waiting[target.id] = setTimeout(() => {
    view[target.id] = target.id === "level" && !(Number(target.value) > 0) ? "" : target.value;
    if (target.id === "filter") return update();
    remember();
    efforts();
  }, 150);
});
document.addEventListener("change", ({ target }) => {
  if (!["image", "colour", ...Object.keys(CHOICES)].includes(target.name)) return;
  view[target.name] = target.name === "image" && target.value !== "all" ? Number(target.value) : target.value;
  update();
});
document.addEventListener("click", ({ target }) => {
  const { more: what } = target.dataset;
  if (what) {
    page[what] = Infinity;
    ({ rows: tables, panels: pictures, efforts, rates })[what]();
  }
  if (target.id === "clear") {
    Object.assign(view, { filter: "", facets: {} });
    controls();
    update();
    at("filter").focus();
  }
  for (const facet of document.querySelectorAll(".facet[open]")) if (!facet.contains(target)) facet.open = false;
});
document.addEventListener("keydown", ({ key, target }) => {
  const facet = key === "Escape" && target.closest(".facet[open]");
  if (!facet) return;
  facet.open = false;
  facet.firstElementChild.focus();
});
addEventListener("hashchange", () => {
  view = read(location.hash.slice(1));
  controls();
  update();
});
// The colours of the page follow the system, and paper is white.
for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", draw);

// -- large pictures --------------------------------------------------------------------------------------------------

const large = at("large");
let open = null;

function enlarge(button) {
  open = button;
  const [small, img] = [button.firstElementChild, large.querySelector("img")];
  const [width, height] = ["width", "height"].map((side) => Number(small.getAttribute(side)));
  img.src = small.src;
  img.alt = small.alt;
  img.setAttribute("width", width);
  img.style.setProperty("--aspect", width / height);
  const group = document.createElement("span");
  group.textContent = button.closest("[data-pictures]").dataset.pictures;
  const caption = button.parentElement.querySelector("figcaption").cloneNode(true);
  large.querySelector("figcaption").replaceChildren(group, ...caption.children);
  if (!large.open) large.showModal();
  img.classList.toggle("coarse", img.clientWidth > width);
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-picture]");
  if (button) enlarge(button);
  else if (large.open && (target === large || target.closest(".close"))) large.close();
});
// Left and right change the picture in its place, so the eye finds what differs.
large.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const all = [...document.querySelectorAll("[data-image-panel]:not([hidden]) article:not([hidden]) [data-picture], #learning-to-learn article:not([hidden]) [data-picture]")];
  enlarge(all[(all.indexOf(open) + step + all.length) % all.length]);
  event.preventDefault();
});
large.addEventListener("close", () => open?.focus());

// -- a page that follows a sweep -------------------------------------------------------------------------------------

// A page on a disk cannot ask whether the file has changed, so it loads itself again after the time in which the file is
// made anew, and waits twice as long each time it finds itself unchanged. Nobody who is reading is disturbed: it waits for
// a pause of the keyboard and the pointer, for open lists and pictures to be closed, and for the page to be in sight.
const seconds = Number(document.documentElement.dataset.refresh);
const kept = `partinr ${location.pathname}`;

function resume() {
  let before = null;
  try {
    before = JSON.parse(sessionStorage.getItem(kept));
    sessionStorage.removeItem(kept);
  } catch { /* A browser that keeps nothing: the page begins at its top. */ }
  if (before) scrollTo(0, before.scroll);
  if (!seconds) return;
  const made = document.querySelector("time").dateTime;
  const wait = Math.min(seconds * 1000 * (before?.made === made ? before.doubled * 2 : 1), Math.max(60_000, seconds * 1000));
  const doubled = wait / (seconds * 1000);
  const opened = Date.now();
  let touched = 0;
  for (const kind of ["keydown", "pointerdown", "pointermove", "wheel", "scroll", "input"]) addEventListener(kind, () => { touched = Date.now(); }, { passive: true, capture: true });
  setInterval(() => {
    const busy = document.hidden || large.open || document.querySelector(".facet[open]") || Date.now() - touched < 2000 || !at("follow").checked;
    if (busy || Date.now() - opened < wait) return;
    location.reload();
  }, 250);
  addEventListener("pagehide", () => {
    try {
      sessionStorage.setItem(kept, JSON.stringify({ scroll: scrollY, made, doubled }));
    } catch { /* As above. */ }
  });
}

history.scrollRestoration = seconds ? "manual" : "auto";
view = read(location.hash.slice(1));
controls();
shownRuns = matching();
refresh();
resume();
performance.mark("usable");
