"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const [height, width] = data.shape;
const [stage, canvas, divider] = ["stage", "canvas", "divider"].map(at);
const paper = canvas.getContext("2d", { alpha: false });

// Screen pixels a pixel of the image. So large that one pixel can be looked at, whatever the image.
const MOST_ZOOM = 256;
// Lines are drawn one by one; more than this at once are noise to the eye and slow to draw.
const MOST_LINES = 60_000;
const STRIP = 256;

// -- what is shown, and the address that says so ---------------------------------------------------------------------

const MODES = ["split", "side", "image", "fit", "error"];
// `zoom` in CSS pixels a pixel of the image, null for the whole image; `row` and `column`, in pixels from the upper left
// corner, of what is in the middle; `split` the part of the stage that shows the image.
const start = () => ({ mode: "split", borders: true, zoom: null, row: height / 2, column: width / 2, split: 0.5 });
let view = start();

function address() {
  const said = new URLSearchParams();
  const plain = start();
  if (view.mode !== plain.mode) said.set("mode", view.mode);
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
  found.borders = parts.get("borders") !== "off";
  const split = Number(parts.get("split") ?? NaN);
  if (split >= 0 && split <= 1) found.split = split;
  const zoom = Number(parts.get("zoom"));
  const [row, column] = (parts.get("at") ?? "").split(",").map(Number);
  if (zoom > 0 && row >= 0 && column >= 0) Object.assign(found, { zoom: Math.min(zoom, MOST_ZOOM), row, column });
  return found;
}

let remembering = 0;
function remember() {
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

// Some rows of a picture as RGBA bytes. A whole one would take several times the memory at once.
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

// In the colours of the report, made when it is first looked at.
function errorPicture() {
  const [low, high] = data.error.range;
  const colours = data.error.colours.map((hex) => [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16)));
  const drawn = new OffscreenCanvas(width, height);
  const context = drawn.getContext("2d", { alpha: false });
  for (let top = 0; top < height; top += STRIP) {
    const count = Math.min(STRIP, height - top);
    const [wanted, got] = [rowsOf(pictures.image, top, count), rowsOf(pictures.fit, top, count)];
    const result = new ImageData(width, count);
    for (let i = 0; i < wanted.length; i += 4) {
      const error = (Math.abs(wanted[i] - got[i]) + Math.abs(wanted[i + 1] - got[i + 1]) + Math.abs(wanted[i + 2] - got[i + 2])) / (3 * 255);
      const share = Math.min(Math.max((error - low) / (high - low), 0), 1);
      result.data.set(colours[Math.round(share * 255)], i);
      result.data[i + 3] = 255;
    }
    context.putImageData(result, 0, top);
  }
  return drawn;
}

function pictureOf(what) {
  if (what === "fit") return pictures.fine ?? pictures.fit;
  if (what === "error") pictures.error ??= errorPicture();
  return pictures[what];
}

// -- region borders --------------------------------------------------------------------------------------------------

// Straight lines between pixels of different regions, as long as they go on. Three numbers a line: along lines down the
// image its column, first row and row behind the last; across it row, first column and column behind the last.
let lines = { down: new Uint16Array(0), across: new Uint16Array(0) };

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

function bordersOf(picture) {
  const [down, across] = [new Lines(), new Lines()];
  // Of each column the row where a line to its left began that still goes on; rows are counted from 1 here.
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
        const differs = x > 0 && row[x] !== row[x - 1];
        if (differs && !began[x]) began[x] = top + y + 1;
        else if (!differs && began[x]) {
          down.add(x, began[x] - 1, top + y);
          began[x] = 0;
        }
        const cut = before !== null && before[x] !== row[x];
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

// Those in sight as rectangles of the screen: left, top, width, height, around which a line is drawn.
function linesInSight({ x, y, zoom }, { left, right, bottom }) {
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

function drawBorders(place, pane) {
  const found = linesInSight(place, pane);
  if (!found) return false;
  const dense = devicePixelRatio;
  // A light line with a dark edge is seen on every ground.
  for (const [colour, around] of [["rgb(10 12 15 / 0.55)", dense], ["#fff", 0]]) {
    paper.fillStyle = colour;
    const core = Math.max(1, Math.round(dense));
    const shift = Math.floor(core / 2) + around;
    for (let i = 0; i < found.length; i += 4) paper.fillRect(found[i] - shift, found[i + 1] - shift, found[i + 2] + core + 2 * around, found[i + 3] + core + 2 * around);
  }
  return true;
}

// -- drawing ---------------------------------------------------------------------------------------------------------

const wholeZoom = () => Math.min(stageWidth() / width, stage.clientHeight / height);
const stageWidth = () => (view.mode === "side" ? stage.clientWidth / 2 : stage.clientWidth);
const zoomNow = () => view.zoom ?? wholeZoom();
const limited = (zoom) => Math.min(Math.max(zoom, Math.min(wholeZoom() / 2, 1)), MOST_ZOOM);

// The parts of the stage that show the image each on its own, in CSS pixels, and the columns in which they show what.
function panes() {
  const [all, half] = [stage.clientWidth, stage.clientWidth / 2];
  if (view.mode === "side") return [{ left: 0, right: half, shows: [["image", 0, half - 1]] }, { left: half, right: all, shows: [["fit", half + 1, all]] }];
  const cut = view.split * all;
  return [{ left: 0, right: all, shows: view.mode === "split" ? [["image", 0, cut], ["fit", cut, all]] : [[view.mode, 0, all]] }];
}

const paneAt = (x) => panes().find(({ right }) => x < right) ?? panes().at(-1);

// Where a place on the stage is in the image: row and column in pixels.
function under(x, y) {
  const { left, right } = paneAt(x);
  const zoom = zoomNow();
  return { column: view.column + (x - (left + right) / 2) / zoom, row: view.row + (y - stage.clientHeight / 2) / zoom };
}

function drawPicture(picture, { x, y, zoom }, left, right, bottom) {
  // Of a picture with other pixels than the image's, along each axis.
  const [across, down] = [width / picture.width * zoom, height / picture.height * zoom];
  // Enlarged pixels are shown as pixels, not smoothed over.
  paper.imageSmoothingEnabled = across < 1;
  paper.imageSmoothingQuality = "high";
  const [x0, x1] = [Math.max(0, Math.floor((left - x) / across)), Math.min(picture.width, Math.ceil((right - x) / across))];
  const [y0, y1] = [Math.max(0, Math.floor(-y / down)), Math.min(picture.height, Math.ceil((bottom - y) / down))];
  if (x1 <= x0 || y1 <= y0) return;
  paper.drawImage(picture, x0, y0, x1 - x0, y1 - y0, x + x0 * across, y + y0 * down, (x1 - x0) * across, (y1 - y0) * down);
}

function draw() {
  const dense = devicePixelRatio;
  const [wide, high] = [stage.clientWidth, stage.clientHeight].map((side) => Math.max(1, Math.round(side * dense)));
  if (canvas.width !== wide || canvas.height !== high) {
    Object.assign(canvas, { width: wide, height: high });
    // The stage may end within a pixel; the canvas must not be stretched to there.
    Object.assign(canvas.style, { width: `${wide / dense}px`, height: `${high / dense}px` });
  }
  paper.fillStyle = getComputedStyle(stage).backgroundColor;
  paper.fillRect(0, 0, wide, high);
  const zoom = zoomNow() * dense;
  let crowded = false;
  for (const pane of panes()) {
    const middle = dense * (pane.left + pane.right) / 2;
    const place = { x: middle - view.column * zoom, y: high / 2 - view.row * zoom, zoom };
    for (const [what, from, to] of pane.shows) {
      paper.save();
      paper.beginPath();
      paper.rect(from * dense, 0, (to - from) * dense, high);
      paper.clip();
      drawPicture(pictureOf(what), place, from * dense, to * dense, high);
      if (view.borders) crowded = !drawBorders(place, { left: from * dense, right: to * dense, bottom: high }) || crowded;
      drawMark(place);
      paper.restore();
    }
  }
  at("message").textContent = crowded ? "Zoom in to see the borders of so many regions." : "";
  say();
}

// A frame around the pixel that is read out, once it is large enough to have one.
function drawMark({ x, y, zoom }) {
  const pixel = pixelRead();
  if (!pixel || zoom < 6) return;
  paper.lineWidth = Math.max(1, devicePixelRatio);
  for (const [colour, around] of [["#1a1e24", 0.5], ["#fff", 1.5]]) {
    paper.strokeStyle = colour;
    const grown = around * paper.lineWidth;
    paper.strokeRect(x + pixel.column * zoom - grown, y + pixel.row * zoom - grown, zoom + 2 * grown, zoom + 2 * grown);
  }
}

let waiting = false;
function redraw() {
  if (waiting || !pictures.labels) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

// -- what is said ----------------------------------------------------------------------------------------------------

// The pixel under the pointer; of somebody who uses the keyboard, the one in the middle.
let pointer = null;

function placeRead() {
  return pointer ? under(pointer.x, pointer.y) : document.activeElement === stage ? { row: view.row, column: view.column } : null;
}

function pixelRead() {
  const place = placeRead();
  if (!place) return null;
  const [row, column] = [Math.floor(place.row), Math.floor(place.column)];
  // The middle may be the outer edge itself.
  if (!pointer) return { row: Math.min(row, height - 1), column: Math.min(column, width - 1) };
  return row >= 0 && row < height && column >= 0 && column < width ? { row, column } : null;
}

function swatch(values) {
  const shown = data.channels === 1 ? values.slice(0, 1) : values;
  const square = document.createElement("i");
  square.style.background = `rgb(${values.join(" ")})`;
  return [square, shown.join(", ")];
}

function say() {
  const pixel = pixelRead();
  at("readout").setAttribute("aria-live", pointer ? "off" : "polite");
  if (pixel) {
    const { row, column } = pixel;
    const place = placeRead();
    const [wanted, got] = [pictures.image, pictures.fit].map((picture) => valuesAt(picture, row, column));
    const [red, green, blue] = valuesAt(pictures.labels, row, column);
    at("pixel").textContent = `${row}, ${column}`;
    at("coords").textContent = `${(2 * place.row / height - 1).toFixed(4)}, ${(2 * place.column / width - 1).toFixed(4)}`;
    at("region").textContent = 65536 * red + 256 * green + blue;
    at("image").replaceChildren(...swatch(wanted));
    at("fit").replaceChildren(...swatch(got));
    at("error").textContent = meanError(wanted, got).toFixed(4);
  } else for (const id of ["pixel", "coords", "region", "image", "fit", "error"]) at(id).textContent = "–";

  const zoom = 100 * zoomNow();
  at("zoom").textContent = `${zoom < 10 ? zoom.toPrecision(2) : Math.round(zoom).toLocaleString("en")} %`;
  divider.hidden = view.mode !== "split";
  divider.style.left = `${100 * view.split}%`;
  divider.setAttribute("aria-valuenow", Math.round(100 * view.split));
  divider.setAttribute("aria-valuetext", `image up to ${Math.round(100 * view.split)} % of the width`);
  const two = view.mode === "split" || view.mode === "side";
  at("left").hidden = view.mode === "error";
  at("right").hidden = !two;
  at("left").textContent = two ? "image" : view.mode;
  at("scale").hidden = view.mode !== "error";
  at("borders").checked = view.borders;
  for (const input of document.querySelectorAll('input[name="mode"]')) input.checked = input.value === view.mode;
}

function change(what) {
  Object.assign(view, what);
  view.row = Math.min(Math.max(view.row, 0), height);
  view.column = Math.min(Math.max(view.column, 0), width);
  remember();
  redraw();
}

// -- moving ----------------------------------------------------------------------------------------------------------

// Zoom, and keep in its place what is at a place of the stage; the middle by default.
function zoomBy(factor, x, y) {
  const zoom = limited(zoomNow() * factor);
  if (x === undefined) return change({ zoom });
  const place = under(x, y);
  const { left, right } = paneAt(x);
  change({ zoom, column: place.column - (x - (left + right) / 2) / zoom, row: place.row - (y - stage.clientHeight / 2) / zoom });
}

const move = (right, down) => change({ zoom: zoomNow(), column: view.column + right / zoomNow(), row: view.row + down / zoomNow() });
const whole = () => change({ zoom: null, row: height / 2, column: width / 2 });
const actual = () => change({ zoom: 1 / devicePixelRatio });

function onStage({ clientX, clientY }) {
  const box = stage.getBoundingClientRect();
  return { x: clientX - box.left, y: clientY - box.top };
}

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const { x, y } = onStage(event);
  // Lines and pages are what some mice report; two fingers that are spread come as a wheel with the control key.
  const delta = event.deltaY * [1, 16, 400][event.deltaMode];
  zoomBy(Math.exp(-Math.min(Math.max(delta, -300), 300) * (event.ctrlKey ? 0.01 : 0.0022)), x, y);
}, { passive: false });

const fingers = new Map();

stage.addEventListener("pointerdown", (event) => {
  if (event.target === divider || event.button > 0) return;
  stage.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, onStage(event));
});
stage.addEventListener("pointermove", (event) => {
  const here = onStage(event);
  pointer = here;
  const before = fingers.get(event.pointerId);
  if (!before) return redraw();
  const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
  fingers.set(event.pointerId, here);
  if (!other) return move(before.x - here.x, before.y - here.y);
  // Two fingers: what is between them stays between them.
  const [from, to] = [before, here].map(({ x, y }) => ({ x: (x + other.x) / 2, y: (y + other.y) / 2, apart: Math.hypot(x - other.x, y - other.y) }));
  move(from.x - to.x, from.y - to.y);
  if (from.apart > 0 && to.apart > 0) zoomBy(to.apart / from.apart, to.x, to.y);
});
for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, ({ pointerId }) => fingers.delete(pointerId));
stage.addEventListener("pointerleave", () => {
  pointer = null;
  redraw();
});
stage.addEventListener("dblclick", (event) => {
  const { x, y } = onStage(event);
  if (event.target !== divider) zoomBy(2, x, y);
});
for (const kind of ["focus", "blur"]) stage.addEventListener(kind, redraw);

// -- the divider -----------------------------------------------------------------------------------------------------

divider.addEventListener("pointerdown", (event) => {
  divider.setPointerCapture(event.pointerId);
  event.stopPropagation();
});
divider.addEventListener("pointermove", (event) => {
  if (!divider.hasPointerCapture(event.pointerId)) return;
  event.stopPropagation();
  change({ split: Math.min(Math.max(onStage(event).x / stage.clientWidth, 0), 1) });
});
divider.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -0.01, ArrowRight: 0.01, ArrowDown: -0.01, ArrowUp: 0.01, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  event.stopPropagation();
  change({ split: Math.min(Math.max(view.split + step, 0), 1) });
});

// -- keys and buttons ------------------------------------------------------------------------------------------------

const KEYS = {
  "+": () => zoomBy(1.25), "=": () => zoomBy(1.25), "-": () => zoomBy(0.8), "−": () => zoomBy(0.8),
  0: whole, 1: actual,
  b: () => change({ borders: !view.borders }),
  e: () => change({ mode: "error" }), s: () => change({ mode: "split" }), d: () => change({ mode: "side" }),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  let does = KEYS[event.key.toLowerCase()];
  // Elsewhere these keys have a meaning of their own.
  if (document.activeElement === stage || document.activeElement === document.body) {
    const step = event.shiftKey ? 200 : 40;
    does ??= {
      ArrowLeft: () => move(-step, 0), ArrowRight: () => move(step, 0), ArrowUp: () => move(0, -step), ArrowDown: () => move(0, step),
      " ": () => change({ mode: view.mode === "image" ? "fit" : "image" }),
    }[event.key];
  }
  if (!does) return;
  event.preventDefault();
  pointer = null;
  does();
});
document.addEventListener("change", ({ target }) => {
  if (target.name === "mode") change({ mode: target.value });
  if (target.id === "borders") change({ borders: target.checked });
});
for (const [id, does] of Object.entries({ less: () => zoomBy(0.8), more: () => zoomBy(1.25), whole, actual })) at(id).addEventListener("click", does);
addEventListener("hashchange", () => {
  view = read(location.hash.slice(1));
  redraw();
});
new ResizeObserver(redraw).observe(stage);

// -- start -----------------------------------------------------------------------------------------------------------

async function begin() {
  view = read(location.hash.slice(1));
  try {
    const names = Object.keys(data.pictures);
    const found = await Promise.all(names.map((name) => decoded(data.pictures[name])));
    names.forEach((name, i) => { pictures[name] = found[i]; });
  } catch {
    at("message").textContent = "This browser has not enough memory for these pictures; make the page with a smaller --scale.";
    return;
  }
  lines = bordersOf(pictures.labels);
  draw();
  performance.mark("usable");
}

begin();
