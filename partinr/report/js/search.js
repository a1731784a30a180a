// -- search ----------------------------------------------------------------------------------------------------------

const BEST = 10;
const SHADES = 6;

function searches() {
  document.querySelectorAll("[data-search]").forEach((into) => search(into, into.dataset.search));
}

function search(into, study) {
  const { settings, metrics, importance } = data.studies[study].search;
  const chosen = study === "fits" ? image() : "all";
  const metric = metrics.find(({ key }) => key === view[study === "fits" ? "search" : `${study}-search`]);
  const found = importanceOf(importance[metric.key], chosen);
  const all = trialsOf(study, chosen, metric);
  const order = [...settings.keys()].sort((a, b) => (found[b] ?? -1) - (found[a] ?? -1));
  importanceBars(into.querySelector(".importance"), order, settings, found);
  for (const plot of into.querySelectorAll("[data-setting]")) {
    const at = Number(plot.dataset.setting);
    plot.style.order = order.indexOf(at);
    whenSeen(plot, false, () => drawSetting(plot, settings[at], at, metric, all));
  }
  const parallel = into.querySelector(".parallel");
  whenSeen(parallel, false, () => drawParallel(parallel, order, settings, metric, all.filter(({ value }) => value !== null)));
  bestRuns(into.querySelector(".best-runs"), study, settings, metrics, all.filter(({ value }) => value !== null));
}

// Of an image, or the mean over images.
function importanceOf(images, chosen) {
  const of = chosen === "all" ? images : [images[chosen]];
  return of[0].map((_, i) => {
    const known = of.map((each) => each[i]).filter((share) => share !== null);
    return known.length ? known.reduce((sum, share) => sum + share, 0) / known.length : null;
  });
}

// The runs in sight that have ended, the best first; those that did not complete have no value.
function trialsOf(study, chosen, { index, better }) {
  const styles = stylesOf(study);
  const groups = groupsOf(study, chosen, styles);
  // Where groups have no colour of their own, a setting in words gives one.
  const by = data.studies[study].search.settings.findIndex(({ words }) => words.length > 0 && words.length <= COLOURS);
  const slotOf = (run, group) => {
    if (styles.facet || groups.length <= COLOURS) return group.slot;
    return by < 0 ? 1 : 1 + data.studies[study].search.settings[by].words.indexOf(run.search[by]);
  };
  const found = groups.flatMap((group) => group.runs.filter((run) => !run.repeated && !["queued", "running"].includes(run.status)).map((run) => {
    const value = run.status === "completed" && Number.isFinite(run.values[index]) ? run.values[index] : null;
    return { run, value, slot: slotOf(run, group), label: group.label, values: run.search };
  }));
  return found.sort((a, b) => (a.value === null) - (b.value === null) || (better === "high" ? b.value - a.value : a.value - b.value));
}

function importanceBars(list, order, settings, found) {
  list.innerHTML = order.filter((at) => found[at] !== null).map((at) => `<li data-setting-name="${escaped(settings[at].name)}" data-value="${found[at]}">`
    + `<span class="who">${escaped(settings[at].name)}</span><span class="track"><i class="fill" style="width:${(100 * found[at]).toFixed(1)}%;background:var(--accent)"></i></span>`
    + `<span class="much">${found[at].toFixed(2)}</span></li>`).join("");
}

// A setting in words or in few digits; the table has all of them.
const told = (value, digits = 4) => (value === null ? "unset" : typeof value === "string" ? value : String(Number(value.toPrecision(digits))));
const resultOf = ({ value }, metric) => written(value, shapeOf(metric.form, value));
const trialText = (trial, metric) => `${plain(trial.label)}, seed ${trial.run.seed}<br>${trial.value === null ? trial.run.status : `${plain(metric.title)} ${resultOf(trial, metric)}`}`;

function searchLayout(margin) {
  const [ink, soft, rule, ground] = ["--ink", "--soft", "--line", "--ground"].map(colour);
  const axis = { gridcolor: rule, linecolor: rule, tickcolor: rule, zeroline: false, ticks: "outside", ticklen: 4, tickfont: { color: soft }, automargin: true };
  const shape = {
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink }, paper_bgcolor: ground, plot_bgcolor: ground,
    autosize: true, margin, showlegend: false, hovermode: "closest", hoverlabel: { bgcolor: ground, bordercolor: rule, font: { color: ink } },
  };
  return { axis, shape, soft };
}

const SEARCH_CONFIG = { displayModeBar: false, responsive: true };

function drawSetting(into, setting, at, metric, all) {
  const { axis, shape, soft } = searchLayout({ l: 50, r: 12, t: 8, b: 44 });
  const given = all.filter(({ values }) => values[at] !== null);
  const trace = (trials, further) => ({
    type: "scatter", mode: "markers", x: trials.map(({ values }) => (setting.words.length ? plain(values[at]) : values[at])),
    text: trials.map((trial) => `${trialText(trial, metric)}<br>${plain(setting.name)} ${plain(told(trial.values[at]))}`), hovertemplate: "%{text}<extra></extra>", ...further,
  });
  const slots = [...new Set(given.map(({ slot }) => slot))];
  const done = slots.map((slot) => {
    const trials = given.filter((trial) => trial.slot === slot && trial.value !== null);
    return trace(trials, { meta: "runs", y: trials.map(({ value }) => value), marker: { size: 7, color: colour(`--slot-${slot}`), opacity: 0.75 } });
  });
  const failed = given.filter(({ value }) => value === null);
  const crosses = trace(failed, { meta: "failed", y: failed.map(() => 0.03), yaxis: "y2", marker: { size: 7, symbol: "x-thin", line: { color: colour("--bad"), width: 1.5 } } });
  const kind = setting.words.length ? { type: "category", categoryorder: "array", categoryarray: setting.words.map(plain) } : setting.log ? logAxis(setting.numbers, 30) : { type: "linear", tickformat: "~g" };
  Plotly.react(into, [...done, crosses], {
    ...shape,
    xaxis: { ...axis, ...kind, title: { text: plain(setting.name), font: { color: soft } } },
    yaxis: { ...axis, title: { text: plain(metric.title), font: { color: soft } } },
    yaxis2: { overlaying: "y", range: [0, 1], visible: false, fixedrange: true },
  }, SEARCH_CONFIG);
}

// The place of a value on an axis from 0 to 1, and the marks of the axis.
function scaleOf({ log, numbers, words }) {
  if (words.length) return { place: (value) => words.indexOf(value) / (words.length - 1), marks: words };
  const shown = log ? Math.log10 : (value) => value;
  const [low, high] = [shown(numbers[0]), shown(numbers.at(-1))];
  const back = (share) => (log ? 10 ** (low + share * (high - low)) : low + share * (high - low));
  return { place: (value) => (shown(value) - low) / (high - low || 1), marks: numbers.length <= 6 ? numbers : [0, 0.25, 0.5, 0.75, 1].map(back) };
}

function mixed(from, to, share) {
  const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const [a, b] = [parts(from), parts(to)];
  return `rgb(${a.map((each, i) => Math.round(each + share * (b[i] - each))).join(",")})`;
}

// plotly.js draws its own parallel coordinates by code that it makes, which the page's security policy forbids.
function drawParallel(into, order, settings, metric, trials) {
  // Long names of neighbours are at two heights.
  const lift = order.some((at) => settings[at].name.length > 14) ? 15 : 0;
  const { shape, soft } = searchLayout({ l: 44, r: 56, t: 30 + lift, b: 12 });
  const values = trials.map(({ value }) => value).sort((a, b) => a - b);
  const axes = [...order.map((at) => ({ name: settings[at].name, of: ({ values: own }) => own[at], scale: scaleOf(settings[at]) })),
    { name: metric.title, of: ({ value }) => value, scale: scaleOf({ log: false, numbers: values, words: [] }) }];
  const shades = [...Array(SHADES)].map(() => ({ x: [], y: [], text: [] }));
  // The best are drawn last.
  [...trials].reverse().forEach((trial, rank) => {
    const shade = shades[Math.floor(SHADES * rank / trials.length)];
    axes.forEach(({ of, scale, name }, at) => {
      const value = of(trial);
      shade.x.push(at);
      shade.y.push(value === null ? null : scale.place(value));
      shade.text.push(`${trialText(trial, metric)}<br>${plain(name)} ${plain(told(value))}`);
    });
    for (const column of [shade.x, shade.y, shade.text]) column.push(null);
  });
  const lines = shades.map((shade, i) => ({
    ...shade, meta: "lines", type: "scatter", mode: "lines+markers", hovertemplate: "%{text}<extra></extra>", marker: { size: 3 },
    line: { color: mixed(colour("--line"), colour("--accent"), (i + 1) / SHADES), width: i === SHADES - 1 ? 2 : 1.2 },
  }));
  const label = (x, y, text, further) => ({ x, y, text: plain(text), showarrow: false, font: { size: 11, color: soft }, ...further });
  const digits = (marks) => (marks.some((a, i) => i && told(a, 3) === told(marks[i - 1], 3)) ? 5 : 3);
  Plotly.react(into, lines, {
    ...shape,
    xaxis: { visible: false, range: [-0.15, axes.length - 1 + 0.15], fixedrange: true },
    yaxis: { visible: false, range: [-0.04, 1.04], fixedrange: true },
    shapes: axes.map((_, at) => ({ type: "line", x0: at, x1: at, y0: 0, y1: 1, layer: "below", line: { color: soft, width: 1 } })),
    annotations: axes.flatMap(({ name, scale }, at) => [
      label(at, 1.04, name, { yanchor: "bottom", yshift: at % 2 ? lift : 0, font: { size: 12, color: colour("--ink") } }),
      ...scale.marks.map((mark) => label(at, scale.place(mark), told(mark, digits(scale.marks)), { xanchor: "left", xshift: 5, bgcolor: translucent(colour("--ground"), 0.75), borderpad: 1 })),
    ]),
  }, SEARCH_CONFIG);
}

function bestRuns(table, study, settings, metrics, trials) {
  const number = (text) => `<td class="number">${text}</td>`;
  const heads = [...metrics.map(({ title }) => title), ...settings.map(({ name }) => name), "seed"].map((name) => `<th scope="col" class="number">${escaped(name)}</th>`);
  const rows = trials.slice(0, BEST).map((trial) => {
    const results = metrics.map((each) => {
      const value = trial.run.values[each.index];
      return number(Number.isFinite(value) ? written(value, shapeOf(each.form, value)) : "–");
    });
    const own = settings.map((_, at) => number(escaped(told(trial.values[at], 6))));
    return `<tr><th scope="row"><button type="button" data-run="${data.runs.indexOf(trial.run)}">${escaped(trial.run.name)}</button></th>${results.join("")}${own.join("")}${number(trial.run.seed ?? "–")}</tr>`;
  });
  const nothing = `<tr><td colspan="${heads.length + 1}">No completed run matches the filter.</td></tr>`;
  table.innerHTML = `<thead><tr><th scope="col">best runs</th>${heads.join("")}</tr></thead><tbody>${rows.join("") || nothing}</tbody>`;
}
