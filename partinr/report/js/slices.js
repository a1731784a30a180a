const data = JSON.parse(document.getElementById("stage-data").textContent);
const at = (id) => document.getElementById(id);
const shape = data.shape;
const extents = shape.map((n, axis) => n * data.spacing[axis]);

// The axes across, down and to the right in each slice.
const SLICES = [[0, 1, 2], [1, 0, 2], [2, 0, 1]];
const place = shape.map((n) => Math.floor(n / 2));
const volumes = {};

// Slices lie as tiles in one picture, row by row.
const [, height, width] = shape;
const pitch = data.columns * width;
const offset = (z, y, x) => 4 * ((Math.floor(z / data.columns) * height + y) * pitch + (z % data.columns) * width + x);

async function decoded(uri) {
  const img = new Image();
  img.src = uri;
  await img.decode();
  const context = new OffscreenCanvas(img.width, img.height).getContext("2d", { alpha: false, willReadFrequently: true });
  context.drawImage(img, 0, 0);
  return context.getImageData(0, 0, img.width, img.height).data;
}

const colours = data.error.colours.map((hex) => [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16)));

function errorColour(i) {
  const [{ signal }, fit] = [volumes, volumes[`fit${of()}`]];
  const [low, high] = data.error.range;
  const error = (Math.abs(signal[i] - fit[i]) + Math.abs(signal[i + 1] - fit[i + 1]) + Math.abs(signal[i + 2] - fit[i + 2])) / (3 * 255);
  return colours[Math.round(255 * Math.min(Math.log(Math.max(error, low) / low) / Math.log(high / low), 1))];
}

// The number of the fit that is shown.
const of = () => Number(document.querySelector("[name=of]:checked")?.value ?? 0);
const labelAt = (i, labels = volumes[`labels${of()}`]) => (labels[i] << 16) | (labels[i + 1] << 8) | labels[i + 2];
const mode = () => document.querySelector("[name=mode]:checked").value;

// CSS pixels for one unit of length: the largest slice fills a third of the window, or all of a narrow one.
const side = () => (innerWidth < 700 ? innerWidth - 32 : Math.max(140, Math.min((innerWidth - 64) / 3, innerHeight - 210)));
const zoom = () => side() / Math.max(...extents);

function draw() {
  at("scale").hidden = mode() !== "error";
  document.querySelectorAll("#slices figure").forEach((figure, which) => drawSlice(figure, ...SLICES[which]));
  const i = offset(...place);
  const physical = (values) => {
    const [low, high] = data.range;
    const found = [0, 1, 2].map((c) => (low + ((high - low) * values[i + c]) / 255).toPrecision(4));
    return found[0] === found[1] && found[1] === found[2] ? found[0] : found.join(", ");
  };
  at("sample").textContent = place.join(", ");
  at("region").textContent = data.fits.map((_, n) => labelAt(i, volumes[`labels${n}`])).join(" | ");
  at("signal").textContent = physical(volumes.signal);
  at("fit").textContent = data.fits.map((_, n) => physical(volumes[`fit${n}`])).join(" | ");
}

function drawSlice(figure, through, down, right) {
  const [rows, columns] = [shape[down], shape[right]];
  const sample = [0, 0, 0];
  sample[through] = place[through];
  const offsetOf = (row, column) => {
    sample[down] = row;
    sample[right] = column;
    return offset(...sample);
  };
  const pixels = new ImageData(columns, rows);
  const [shown, labels] = [mode(), volumes[`labels${of()}`]];
  const values = volumes[shown === "fit" ? `fit${of()}` : "signal"];
  for (let row = 0, to = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, to += 4) {
      const i = offsetOf(row, column);
      pixels.data.set(shown === "error" ? errorColour(i) : values.subarray(i, i + 3), to);
      pixels.data[to + 3] = 255;
    }
  }
  const plain = new OffscreenCanvas(columns, rows);
  plain.getContext("2d").putImageData(pixels, 0, 0);

  const canvas = figure.querySelector("canvas");
  const scale = zoom();
  const size = [right, down].map((axis) => Math.max(1, Math.round(extents[axis] * scale)));
  [canvas.width, canvas.height] = size.map((n) => Math.round(n * devicePixelRatio));
  [canvas.style.width, canvas.style.height] = size.map((n) => `${n}px`);
  const context = canvas.getContext("2d", { alpha: false });
  context.imageSmoothingEnabled = false;
  context.drawImage(plain, 0, 0, canvas.width, canvas.height);

  const [across, high] = [canvas.width / columns, canvas.height / rows];
  if (at("borders").checked) {
    context.fillStyle = "#ffb000";
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const own = labelAt(offsetOf(row, column), labels);
        if (column && labelAt(offsetOf(row, column - 1), labels) !== own) context.fillRect(Math.round(column * across), row * high, devicePixelRatio, high + 1);
        if (row && labelAt(offsetOf(row - 1, column), labels) !== own) context.fillRect(column * across, Math.round(row * high), across + 1, devicePixelRatio);
      }
    }
  }
  context.fillStyle = "rgb(90 170 255 / 0.75)";
  context.fillRect(Math.round((place[right] + 0.5) * across), 0, devicePixelRatio, canvas.height);
  context.fillRect(0, Math.round((place[down] + 0.5) * high), canvas.width, devicePixelRatio);

  figure.querySelector("input").value = place[through];
  figure.querySelector("output").textContent = `${place[through] + 1} of ${shape[through]}`;
}

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

function listen() {
  document.querySelectorAll("#slices figure").forEach((figure, which) => {
    const [through, down, right] = SLICES[which];
    const [canvas, slider] = [figure.querySelector("canvas"), figure.querySelector("input")];
    slider.max = shape[through] - 1;
    slider.addEventListener("input", () => { place[through] = Number(slider.value); redraw(); });
    const move = (event) => {
      const box = canvas.getBoundingClientRect();
      const inside = (share, n) => Math.max(0, Math.min(n - 1, Math.floor(share * n)));
      place[right] = inside((event.clientX - box.left) / box.width, shape[right]);
      place[down] = inside((event.clientY - box.top) / box.height, shape[down]);
      redraw();
    };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); move(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons) move(event); });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      place[through] = Math.max(0, Math.min(shape[through] - 1, place[through] + Math.sign(event.deltaY)));
      redraw();
    }, { passive: false });
  });
  const choose = (value, name = "mode") => { document.querySelector(`[name=${name}][value="${value}"]`).checked = true; redraw(); };
  const next = () => {
    if (data.fits.length === 1) return choose(mode() === "signal" ? "fit" : "signal");
    if (mode() === "signal") choose("fit");
    choose((of() + 1) % data.fits.length, "of");
  };
  document.querySelectorAll("[name=mode], [name=of], #borders").forEach((each) => each.addEventListener("change", redraw));
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " ") next();
    else if (event.key === "e") choose("error");
    else if (event.key === "b") { at("borders").checked = !at("borders").checked; redraw(); }
    else return;
    event.preventDefault();
  });
  addEventListener("resize", redraw);
}

Promise.all(Object.entries(data.pictures).map(async ([name, uri]) => { volumes[name] = await decoded(uri); })).then(() => { listen(); draw(); });
