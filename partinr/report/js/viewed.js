const data = JSON.parse(document.getElementById("stage-data").textContent);
const at = (id) => document.getElementById(id);
const [height, width] = data.shape;
// Each with its name, picture, region borders and, once shown, error.
const fits = data.fits.map(({ name }) => ({ name }));
const several = fits.length > 1;
const [stage, canvas, divider] = ["stage", "canvas", "divider"].map(at);
const paper = canvas.getContext("2d", { alpha: false });

// Screen pixels for one pixel of the image, at most: enough to look at a single pixel.
const MOST_ZOOM = 256;
// Lines are drawn one by one. More than this at once are slow, and mere noise to the eye.
const MOST_LINES = 60_000;
const STRIP = 256;

// -- the view, and the address that keeps it ---------------------------------------------------------------------------

const MODES = ["split", "side", "left", "right", "error"].slice(data.wiped ? 0 : 1);
const KINDS = ["fit", "error", "partition"];
// `left` and `right` are 0 for the image, or the number of a fit, from 1; `of` is what several fits show; `zoom` is in CSS pixels for one pixel of the image, null for the whole image; `row` and `column` are the place in the
// middle, in pixels from the upper left corner; `split` is the part of the stage that shows the image.
const start = () => ({ mode: MODES[0], of: "fit", left: several ? 1 : 0, right: several ? 2 : 1, borders: true, zoom: null, row: height / 2, column: width / 2, split: 0.5 });
let view = start();

function address() {
  const said = new URLSearchParams();
  const plain = start();
  for (const key of ["mode", "of", "left", "right"]) if (view[key] !== plain[key]) said.set(key, view[key]);
  if (!view.borders) said.set("borders", "off");
  if (view.split !== plain.split) said.set("split", view.split.toFixed(3));
  if (view.zoom !== null) {
    said.set("zoom", view.zoom.toPrecision(4));
    said.set("at", `${view.row.toFixed(2)},${view.column.toFixed(2)}`);
  }
  return said.toString();
}

function read(said) {
  const parts = new URLSearchParams(said);
  const found = start();
  if (MODES.includes(parts.get("mode"))) found.mode = parts.get("mode");
  if (KINDS.includes(parts.get("of"))) found.of = parts.get("of");
  for (const side of ["left", "right"]) if (parts.has(side) && Number(parts.get(side)) in [null, ...fits]) found[side] = Number(parts.get(side));
  found.borders = parts.get("borders") !== "off";
  const split = Number(parts.get("split") ?? NaN);
  if (split >= 0 && split <= 1) found.split = split;
  const zoom = Number(parts.get("zoom"));
  const [row, column] = (parts.get("at") ?? "").split(",").map(Number);
  if (zoom > 0 && row >= 0 && column >= 0) Object.assign(found, { zoom: Math.min(zoom, MOST_ZOOM), row, column });
  return found;
}

// On a page with more than the stage, the address belongs to the page.
const embedded = stage.closest(".embedded") !== null;
let remembering = 0;
function remember() {
  if (embedded) return;
  clearTimeout(remembering);
  remembering = setTimeout(() => {
    const said = address();
    if (said !== location.hash.slice(1)) history.replaceState(null, "", `#${said}`);
  }, 200);
}

// -- pictures --------------------------------------------------------------------------------------------------------

const pictures = {};

async function decoded(uri) {
  const img = new Image();
  img.src = uri;
  await img.decode();
  return createImageBitmap(img);
}

const opaque = { alpha: false, willReadFrequently: true };

// Some rows of a picture as RGBA bytes: a whole one would take several times the memory.
function rowsOf(picture, top, count) {
  const strip = new OffscreenCanvas(picture.width, count);
  const context = strip.getContext("2d", opaque);
  context.drawImage(picture, 0, top, picture.width, count, 0, 0, picture.width, count);
  return context.getImageData(0, 0, picture.width, count).data;
}

const probe = new OffscreenCanvas(1, 1).getContext("2d", opaque);

function valuesAt(picture, row, column) {
  probe.drawImage(picture, column, row, 1, 1, 0, 0, 1, 1);
  return [...probe.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}

const meanError = (a, b) => (Math.abs(a[0] - b[0]) + Math.abs(a[1] - b[1]) + Math.abs(a[2] - b[2])) / (3 * 255);

// The error of a fit in the colours of the report.
function errorPicture(fit) {
  const [low, high] = data.error.range;
  const colours = data.error.colours.map((hex) => [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16)));
  const drawn = new OffscreenCanvas(width, height);
  const context = drawn.getContext("2d", { alpha: false });
  for (let top = 0; top < height; top += STRIP) {
    const count = Math.min(STRIP, height - top);
    const [wanted, got] = [rowsOf(pictures.image, top, count), rowsOf(fit.fit, top, count)];
    const result = new ImageData(width, count);
    for (let i = 0; i < wanted.length; i += 4) {
      const error = (Math.abs(wanted[i] - got[i]) + Math.abs(wanted[i + 1] - got[i + 1]) + Math.abs(wanted[i + 2] - got[i + 2])) / (3 * 255);
      const share = Math.min(Math.log(Math.max(error, low) / low) / Math.log(high / low), 1);
      result.data.set(colours[Math.round(share * 255)], i);
      result.data[i + 3] = 255;
    }
    context.putImageData(result, 0, top);
  }
  return drawn;
}

const kind = () => (view.mode === "error" ? "error" : view.of);

// What is shown on the left or on the right.
function pictureOf(side) {
  const fit = fits[view[side] - 1];
  if (!fit || kind() === "partition") return pictures.image;
  if (kind() === "error") return fit.error ??= errorPicture(fit);
  return fit.fine ?? fit.fit;
}

// The fit whose regions a side shows: for the image, those of the fit beside it.
const fitOf = (side) => fits[(view[side] || view[side === "left" ? "right" : "left"] || 1) - 1];

// -- region borders --------------------------------------------------------------------------------------------------

// Straight lines between pixels of different regions, each as long as it goes. A line has three numbers: down the image
// its column, first row and the row behind the last; across it its row, first column and the column behind the last.

class Lines {
  constructor() { Object.assign(this, { kept: new Uint16Array(3 * 1024), length: 0 }); }
  add(a, b, c) {
    if (this.length === this.kept.length) {
      const larger = new Uint16Array(2 * this.kept.length);
      larger.set(this.kept);
      this.kept = larger;
    }
    this.kept.set([a, b, c], this.length);
    this.length += 3;
  }
  get all() { return this.kept.slice(0, this.length); }
}

// The label of pixels between pictures on a sheet.
const NONE = 0xffffffff;

function bordersOf(picture) {
  const [down, across] = [new Lines(), new Lines()];
  // For each column the row, counted from 1, where the line to its left that still goes on began.
  const began = new Uint16Array(width);
  let before = null;
  for (let top = 0; top < height; top += STRIP) {
    const count = Math.min(STRIP, height - top);
    const bytes = rowsOf(picture, top, count);
    const labels = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    for (let y = 0; y < count; y += 1) {
      const row = labels.subarray(y * width, (y + 1) * width);
      let first = -1;
      for (let x = 0; x < width; x += 1) {
        const differs = x > 0 && row[x] !== row[x - 1] && row[x] !== NONE && row[x - 1] !== NONE;
        if (differs && !began[x]) began[x] = top + y + 1;
        else if (!differs && began[x]) {
          down.add(x, began[x] - 1, top + y);
          began[x] = 0;
        }
        const cut = before !== null && before[x] !== row[x] && before[x] !== NONE && row[x] !== NONE;
        if (cut && first < 0) first = x;
        else if (!cut && first >= 0) {
          across.add(top + y, first, x);
          first = -1;
        }
      }
      if (first >= 0) across.add(top + y, first, width);
      before = row;
    }
  }
  began.forEach((row, x) => { if (row) down.add(x, row - 1, height); });
  return { down: down.all, across: across.all };
}

// The lines in sight as rectangles of the screen: left, top, width, height. Null where they are too many.
function linesInSight(lines, { x, y, zoom }, { left, right, bottom }) {
  const found = [];
  const [low, high] = [-y / zoom, (bottom - y) / zoom];
  const [near, far] = [(left - x) / zoom, (right - x) / zoom];
  const { down, across } = lines;
  for (let i = 0; i < down.length; i += 3) {
    if (down[i] < near || down[i] > far || down[i + 2] < low || down[i + 1] > high) continue;
    const [begin, end] = [Math.max(down[i + 1], low), Math.min(down[i + 2], high)];
    found.push(Math.round(x + down[i] * zoom), Math.round(y + begin * zoom), 0, Math.round((end - begin) * zoom));
    if (found.length > 4 * MOST_LINES) return null;
  }
  for (let i = 0; i < across.length; i += 3) {
    if (across[i] < low || across[i] > high || across[i + 2] < near || across[i + 1] > far) continue;
    const [begin, end] = [Math.max(across[i + 1], near), Math.min(across[i + 2], far)];
    found.push(Math.round(x + begin * zoom), Math.round(y + across[i] * zoom), Math.round((end - begin) * zoom), 0);
    if (found.length > 4 * MOST_LINES) return null;
  }
  return found;
}

function drawBorders(lines, place, pane) {
  const found = linesInSight(lines, place, pane);
  if (!found) return false;
  const dense = devicePixelRatio;
  // A light line with a dark edge is visible on every ground.
  for (const [colour, around] of [["rgb(10 12 15 / 0.55)", dense], ["#fff", 0]]) {
    paper.fillStyle = colour;
    const core = Math.max(1, Math.round(dense));
    const shift = Math.floor(core / 2) + around;
    for (let i = 0; i < found.length; i += 4) paper.fillRect(found[i] - shift, found[i + 1] - shift, found[i + 2] + core + 2 * around, found[i + 3] + core + 2 * around);
  }
  return true;
}
