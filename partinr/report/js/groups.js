// -- groups ----------------------------------------------------------------------------------------------------------

const facetIndex = (name) => data.facets.findIndex((facet) => facet.name === name);

// A value of a facet, with its name unless it says by itself what it is.
function inWords({ name, kind, values }, at) {
  const value = values[at];
  const bare = kind === "image" || kind === "status" || isNaN(value) && !["on", "off", "unset", "none"].includes(value);
  return bare ? value : `${name} ${value}`;
}

// The label of a run's group, and its place among the others.
function labelOf(run) {
  if (!view.by) return { label: data.studies[run.study].labels[run.label].label, order: [run.label] };
  const order = view.by.map((name) => run.facets[facetIndex(name)]);
  const words = view.by.map((name, i) => (order[i] < 0 ? "" : inWords(data.facets[facetIndex(name)], order[i]))).filter(Boolean);
  return { label: words.join(" · ") || (view.by.length ? "other" : "all runs"), order };
}

const compare = (a, b) => a.map((x, i) => x - b[i]).find(Boolean) ?? 0;

// Colours are given out over all runs, so that they do not change with the filter.
function stylesOf(study) {
  const all = new Map();
  for (const run of data.runs) {
    if (run.study !== study) continue;
    const { label, order } = labelOf(run);
    if (!all.has(label)) all.set(label, { order, runs: [] });
    all.get(label).runs.push(run);
  }
  const labels = [...all.keys()].sort((a, b) => compare(all.get(a).order, all.get(b).order));
  const facet = colourFacet(study, labels.map((label) => all.get(label).runs));
  if (facet) {
    const { values } = data.facets[facet.index];
    const others = values.filter((value) => value !== data.uncut);
    const drawn = new Map();
    return { facet: values, of: new Map(labels.map((label) => {
      const found = new Set(all.get(label).runs.map((run) => run.facets[facet.index]));
      const value = found.size === 1 ? values[[...found][0]] : undefined;
      const rank = others.indexOf(value);
      const count = drawn.get(value) ?? 0;
      drawn.set(value, count + 1);
      // Dashes tell groups of one colour apart, unless they have to make up for missing colours.
      const dash = others.length > COLOURS ? Math.floor(rank / COLOURS) : labels.length > STYLES ? 0 : count;
      return [label, { slot: rank < 0 ? 0 : 1 + rank % COLOURS, dash: DASHES[Math.max(0, dash) % DASHES.length], value: value === undefined ? "several" : inWords(data.facets[facet.index], values.indexOf(value)) }];
    })) };
  }
  if (!view.by) return { of: new Map(data.studies[study].labels.map((of) => [of.label, of])) };
  const others = labels.filter((label) => label !== data.uncut);
  return { of: new Map(labels.map((label) => {
    const rank = others.indexOf(label);
    return [label, { slot: rank < 0 ? 0 : 1 + rank % COLOURS, dash: DASHES[Math.floor(Math.max(0, rank) / COLOURS) % DASHES.length] }];
  })) };
}

// The facet that gives the groups their colours; null for a style for each. Of a crowd it is the one whose most frequent
// value has the fewest groups.
function colourFacet(study, groups) {
  if (view.colour === "group") return null;
  if (view.colour) return { index: facetIndex(view.colour) };
  if (groups.length <= STYLES) return null;
  const usable = ({ name, kind, values }) => (view.by ? view.by.includes(name) : kind === "setting") && values.length <= COLOURS + 1;
  const largest = (index) => {
    const count = new Map();
    for (const [{ facets }] of groups) count.set(facets[index], (count.get(facets[index]) ?? 0) + 1);
    return Math.max(...count.values());
  };
  const [best] = data.facets.map((_, index) => index).filter((index) => usable(data.facets[index])).sort((a, b) => largest(a) - largest(b));
  return best === undefined || largest(best) === groups.length ? null : { index: best };
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
    // As everywhere in the report, completed runs count; where there is none, runs with a curve do.
    const completed = group.runs.filter((run) => run.status === "completed");
    group.provisional = !completed.length;
    group.counted = (completed.length ? completed : group.runs.filter((run) => run.curve)).filter((run) => !run.repeated);
    const count = STATES.map((state) => [state, group.runs.filter((run) => run.status === state).length]).filter(([, n]) => n);
    group.state = count.length === 1 ? count[0][0] : count.map(([state, n]) => `${n} ${state}`).join(", ");
    Object.assign(group, styles.of.get(group.label));
  }
  return groups;
}

// Whether other work shared the machine while a run of the group trained: its seconds get a sign.
const marked = (group, axis) => axis === "seconds" && group.counted.some(({ shared }) => shared);

// -- numbers over seeds ----------------------------------------------------------------------------------------------

// The reader groups and filters at will, so the page has to compute these statistics for any set of runs.

// Mean and sample deviation. There is no mean unless every run has the number, so it never leaves out bad runs.
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
// On a logarithmic axis, mean and deviation are those of the logarithm.
function meanCurve(runs, { key, log }) {
  const empty = { step: [], seconds: [], cpu_seconds: [], macs: [], y: [], std: null };
  const curves = runs.map(({ curve }) => {
    const values = curve?.[key] ?? [];
    const finite = [...values.keys()].filter((i) => values[i] !== null && (!log || values[i] > 0));
    const columns = Object.fromEntries(Object.keys(AXES).map((name) => [name, finite.map((i) => curve[name][i])]));
    return { ...columns, y: finite.map((i) => values[i]) };
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
  for (const name of ["seconds", "cpu_seconds", "macs"]) mean[name] = over(name).map((stat) => stat.mean);
  if (log) for (const curve of curves) curve.y = curve.y.map(Math.log);
  const y = over("y");
  const shown = log ? Math.exp : (value) => value;
  mean.y = y.map((stat) => shown(stat.mean));
  mean.std = y.map((stat) => shown(stat.std));
  return mean;
}

function interpolated(at, x, y) {
  let i = 0;
  return at.map((where) => {
    while (i < x.length - 2 && x[i + 1] < where) i += 1;
    if (x.length === 1 || where <= x[i]) return y[i];
    if (where >= x[i + 1]) return y[i + 1];
    if (y[i] === null || y[i + 1] === null) return null;
    return y[i] + (y[i + 1] - y[i]) * (where - x[i]) / (x[i + 1] - x[i]);
  });
}

// Where a curve first reaches a level of the leading metric, linear between the two evaluations around it; null if it never does, or if that
// is unknown, as CPU seconds of older runs are.
function reaches({ study, curve }, level, axis) {
  const y = curve?.[data.studies[study].leading.key] ?? [];
  const valid = [...y.keys()].filter((i) => y[i] !== null);
  const above = valid.findIndex((i) => y[i] >= level);
  if (above < 0) return null;
  const x = curve[axis];
  const i = valid[above];
  if (above === 0) return x[i];
  const before = valid[above - 1];
  if (x[i] === null || x[before] === null) return null;
  return x[before] + (x[i] - x[before]) * (level - y[before]) / (y[i] - y[before]);
}

// -- numbers for people ----------------------------------------------------------------------------------------------

const exponent = (number) => (Number.isFinite(number) ? Number(number.toExponential(2).split("e")[1]) : 0);

// Decimals, divisor and unit of a number, so that its deviation can be written alike.
function shapeOf(form, number) {
  if (form.startsWith("fixed:")) return [Number(form.slice(6)), 1, ""];
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

