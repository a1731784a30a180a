// -- drawing ---------------------------------------------------------------------------------------------------------

const wholeZoom = () => Math.min(stageWidth() / width, stage.clientHeight / height);
const stageWidth = () => (view.mode === "side" ? stage.clientWidth / 2 : stage.clientWidth);
const zoomNow = () => view.zoom ?? wholeZoom();
const limited = (zoom) => Math.min(Math.max(zoom, Math.min(wholeZoom() / 2, 1)), MOST_ZOOM);

// The parts of the stage that each show the whole view, in CSS pixels, with what they show in which columns.
function panes() {
  const [all, half] = [stage.clientWidth, stage.clientWidth / 2];
  if (view.mode === "side") return [{ left: 0, right: half, shows: [["left", 0, half - 1]] }, { left: half, right: all, shows: [["right", half + 1, all]] }];
  const cut = view.split * all;
  return [{ left: 0, right: all, shows: view.mode === "split" ? [["left", 0, cut], ["right", cut, all]] : [[view.mode === "left" ? "left" : "right", 0, all]] }];
}

const paneAt = (x) => panes().find(({ right }) => x < right) ?? panes().at(-1);

// The place in the image, in pixels, under a place on the stage.
function under(x, y) {
  const { left, right } = paneAt(x);
  const zoom = zoomNow();
  return { column: view.column + (x - (left + right) / 2) / zoom, row: view.row + (y - stage.clientHeight / 2) / zoom };
}

function drawPicture(picture, { x, y, zoom }, left, right, bottom) {
  // Screen pixels for one pixel of this picture, which may have other pixels than the image.
  const [across, down] = [width / picture.width * zoom, height / picture.height * zoom];
  // Enlarged pixels stay pixels and are not smoothed.
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
    // The stage may end within a pixel, to which the canvas must not be stretched.
    Object.assign(canvas.style, { width: `${wide / dense}px`, height: `${high / dense}px` });
  }
  paper.fillStyle = getComputedStyle(stage).backgroundColor;
  paper.fillRect(0, 0, wide, high);
  const zoom = zoomNow() * dense;
  let crowded = false;
  for (const pane of panes()) {
    const middle = dense * (pane.left + pane.right) / 2;
    const place = { x: middle - view.column * zoom, y: high / 2 - view.row * zoom, zoom };
    for (const [side, from, to] of pane.shows) {
      paper.save();
      paper.beginPath();
      paper.rect(from * dense, 0, (to - from) * dense, high);
      paper.clip();
      drawPicture(pictureOf(side), place, from * dense, to * dense, high);
      if (view.borders || kind() === "partition") crowded = !drawBorders(fitOf(side).lines, place, { left: from * dense, right: to * dense, bottom: high }) || crowded;
      drawMark(place);
      paper.restore();
    }
  }
  at("message").textContent = crowded ? "Zoom in to see the borders of so many regions." : "";
  say();
}

// A frame around the pixel that is read out, once the pixel is large enough.
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

let [ready, waiting] = [false, false];
function redraw() {
  if (waiting || !ready) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

// -- the read-out ----------------------------------------------------------------------------------------------------

// The place under the pointer; for somebody at the keyboard, the one in the middle.
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

// The fits that are read out: all that are on a side.
const fitsRead = () => [...new Set([view.left, view.right])].filter(Boolean).map((number) => fits[number - 1]);

// What a side is called.
const nameOf = (side) => (view[side] ? fits[view[side] - 1].name + (several && kind() !== "fit" ? `, ${kind()}` : "") : data.word);

function say() {
  const pixel = pixelRead();
  const shown = fitsRead();
  at("readout").setAttribute("aria-live", pointer ? "off" : "polite");
  if (pixel) {
    const { row, column } = pixel;
    const place = placeRead();
    const wanted = valuesAt(pictures.image, row, column);
    const got = shown.map(({ fit }) => valuesAt(fit, row, column));
    const regions = shown.map(({ labels }) => valuesAt(labels, row, column));
    at("pixel").textContent = `${row}, ${column}`;
    at("coords").textContent = `${(2 * place.row / height - 1).toFixed(4)}, ${(2 * place.column / width - 1).toFixed(4)}`;
    at("region").textContent = regions.map(([red, green, blue]) => 65536 * red + 256 * green + blue).map((label) => (label === 0xffffff ? "–" : label)).join(" | ");
    at("image").replaceChildren(...swatch(wanted));
    at("fit").replaceChildren(...got.flatMap((values, i) => [i ? " | " : "", ...swatch(values)]));
    at("error").textContent = got.map((values) => (data.error.scaled ? meanError(wanted, values).toFixed(4) : "–")).join(" | ");
  } else for (const id of ["pixel", "coords", "region", "image", "fit", "error"]) at(id).textContent = "–";

  const zoom = 100 * zoomNow();
  at("zoom").textContent = `${zoom < 10 ? zoom.toPrecision(2) : Math.round(zoom).toLocaleString("en")} %`;
  divider.hidden = view.mode !== "split";
  divider.style.left = `${100 * view.split}%`;
  divider.setAttribute("aria-valuenow", Math.round(100 * view.split));
  divider.setAttribute("aria-valuetext", `${nameOf("left")} up to ${Math.round(100 * view.split)} % of the width`);
  const two = view.mode === "split" || view.mode === "side";
  at("left").hidden = view.mode === "error";
  at("right").hidden = !two;
  at("left").textContent = nameOf(two || view.mode === "left" ? "left" : "right");
  at("right").textContent = nameOf("right");
  at("scale").hidden = kind() !== "error" || !data.error.scaled;
  at("borders").checked = view.borders;
  for (const name of ["mode", "of"]) for (const input of document.querySelectorAll(`input[name="${name}"]`)) input.checked = input.value === view[name];
  for (const side of ["left", "right"]) for (const select of document.querySelectorAll(`select[name="${side}"]`)) select.value = view[side];
}

function change(what) {
  Object.assign(view, what);
  view.row = Math.min(Math.max(view.row, 0), height);
  view.column = Math.min(Math.max(view.column, 0), width);
  remember();
  redraw();
}

// -- moving ----------------------------------------------------------------------------------------------------------

// Zooms around a place on the stage, by default its middle.
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
  // On a longer page the wheel scrolls until the stage has been clicked.
  if (embedded && !event.ctrlKey && document.activeElement !== stage) return;
  event.preventDefault();
  const { x, y } = onStage(event);
  // Some mice report lines or pages. Spreading two fingers comes as a wheel event with the control key.
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
  // Two fingers keep what is between them.
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
  e: () => change(several ? { of: view.of === "error" ? "fit" : "error" } : { mode: "error" }), s: () => change({ mode: MODES[0] }), d: () => change({ mode: "side" }),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || (embedded && !stage.parentElement.contains(document.activeElement))) return;
  let does = KEYS[event.key.toLowerCase()];
  // On a control these keys have a meaning of their own.
  if (document.activeElement === stage || document.activeElement === document.body) {
    const step = event.shiftKey ? 200 : 40;
    does ??= {
      ArrowLeft: () => move(-step, 0), ArrowRight: () => move(step, 0), ArrowUp: () => move(0, -step), ArrowDown: () => move(0, step),
      " ": () => change({ mode: view.mode === "left" ? "right" : "left" }),
    }[event.key];
  }
  if (!does) return;
  event.preventDefault();
  pointer = null;
  does();
});
document.addEventListener("change", ({ target }) => {
  if (["mode", "of"].includes(target.name)) change({ [target.name]: target.value });
  if (["left", "right"].includes(target.name)) change({ [target.name]: Number(target.value) });
  if (target.id === "borders") change({ borders: target.checked });
});
for (const [id, does] of Object.entries({ less: () => zoomBy(0.8), more: () => zoomBy(1.25), whole, actual })) at(id).addEventListener("click", does);
addEventListener("hashchange", () => {
  if (embedded) return;
  view = read(location.hash.slice(1));
  redraw();
});
new ResizeObserver(redraw).observe(stage);

// -- start -----------------------------------------------------------------------------------------------------------

async function begin() {
  if (!embedded) view = read(location.hash.slice(1));
  try {
    pictures.image = await decoded(data.image);
    for (const [i, fit] of fits.entries()) for (const [name, uri] of Object.entries(data.fits[i].pictures)) fit[name] = await decoded(uri);
  } catch {
    at("message").textContent = "This browser has not enough memory for these pictures; make the page with a smaller --scale.";
    return;
  }
  for (const fit of fits) fit.lines = bordersOf(fit.labels);
  ready = true;
  draw();
  performance.mark("usable");
}

begin();
