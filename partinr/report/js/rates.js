// -- rate and distortion ---------------------------------------------------------------------------------------------

// Groups whose runs have all been measured, with bits per pixel and PSNR in each precision, as means over seeds. Where a
// run is for several images, `points` are means over them and `parts` has each of them.
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
// More lines of single images than these would hide the means.
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
    // As for the curves: where there are more groups than styles, the legend has each style once.
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
  const shape = layout(series, null, "log", { title: `bits per pixel${over}`, hover: "%{x}" });
  if (over) shape.yaxis.title.text = "mean PSNR [dB]";
  const shown = [...each, ...drawn];
  // At least three ticks a decade: 1, 2, 5.
  const bits = spanOf(shown.flatMap(({ x }) => x).filter((bpp) => bpp > 0).map(Math.log10), 1);
  Object.assign(shape.xaxis, { dtick: "D2", tickformat: "~r", range: bits });
  // A difference of less than a dB must not look like a cliff.
  shape.yaxis.range = spanOf(shown.flatMap(({ y }) => y).filter((psnr) => psnr !== null), 1);
  Plotly.react(into, shown, { ...legended(into, shown, shape), hovermode: "closest" }, {
    displaylogo: false, responsive: true, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
    toImageButtonOptions: { format: "svg", filename: "rate-distortion" },
  });
}

// The points of a codec between two rates; where all its files are smaller, or all larger, the nearest ones.
function nearBits(points, low, high) {
  const within = points.filter(([bpp]) => bpp >= low && bpp <= high);
  if (within.length || !points.length) return within;
  const all = points.map(([bpp]) => bpp);
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const nearest = most < low ? most : least;
  return points.filter(([bpp]) => bpp >= nearest / 4 && bpp <= nearest * 4);
}

// The range of an axis: values with some room around them, and at least so long.
function spanOf(values, least) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.max(0.06 * (high - low), (least - (high - low)) / 2);
  return [low - room, high + room];
}

// One of several images in one precision, beside the PSNR of JPEG and WebP in as many bits.
function partText({ name, codecs }, { setting, bpp }) {
  const others = Object.entries(CODECS).map(([coder, [word]]) => `${word} ${besideCodec(codecs[coder] ?? [], bpp)}`);
  return `${plain(name)}, ${setting}<br>${others.join(", ")}`;
}

// PSNR of a codec at a rate, linear in the logarithm of the bits between the two qualities around it.
function atRate(points, bpp) {
  const ordered = points.filter(([, psnr]) => psnr !== null).sort((a, b) => a[0] - b[0]);
  for (let i = 1; i < ordered.length; i += 1) {
    const [[x0, y0], [x1, y1]] = [ordered[i - 1], ordered[i]];
    if (x0 <= bpp && bpp <= x1 && x0 < x1) return y0 + (y1 - y0) * Math.log(bpp / x0) / Math.log(x1 / x0);
  }
  return null;
}

// The same as text. A codec that takes fewer bits even at its best quality has at least the PSNR of that.
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
    return `<tr class="${group.provisional ? "provisional" : ""}"><th scope="row"><div class="called">${swatch(group)}<span>${escaped(group.label)}</span></div></th><td>${escaped(setting)}</td>`
      + `<td class="number" data-key="bpp" data-value="${bpp}">${written(bpp, shapeOf("significant", bpp))}</td>`
      + `<td class="number" data-key="rate-psnr" data-value="${psnr.mean}">${psnr.mean.toFixed(2)}${psnr.std === null ? "" : `<span class="std"> ± ${psnr.std.toFixed(2)}</span>`}</td>`
      + `<td class="number">${change}</td>${others.map((text) => `<td class="number">${text}</td>`).join("")}</tr>`;
  }).join("");
  for (const old of [...table.tBodies]) old.remove();
  table.tHead.insertAdjacentHTML("afterend", `<tbody>${body}</tbody>`);
  table.hidden = !rows.length;
  more("rates", rows.length, "rows");
}

