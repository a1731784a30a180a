const data = JSON.parse(document.getElementById("data").textContent);
const store = JSON.parse(document.getElementById("store").textContent);
const at = (id) => document.getElementById(id);
const { fits } = data.studies;
// A metric that never changes is one number.
for (const { curve } of data.runs) for (const name in curve) if (!Array.isArray(curve[name])) curve[name] = curve.step.map(() => curve[name]);
// Studies of further sections, which are never compared with the fits.
const FURTHER = Object.keys(data.studies).filter((key) => key !== "fits");
// Seconds have no prefix: 0.2, not 200m.
const AXES = {
  step: { title: "optimiser steps", hover: "%{x:,.0f} steps", ticks: ",", effort: "Steps" },
  seconds: { title: "seconds of training", hover: "%{x:,.3~r} s", ticks: ",~r", effort: "Seconds of training" },
  cpu_seconds: { title: "CPU seconds of training", hover: "%{x:,.3~r} CPU s", ticks: ",~r", effort: "CPU seconds of training" },
  macs: { title: "multiply-accumulates", hover: "%{x:.3~s} multiply-accumulates", ticks: "~s", effort: "Multiply-accumulates" },
};
const SIGN = document.documentElement.dataset.sign;
const STATES = ["completed", "running", "queued", "interrupted", "failed", "damaged"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const COLOURS = 6;
// Where there are more groups than styles, lines are coloured by a setting.
const STYLES = COLOURS * DASHES.length;
const MOST = { rows: 100, panels: 24, efforts: 24, rates: 30 };
const page = { ...MOST };

// -- the view, and the address that keeps it ---------------------------------------------------------------------------

// What the switches may be set to; the first is the default. Further sections have switches of their own.
const CHOICES = { axis: ["step", "seconds", "cpu_seconds", "macs"], scale: ["linear", "log"], metric: fits.metrics.map(({ key }) => key) };
for (const [key, { search }] of Object.entries(data.studies)) {
  if (search) CHOICES[key === "fits" ? "search" : `${key}-search`] = search.metrics.map((metric) => metric.key);
}
for (const key of FURTHER) {
  const metrics = data.studies[key].metrics.map((metric) => metric.key);
  Object.assign(CHOICES, { [`${key}-axis`]: CHOICES.axis, [`${key}-scale`]: CHOICES.scale, [`${key}-metric`]: metrics });
}

// `image` is a number or "all"; `by` is null for the whole configuration; empty `colour` and `level` leave the choice to
// the page.
const start = () => ({
  image: data.image ?? 0, filter: "", facets: {}, by: null, colour: "", level: "", sort: null,
  ...Object.fromEntries(Object.entries(CHOICES).map(([key, [first]]) => [key, first])),
});
let view = start();

function address() {
  const said = new URLSearchParams();
  const plain = start();
  if (view.image !== plain.image) said.set("image", view.image === "all" ? "all" : `=${fits.images[view.image].name}`);
  for (const key of [...Object.keys(CHOICES), "filter", "colour", "level"]) if (view[key] !== plain[key]) said.set(key, view[key]);
  for (const [name, values] of Object.entries(view.facets)) for (const value of values) said.append(`only.${name}`, value);
  if (view.by) for (const name of view.by.length ? view.by : [""]) said.append("by", name);
  if (view.sort) said.set("sort", [view.sort.table, view.sort.column, view.sort.descending ? "down" : "up"].join(" "));
  return said.toString();
}

// The view that an address names. Unknown parts are ignored, but chosen values are kept: a run may have them later.
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

// Text as it may be typed: 3x3 finds 3×3.
function typed(text) { return text.toLowerCase().replaceAll("×", "x"); }

const texts = data.runs.map((run) => [
  run.name, run.path, run.message, run.study && data.studies[run.study].labels[run.label].label,
  ...data.facets.map(({ name, key, values }, i) => (run.facets[i] < 0 ? "" : [name, key].map((word) => `${word} ${values[run.facets[i]]}\n${word}=${values[run.facets[i]]}`).join("\n"))),
].join("\n")).map(typed);

function matching() {
  const words = typed(view.filter).split(/\s+/).filter((word) => word && word !== "-");
  const chosen = Object.entries(view.facets).map(([name, values]) => {
    const i = data.facets.findIndex((facet) => facet.name === name);
    return [i, new Set(values.map((value) => data.facets[i].values.indexOf(value)).filter((value) => value >= 0))];
  });
  return data.runs.map((run, i) => words.every((word) => (word[0] === "-" ? !texts[i].includes(word.slice(1)) : texts[i].includes(word)))
    && chosen.every(([facet, values]) => values.has(run.facets[facet])));
}

const filtered = () => view.filter.trim() !== "" || Object.keys(view.facets).length > 0;
let shownRuns = data.runs.map(() => true);

// The image on view: the chosen one, or, where the filter leaves no run on it, the first that has runs.
function image() {
  if (view.image === "all") return "all";
  const has = (index) => data.runs.some((run, i) => shownRuns[i] && run.study === "fits" && run.image === index);
  if (!filtered() || has(view.image)) return view.image;
  const other = fits.images.findIndex((_, index) => has(index));
  return other < 0 ? view.image : other;
}

