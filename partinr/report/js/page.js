// -- pictures --------------------------------------------------------------------------------------------------------

// Pictures are taken from the store when their panel is first shown, so that a page of many opens fast.
function pictures() {
  const [groups, seeds] = [new Set(), new Set()];
  data.runs.forEach((run, i) => {
    if (!shownRuns[i] || !run.study) return;
    const { images, labels } = data.studies[run.study];
    const group = JSON.stringify([images[run.image].name, labels[run.label].label]);
    groups.add(group);
    seeds.add(group + run.seed);
  });
  const chosen = image();
  const plainView = !filtered() && chosen !== "all";
  let count = 0;
  for (const panel of document.querySelectorAll("[data-image-panel]")) {
    const ofPictures = panel.querySelector("[data-label]") !== null;
    panel.hidden = ofPictures ? chosen !== "all" && Number(panel.dataset.imagePanel) !== chosen : !plainView || Number(panel.dataset.imagePanel) !== chosen;
    if (!panel.hidden) for (const one of panel.querySelectorAll("[data-label]")) count = show(one, groups, seeds, count);
  }
  more("panels", count, "groups");
  for (const name of document.querySelectorAll(".which-image")) name.hidden = chosen !== "all";
  for (const one of document.querySelectorAll(".further [data-label]")) if (one.matches("article, p")) show(one, groups, seeds, 0);
}

function show(one, groups, seeds, count) {
  const group = JSON.stringify([one.dataset.image, one.dataset.label]);
  one.hidden = !groups.has(group) || count >= page.panels;
  one.classList.toggle("outside", "seed" in one.dataset && !seeds.has(group + one.dataset.seed));
  if (!one.hidden) for (const button of one.querySelectorAll("[data-picture]")) place(button.firstElementChild, button.dataset.picture);
  return count + groups.has(group);
}

// Enlarged pixels stay pixels and are not smoothed.
function place(img, key) {
  if (!img.src) img.src = store[key];
  const width = Number(img.getAttribute("width"));
  img.classList.toggle("coarse", img.clientWidth > width);
}

// -- runs ------------------------------------------------------------------------------------------------------------

const entries = [...document.querySelectorAll("#runs > details")];

function runs() {
  entries.forEach((entry, i) => { entry.hidden = !shownRuns[i]; });
  const count = shownRuns.filter(Boolean).length;
  const said = `${count.toLocaleString("en")} of ${data.runs.length.toLocaleString("en")} runs`;
  at("shown-runs").hidden = !filtered();
  at("shown-runs").textContent = said;
  if (at("matching")) {
    at("matching").textContent = filtered() ? said : "";
    at("clear").hidden = !filtered();
  }
}

// The details of a run are written when its entry is opened.
entries.forEach((entry, i) => entry.addEventListener("toggle", () => {
  if (entry.children.length > 1) return;
  const run = data.runs[i];
  const word = (index) => escaped(data.words[index]);
  const facts = run.facts.map(([name, fact]) => {
    const text = ["command", "folder"].includes(data.words[name]) ? `<code>${word(fact)}</code>` : word(fact);
    return `<dt>${word(name)}</dt><dd>${text}</dd>`;
  });
  entry.insertAdjacentHTML("beforeend", (run.message ? `<p class="message">${escaped(run.message)}</p>` : "")
    + `<dl>${facts.join("")}</dl>` + (run.config.length ? `<pre>${run.config.map(word).join("\n")}</pre>` : ""));
}));

// -- what the reader chooses -----------------------------------------------------------------------------------------

// A button that opens a list of boxes to tick. The list is written when it is first opened.
function boxes(name, title, values, ticked, change) {
  const facet = document.createElement("details");
  facet.className = "facet";
  facet.dataset.facet = name;
  facet.innerHTML = `<summary>${escaped(title)}</summary><div class="boxes"></div>`;
  facet.addEventListener("toggle", () => {
    if (facet.lastElementChild.children.length) return;
    facet.lastElementChild.innerHTML = values().map(([value, note]) =>
      `<label><input type="checkbox" value="${escaped(value)}"${ticked.includes(value) ? " checked" : ""}> <span>${escaped(value)}</span> <span class="note">${escaped(note)}</span></label>`).join("");
  });
  facet.addEventListener("change", () => change([...facet.querySelectorAll("input:checked")].map((box) => box.value)));
  return facet;
}

function controls() {
  if (!at("filter")) return;
  at("filter").value = view.filter;
  at("facets").replaceChildren(...data.facets.map(({ name, values }, i) => {
    const counted = () => values.map((value, k) => [value, data.runs.filter((run) => run.facets[i] === k).length]);
    return boxes(name, name, counted, view.facets[name] ?? [], (now) => {
      if (now.length) view.facets[name] = now;
      else delete view.facets[name];
      update();
    });
  }));
  if (at("grouping")) {
    const settings = data.facets.filter(({ kind }) => kind === "setting").map(({ name }) => name);
    at("grouping").hidden = data.facets.length === 0;
    at("by").replaceChildren(boxes("by", "", () => data.facets.map(({ name, values }) => [name, `${values.length} values`]), view.by ?? settings, (now) => {
      // Grouping by all settings is the default, which has better names.
      view.by = now.length === settings.length && now.every((name) => settings.includes(name)) ? null : now;
      update();
    }));
    at("colour").innerHTML = [["", "as it fits"], ["group", "group"], ...data.facets.map(({ name }) => [name, name])]
      .map(([value, text]) => `<option value="${escaped(value)}">${escaped(text)}</option>`).join("");
    at("colour").value = view.colour;
  }
  for (const key of Object.keys(CHOICES)) {
    const radio = document.querySelector(`input[name="${key}"][value="${view[key]}"]`);
    if (radio) radio.checked = true;
    const select = document.querySelector(`select[name="${key}"]`);
    if (select) select.value = view[key];
  }
}

// Shows the choices on the buttons, so that no list has to be opened for them.
function say() {
  for (const facet of document.querySelectorAll("#facets .facet")) {
    const chosen = view.facets[facet.dataset.facet] ?? [];
    facet.classList.toggle("chosen", chosen.length > 0);
    facet.firstElementChild.textContent = facet.dataset.facet + (chosen.length ? `: ${chosen.length > 2 ? `${chosen.length} values` : chosen.join(", ")}` : "");
  }
  const by = document.querySelector("#by summary");
  if (by) by.textContent = view.by ? view.by.join(", ") || "nothing" : "configuration";
  const chosen = image();
  for (const input of document.querySelectorAll('input[name="image"]')) input.checked = input.value === String(chosen);
  const select = document.querySelector('select[name="image"]');
  if (select) select.value = String(chosen);
  for (const name of document.querySelectorAll("[data-image-name]")) name.textContent = chosen === "all" ? `all ${fits.words[1]}` : fits.images[chosen].name;
}

function remember() {
  const said = address();
  if (said !== location.hash.slice(1)) history.replaceState(null, "", `#${said}`);
}

function update() {
  Object.assign(page, MOST);
  shownRuns = matching();
  remember();
  refresh();
}

function refresh() {
  say();
  tables();
  pictures();
  runs();
  efforts();
  rates();
  searches();
  draw();
}

const waiting = {};
document.addEventListener("input", ({ target }) => {
  if (target.id !== "filter" && target.id !== "level") return;
  clearTimeout(waiting[target.id]);
  waiting[target.id] = setTimeout(() => {
    view[target.id] = target.id === "level" && !(Number(target.value) > 0) ? "" : target.value;
    if (target.id === "filter") return update();
    remember();
    efforts();
  }, 150);
});
document.addEventListener("change", ({ target }) => {
  if (!["image", "colour", ...Object.keys(CHOICES)].includes(target.name)) return;
  view[target.name] = target.name === "image" && target.value !== "all" ? Number(target.value) : target.value;
  update();
});
document.addEventListener("click", ({ target }) => {
  const { more: what, run } = target.dataset;
  if (run) {
    entries[run].open = true;
    entries[run].scrollIntoView();
  }
  if (what) {
    page[what] = Infinity;
    ({ rows: tables, panels: pictures, efforts, rates })[what]();
  }
  if (target.id === "clear") {
    Object.assign(view, { filter: "", facets: {} });
    controls();
    update();
    at("filter").focus();
  }
  for (const facet of document.querySelectorAll(".facet[open]")) if (!facet.contains(target)) facet.open = false;
});
document.addEventListener("keydown", ({ key, target }) => {
  const facet = key === "Escape" && target.closest(".facet[open]");
  if (!facet) return;
  facet.open = false;
  facet.firstElementChild.focus();
});
addEventListener("hashchange", () => {
  view = read(location.hash.slice(1));
  controls();
  update();
});
// Colours follow the system.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
function redraw() {
  draw();
  searches();
}
// Paper is white and narrow. Some browsers tell of it by one of these, some by the other.
function paper(on) {
  document.documentElement.classList.toggle("paper", on);
  redraw();
}
matchMedia("print").addEventListener("change", ({ matches }) => paper(matches));
for (const kind of ["beforeprint", "afterprint"]) addEventListener(kind, () => paper(kind === "beforeprint"));

// -- large pictures --------------------------------------------------------------------------------------------------

const large = at("large");
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
// Left and right change the picture in place, so that differences catch the eye.
large.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const all = [...document.querySelectorAll("[data-image-panel]:not([hidden]) article:not([hidden]) [data-picture], .further article:not([hidden]) [data-picture]")];
  enlarge(all[(all.indexOf(open) + step + all.length) % all.length]);
  event.preventDefault();
});
large.addEventListener("close", () => open?.focus());

// -- a page that follows a sweep -------------------------------------------------------------------------------------

// A page on a disk cannot ask whether its file has changed. So it reloads itself at the interval at which the file is
// rewritten, and waits twice as long each time nothing has changed. It does not disturb a reader: it waits until keyboard
// and pointer rest, lists and pictures are closed, and the page is in sight.
const seconds = Number(document.documentElement.dataset.refresh);
const kept = `partinr ${location.pathname}`;

function resume() {
  let before = null;
  try {
    before = JSON.parse(sessionStorage.getItem(kept));
    sessionStorage.removeItem(kept);
  } catch { /* The browser keeps no session: the page begins at its top. */ }
  if (before) scrollTo(0, before.scroll);
  if (!seconds) return;
  const made = document.querySelector("time").dateTime;
  const wait = Math.min(seconds * 1000 * (before?.made === made ? before.doubled * 2 : 1), Math.max(60_000, seconds * 1000));
  const doubled = wait / (seconds * 1000);
  const opened = Date.now();
  let touched = 0;
  for (const kind of ["keydown", "pointerdown", "pointermove", "wheel", "scroll", "input"]) addEventListener(kind, () => { touched = Date.now(); }, { passive: true, capture: true });
  setInterval(() => {
    const busy = document.hidden || large.open || document.querySelector(".facet[open]") || Date.now() - touched < 2000 || !at("follow").checked;
    if (busy || Date.now() - opened < wait) return;
    location.reload();
  }, 250);
  addEventListener("pagehide", () => {
    try {
      sessionStorage.setItem(kept, JSON.stringify({ scroll: scrollY, made, doubled }));
    } catch { /* The browser keeps no session. */ }
  });
}

history.scrollRestoration = seconds ? "manual" : "auto";
view = read(location.hash.slice(1));
controls();
shownRuns = matching();
refresh();
resume();
performance.mark("usable");
