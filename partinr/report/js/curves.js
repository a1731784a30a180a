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

const PSNR = { key: "psnr", title: "PSNR [dB]", log: false, form: "fixed:2", unit: " dB" };

// What the curves of a study show.
function metricOf(study) {
  const chosen = view[study === "fits" ? "metric" : `${study}-metric`];
  return data.studies[study].metrics.find(({ key }) => key === chosen);
}

// Leaves out what an axis cannot show: gaps, and 0 on a logarithmic one.
function drawable(points, xs, scale) {
  return points.filter((i) => xs[i] !== null && (scale === "linear" || xs[i] > 0));
}

// The groups as they are drawn. Of many groups single runs are left out, as their thin lines would hide each other.
function seriesOf(groups, metric) {
  return groups.map((group) => ({
    ...group, mean: meanCurve(group.counted, metric), crossing: metric.leads ? crossingOf(group) : null,
    lines: groups.length > STYLES ? [] : group.runs.filter((run) => run.curve?.[metric.key] && (group.counted.length > 1 || !group.counted.includes(run))),
  }));
}

function crossingOf({ counted }) {
  if (!counted.length || !counted.every(({ reached }) => reached)) return null;
  const found = Object.fromEntries([...Object.keys(AXES), "level"].map((name) => [name, statOf(counted.map(({ reached }) => reached[name])).mean]));
  return found.step ? found : null;
}

// The groups in a chart of a section: PSNR at 0, 1, 2, …, with a ring at the place that the chart marks.
function chartSeries(groups, chart) {
  return groups.map((group) => {
    const runs = group.counted.map(({ charts }) => charts[chart].values);
    const place = [...Array(runs.length ? Math.min(...runs.map((values) => values.length)) : 0).keys()];
    const stats = place.map((at) => statOf(runs.map((values) => values[at])));
    const { mark } = group.runs[0].charts[chart];
    return {
      ...group, lines: [],
      mean: { place, y: stats.map(({ mean }) => mean), std: runs.length > 1 ? stats.map(({ std }) => std) : null },
      crossing: mark !== null && mark < place.length ? { place: mark, level: stats[mark].mean } : null,
    };
  });
}

function traces(series, axis, scale, metric) {
  const bands = [], runs = [], means = [], marks = [];
  series.forEach((one, rank) => {
    const line = colour(`--slot-${one.slot}`);
    const { mean } = one;
    const x = mean[axis];
    const points = drawable([...x.keys()], x, scale).filter((i) => mean.y[i] !== null);
    const common = { legendgroup: one.label, family: one.value ?? `${one.label} …`, name: plain(one.label + (marked(one, axis) ? SIGN : "") + (one.provisional ? ` (${one.state})` : "")) };
    if (mean.std && points.length > 1) {
      const back = [...points].reverse();
      bands.push({
        ...common, meta: "band", type: "scatter", mode: "lines", fill: "toself", showlegend: false, hoverinfo: "skip",
        x: [...points, ...back].map((i) => x[i]),
        y: metric.log
          ? [...points.map((i) => mean.y[i] * mean.std[i]), ...back.map((i) => mean.y[i] / mean.std[i])]
          : [...points.map((i) => mean.y[i] + mean.std[i]), ...back.map((i) => mean.y[i] - mean.std[i])],
        line: { width: 0 }, fillcolor: translucent(line, 0.16),
      });
    }
    for (const run of one.lines) {
      const own = drawable([...run.curve.step.keys()], run.curve[axis], scale);
      runs.push({
        ...common, meta: "run", type: "scatter", mode: "lines", showlegend: false, hoverinfo: "skip",
        x: own.map((i) => run.curve[axis][i]), y: own.map((i) => run.curve[metric.key][i]),
        line: { color: translucent(line, 0.45), width: 1, dash: run.status === "completed" ? "solid" : "4px,3px" },
      });
    }
    if (points.length) means.push({
      ...common, meta: "mean", type: "scatter", mode: points.length > 24 ? "lines" : "lines+markers", legendrank: rank,
      x: points.map((i) => x[i]), y: points.map((i) => mean.y[i]),
      text: points.map((i) => {
        const shape = shapeOf(metric.form, mean.y[i]);
        return written(mean.y[i], shape) + (!mean.std ? "" : metric.log ? ` ×÷ ${mean.std[i].toFixed(2)}` : ` ± ${written(mean.std[i], shape)}`) + metric.unit;
      }),
      hovertemplate: "%{text}",
      line: { color: line, width: 2.4, dash: one.dash }, marker: { size: 5, color: line },
      showlegend: true,
    });
    if (one.crossing && one.crossing[axis] !== null) {
      marks.push({
        ...common, meta: "crossing", type: "scatter", mode: "markers", showlegend: false, hoverinfo: "skip",
        x: [one.crossing[axis]], y: [one.crossing.level],
        marker: { size: 9, color: colour("--ground"), line: { color: line, width: 2 } },
      });
    }
  });
  return series.length > STYLES ? together([...bands, ...means]) : [...together([...bands, ...runs]), ...means, ...marks];
}

// Joins traces of one look into one, with gaps: plotly's time grows with the number of traces.
function together(all) {
  const found = new Map();
  for (const trace of all) {
    const look = JSON.stringify([trace.meta, trace.line, trace.fillcolor, trace.mode, trace.meta === "run" && trace.legendgroup]);
    const before = found.get(look);
    if (!before) {
      const text = trace.text?.map((each) => `${trace.name}<br>${each}`);
      found.set(look, { ...trace, x: [...trace.x], y: [...trace.y], text, ...(text && { name: plain(trace.family), hovertemplate: "%{text}<extra></extra>" }) });
      continue;
    }
    before.x.push(null, ...trace.x);
    before.y.push(null, ...trace.y);
    before.text?.push("", ...trace.text.map((text) => `${trace.name}<br>${text}`));
  }
  return [...found.values()];
}

// Marks at 1, 2 and 5, and over many decades at 1 alone.
function logAxis(values, many = 300) {
  const known = values.filter((value) => value > 0);
  return { type: "log", tickformat: "~g", dtick: Math.max(...known) > many * Math.min(...known) ? 1 : "D2" };
}

function layout(series, level, scale, words, metric = PSNR) {
  const [ink, soft, rule, ground] = ["--ink", "--soft", "--line", "--ground"].map(colour);
  const axis = {
    gridcolor: rule, linecolor: rule, zeroline: false, tickcolor: rule, ticks: "outside", ticklen: 4,
    tickfont: { color: soft }, automargin: true,
  };
  const crowd = series.length > STYLES;
  const line = level !== null && {
    type: "line", xref: "paper", x0: 0, x1: 1, y0: level, y1: level, layer: "below",
    line: { color: soft, width: 1, dash: "dot" },
  };
  return {
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink },
    paper_bgcolor: ground, plot_bgcolor: ground, autosize: true,
    margin: { l: 56, r: 16, t: 44, b: 52 },
    xaxis: {
      ...axis, type: scale, title: { text: words.title, font: { color: soft, size: 13 } },
      unifiedhovertitle: { text: words.hover },
      tickformat: words.ticks ?? ",", ...(scale === "log" ? { dtick: 1 } : { rangemode: "tozero" }),
    },
    yaxis: {
      ...axis, title: { text: plain(metric.title), font: { color: soft, size: 13 } },
      ...(metric.log ? logAxis(series.flatMap(({ mean }) => mean.y)) : { type: "linear" }),
    },
    hovermode: crowd ? "closest" : "x unified",
    hoverlabel: { bgcolor: ground, bordercolor: rule, font: { color: ink, size: 12.5 } },
    shapes: line ? [line] : [],
    annotations: line ? [{
      xref: "paper", x: 0.004, xanchor: "left", y: level, yanchor: "bottom", showarrow: false,
      text: written(level, shapeOf(metric.form, level)) + metric.unit, font: { size: 11.5, color: soft },
    }] : [],
  };
}

// Where the legend is: in one row above the chart, if it leaves room for the buttons there; to the right, if names are
// short; else below the chart, which grows by it. Adds it to a layout; wraps long names in traces.
function legended(into, traces, shape) {
  into.style.height = "";
  const [width, height, mark, letter, line] = [into.clientWidth || 900, into.clientHeight, 46, 6.9, 19];
  const named = traces.filter(({ showlegend }) => showlegend !== false);
  const widths = named.map(({ name }) => mark + letter * name.length);
  const longest = Math.max(0, ...widths);
  if (widths.reduce((sum, each) => sum + each, 0) < width - 120) {
    shape.legend = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 13 } };
  } else if (longest < 0.3 * width && named.length * line < height - 100) {
    shape.legend = { x: 1.01, y: 1, font: { size: 12 } };
  } else {
    for (const trace of named) trace.name = wrapped(trace.name, Math.floor((width - mark) / letter));
    const added = line * named.reduce((sum, { name }) => sum + name.split("<br>").length, 0) + 16;
    const { l, r, t, b } = shape.margin;
    shape.legend = { x: -l / (width - l - r), y: -(b + 8) / (height - t - b), yanchor: "top", font: { size: 12 }, tracegroupgap: 0 };
    shape.margin.b += added;
    into.style.height = `${height + added}px`;
  }
  return shape;
}

// A name in lines of at most so many letters, broken between words.
function wrapped(name, most) {
  const lines = [""];
  for (const word of name.split(" ")) {
    if (lines.at(-1) && lines.at(-1).length + word.length >= most) lines.push("");
    lines.push([lines.pop(), word].filter(Boolean).join(" "));
  }
  return lines.join("<br>");
}

function plot(into, series, { level = null, axis, scale, metric = PSNR, words = AXES[axis], nothing }) {
  const evaluated = series.some((one) => one.mean.y.length || one.lines.length);
  const empty = !series.some((one) => one.mean[axis].some((x) => x !== null) || one.lines.some(({ curve }) => curve[axis].some((x) => x !== null)));
  into.classList.toggle("empty", empty);
  if (empty) {
    Plotly.purge(into);
    into.textContent = evaluated ? "These runs do not know their CPU seconds; runs of partinr 0.3 and later do." : nothing;
    return;
  }
  if (!into.data) into.textContent = "";
  const drawn = traces(series, axis, scale, metric);
  Plotly.react(into, drawn, legended(into, drawn, layout(series, level, scale, words, metric)), {
    displaylogo: false, responsive: true,
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
    toImageButtonOptions: { format: "svg", filename: `${metric.key}-${axis}` },
  });
}

// A legend has its place for a width.
let drawnWidth = innerWidth, redrawing;
addEventListener("resize", () => {
  if (innerWidth === drawnWidth) return;
  drawnWidth = innerWidth;
  clearTimeout(redrawing);
  redrawing = setTimeout(draw, 150);
});

// Plots further down are drawn when they come into sight.
const late = new Map();
const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting && late.has(target)) {
    late.get(target)();
    late.delete(target);
  }
}, { rootMargin: "600px" });

function whenSeen(into, now, drawing) {
  // All of a printed page is in sight.
  now ||= document.documentElement.classList.contains("paper");
  watcher.unobserve(into);
  late.delete(into);
  if (now) return drawing();
  late.set(into, drawing);
  watcher.observe(into);
}

function draw() {
  if (at("curve")) {
    const nothing = filtered() ? "No run that has been evaluated matches the filter." : `No run on this ${fits.words[0]} has been evaluated.`;
    const chosen = image();
    const metric = metricOf("fits");
    const level = chosen === "all" || !metric.leads ? null : fits.images[chosen].level;
    const series = seriesOf(groupsOf("fits", chosen, stylesOf("fits")), metric);
    plot(at("curve"), series, { level, axis: view.axis, scale: view.scale, metric, nothing });
  }
  if (at("rates")) whenSeen(at("rates"), false, drawRates);
  document.querySelectorAll("[data-of]").forEach((into, i) => whenSeen(into, i < 2, () => drawSection(into)));
}

// One chart of a further section.
function drawSection(into) {
  const { of: study, imageIndex, curve } = into.dataset;
  const groups = groupsOf(study, Number(imageIndex), stylesOf(study));
  const nothing = filtered() ? "No run that has been evaluated matches the filter." : "No run has been evaluated.";
  const { charts, steps } = data.studies[study];
  const chart = charts.findIndex(({ key }) => key === curve);
  if (chart >= 0) {
    const { axis, title } = charts[chart];
    return plot(into, chartSeries(groups, chart), { axis: "place", scale: "linear", words: { title, hover: `%{x} ${axis}` }, nothing });
  }
  const axis = view[`${study}-axis`];
  const words = axis === "step" ? { ...AXES.step, title: steps } : AXES[axis];
  const metric = metricOf(study);
  plot(into, seriesOf(groups, metric), { axis, scale: view[`${study}-scale`], metric, words, nothing });
}

// -- effort to a quality ---------------------------------------------------------------------------------------------

// The highest level, in steps of those of the tables, that at least half of the groups reach.
function usualLevel(groups) {
  const { key, levels: [first, second] } = fits.leading;
  const step = second - first;
  const ends = groups.filter(({ counted }) => counted.length)
    .map(({ counted }) => Math.min(...counted.map(({ curve }) => Math.max(...(curve?.[key] ?? []).filter((value) => value !== null), 0))))
    .sort((a, b) => b - a);
  return ends.length ? Math.max(step, step * Math.floor(ends[Math.floor((ends.length - 1) / 2)] / step)) : first;
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
  const form = { step: "steps", seconds: "significant", cpu_seconds: "significant", macs: "si" }[view.axis];
  list.innerHTML = rows.slice(0, page.efforts).map(({ group, stat }) => {
    const known = stat.mean !== null;
    const shape = known && shapeOf(form, stat.mean);
    const share = (value) => `${(100 * value / longest).toFixed(2)}%`;
    const bar = known ? `<i class="fill" style="width:${share(stat.mean)};background:var(--slot-${group.slot})"></i>` : "";
    const whisker = known && stat.std ? `<i class="whisker" style="left:${share(Math.max(0, stat.mean - stat.std))};width:${share(Math.min(stat.mean, stat.std) + stat.std)}"></i>` : "";
    const value = known ? `${written(stat.mean, shape)}${marked(group, view.axis) ? SIGN : ""}${stat.std === null ? "" : `<span class="std"> ± ${written(stat.std, shape)}</span>`}` : `${stat.have} of ${stat.n}`;
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

