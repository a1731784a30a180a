"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const store = JSON.parse(document.getElementById("store").textContent);
const view = { image: 0, axis: "step", scale: "linear", outer: "step", outerScale: "linear" };
const AXES = {
  inner: { title: "inner steps, at the end of training", hover: "%{x} inner steps" },
  step: { title: "optimiser steps", hover: "%{x:,.0f} steps" },
  seconds: { title: "seconds of training", hover: "%{x:.3~s} s" },
  macs: { title: "multiply-accumulates", hover: "%{x:.3~s} multiply-accumulates" },
};

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function translucent(hex, alpha) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return `rgba(${r},${g},${b},${alpha})`;
}

// Plotly reads tags in a name.
function plain(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

// A logarithmic axis has no place for 0, and a gap is no corner of a band.
function shown(points, xs, scale) {
  return points.filter((i) => xs[i] !== null && (scale === "linear" || xs[i] > 0));
}

function traces(image, axis, scale) {
  const bands = [], runs = [], means = [], marks = [];
  image.series.forEach((series, rank) => {
    const line = colour(`--slot-${series.slot}`);
    const { mean } = series;
    const x = mean[axis];
    const at = shown([...x.keys()], x, scale);
    const common = { legendgroup: series.label, name: plain(series.label + (series.state ? ` (${series.state})` : "")) };
    if (mean.std && at.length > 1) {
      const back = [...at].reverse();
      bands.push({
        ...common, meta: "band", type: "scatter", mode: "lines", fill: "toself", showlegend: false, hoverinfo: "skip",
        x: [...at, ...back].map((i) => x[i]),
        y: [...at.map((i) => mean.psnr[i] + mean.std[i]), ...back.map((i) => mean.psnr[i] - mean.std[i])],
        line: { width: 0 }, fillcolor: translucent(line, 0.16),
      });
    }
    for (const run of series.runs) {
      const own = shown([...run.step.keys()], run[axis], scale);
      runs.push({
        ...common, meta: "run", type: "scatter", mode: "lines", showlegend: false, hoverinfo: "skip",
        x: own.map((i) => run[axis][i]), y: own.map((i) => run.psnr[i]),
        line: { color: translucent(line, 0.45), width: 1, dash: run.complete ? "solid" : "4px,3px" },
      });
    }
    if (at.length) means.push({
      ...common, meta: "mean", type: "scatter", mode: at.length > 24 ? "lines" : "lines+markers", legendrank: rank,
      x: at.map((i) => x[i]), y: at.map((i) => mean.psnr[i]),
      text: at.map((i) => mean.psnr[i].toFixed(2) + (mean.std ? ` ± ${mean.std[i].toFixed(2)}` : "")),
      hovertemplate: "%{text} dB",
      line: { color: line, width: 2.4, dash: series.dash }, marker: { size: 5, color: line },
      showlegend: true,
    });
    if (series.crossing) {
      marks.push({
        ...common, meta: "crossing", type: "scatter", mode: "markers", showlegend: false, hoverinfo: "skip",
        x: [series.crossing[axis]], y: [series.crossing.psnr],
        marker: { size: 9, color: colour("--ground"), line: { color: line, width: 2 } },
      });
    }
  });
  return [...bands, ...runs, ...means, ...marks];
}

function layout(image, name, scale, words) {
  const [ink, soft, rule, ground] = ["--ink", "--soft", "--line", "--ground"].map(colour);
  const axis = {
    gridcolor: rule, linecolor: rule, zeroline: false, tickcolor: rule, ticks: "outside", ticklen: 4,
    tickfont: { color: soft }, automargin: true,
  };
  const many = image.series.length > 8;
  const level = image.level && {
    type: "line", xref: "paper", x0: 0, x1: 1, y0: image.level.psnr, y1: image.level.psnr, layer: "below",
    line: { color: soft, width: 1, dash: "dot" },
  };
  return {
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink },
    paper_bgcolor: ground, plot_bgcolor: ground,
    margin: { l: 56, r: many ? 8 : 16, t: many ? 12 : 44, b: 52 },
    xaxis: {
      ...axis, type: scale, title: { text: words.title, font: { color: soft, size: 13 } },
      unifiedhovertitle: { text: words.hover },
      tickformat: ["step", "inner"].includes(name) ? "," : "~s", ...(scale === "log" ? { dtick: 1 } : { rangemode: "tozero" }),
    },
    yaxis: { ...axis, title: { text: "PSNR [dB]", font: { color: soft, size: 13 } } },
    hovermode: "x unified",
    hoverlabel: { bgcolor: ground, bordercolor: rule, font: { color: ink, size: 12.5 } },
    legend: many
      ? { x: 1.01, y: 1, font: { size: 12 } }
      : { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 13 } },
    shapes: level ? [level] : [],
    annotations: level ? [{
      xref: "paper", x: 0.004, xanchor: "left", y: image.level.psnr, yanchor: "bottom", showarrow: false,
      text: `${image.level.psnr.toFixed(2)} dB`, font: { size: 11.5, color: soft },
    }] : [],
  };
}

function plot(into, image, axis, scale, words = AXES[axis], nothing = "No run on this image has been evaluated.") {
  const empty = !image.series.some((series) => series.mean.psnr.length || series.runs.length);
  into.classList.toggle("empty", empty);
  if (empty) {
    Plotly.purge(into);
    into.textContent = nothing;
    return;
  }
  if (!into.data) into.textContent = "";
  Plotly.react(into, traces(image, axis, scale), layout(image, axis, scale, words), {
    displaylogo: false, responsive: true,
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
    toImageButtonOptions: { format: "svg", filename: `psnr-${axis}` },
  });
}

function draw() {
  const image = data.images[view.image];
  if (image) plot(document.getElementById("curve"), image, view.axis, view.scale);
  const outer = view.outer === "step" ? { ...AXES.step, title: "outer steps" } : AXES[view.outer];
  for (const into of document.querySelectorAll("[data-learned]")) {
    const found = data.learned[Number(into.dataset.learned)][into.dataset.curve];
    const nothing = "No run has been evaluated.";
    if (into.dataset.curve === "inner") plot(into, found, "inner", "linear", AXES.inner, nothing);
    else plot(into, found, view.outer, view.outerScale, outer, nothing);
  }
}

// Pictures come out of the store when their panel is first shown: a page of many images opens as fast as one of one.
function show() {
  for (const panel of document.querySelectorAll("[data-image-panel]")) {
    panel.hidden = Number(panel.dataset.imagePanel) !== view.image;
    if (panel.hidden) continue;
    for (const button of panel.querySelectorAll("[data-picture]")) place(button.firstElementChild, button.dataset.picture);
  }
  for (const button of document.querySelectorAll("#learning-to-learn [data-picture]")) place(button.firstElementChild, button.dataset.picture);
  for (const name of document.querySelectorAll("[data-image-name]")) name.textContent = data.images[view.image].name;
  draw();
}

// Enlarged pixels are shown as pixels, not smoothed over.
function place(img, key) {
  if (!img.src) img.src = store[key];
  const width = Number(img.getAttribute("width"));
  img.classList.toggle("coarse", img.clientWidth > width);
}

document.addEventListener("change", ({ target }) => {
  if (!(target.name in view)) return;
  view[target.name] = target.name === "image" ? Number(target.value) : target.value;
  show();
});
// The colours of the page follow the system, and paper is white.
for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", draw);

// -- sorting, within each image --------------------------------------------------------------------------------------

function sort(table, column, descending) {
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("image"));
    const key = (row) => row.cells[column].dataset.value;
    rows.sort((a, b) => {
      const [p, q] = [key(a), key(b)];
      // What has no number stays at the end in either direction.
      if (p === undefined || q === undefined) return (p === undefined) - (q === undefined);
      const order = column === 0 || isNaN(p) || isNaN(q) ? p.localeCompare(q, undefined, { numeric: true }) : p - q;
      return descending ? -order : order;
    });
    body.append(...rows);
  }
}

for (const table of document.querySelectorAll("table[id]")) {
  const heads = [...table.tHead.rows[1].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const descending = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    sort(table, column, descending);
  }));
}

// -- large pictures --------------------------------------------------------------------------------------------------

const large = document.getElementById("large");
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
  const all = [...document.querySelectorAll("[data-image-panel]:not([hidden]) [data-picture], #learning-to-learn [data-picture]")];
  enlarge(all[(all.indexOf(open) + step + all.length) % all.length]);
  event.preventDefault();
});
large.addEventListener("close", () => open?.focus());

show();
