// -- tables ----------------------------------------------------------------------------------------------------------

function cellOf(column, index, group) {
  const values = group.counted.map((run) => run.values[index]);
  if (column.words) {
    const found = [...new Set(group.runs.map((run) => run.values[index]))];
    return { text: found.length === 1 ? String(found[0]) : "several", words: true };
  }
  const stat = statOf(values);
  if (stat.mean === null) return { stat, text: stat.have ? `${stat.have}/${stat.n}` : "–" };
  if (column.ratio && group.counted.every(({ own }) => own)) return { stat, text: "1", own: true };
  const form = shapeOf(column.form, stat.mean);
  const std = stat.std === null ? "" : written(stat.std, form);
  const sign = group.counted.some((run) => run.marked.includes(index)) ? SIGN : "";
  return { stat, sign, text: written(stat.mean, form), std: column.constant && !/[^0.kMGT]/.test(std) ? "" : std };
}

// Runs or images from which a test that finds no difference says something.
const ENOUGH = 3;

// The rule of partinr/report/significance.py: the best mean, and those that a test does not tell from it.
function markBest(column, index, rows) {
  const counting = rows.filter(({ group, cells }) => !group.provisional && cells[column.key].stat && cells[column.key].stat.mean !== null);
  if (!column.better || counting.length < 2) return;
  const of = (row) => row.cells[column.key];
  const best = counting.reduce((a, b) => ((column.better === "high" ? of(b).stat.mean > of(a).stat.mean : of(b).stat.mean < of(a).stat.mean) ? b : a));
  const told = counting.map((row) => row !== best && of(row).text !== of(best).text && apart(index, row, best, of));
  if (told.includes(null)) return;
  const alike = counting.filter((_, i) => !told[i]);
  if (alike.length < counting.length) for (const row of alike) of(row).best = true;
}

const seenBy = ({ group }) => [...new Set(group.runs.map(({ seen }) => seen))].sort().join();

// Whether two numbers differ: by a paired t-test over images, by Welch's over seeds, or, with one run each, in any case;
// null where too few runs leave it open.
function apart(index, row, best, of) {
  const [pairs, sides] = [pairsOf(index, row.group, best.group), [row, best].map((one) => of(one).stat)];
  if (pairs.length > 1) {
    const { mean, std } = statOf(pairs.map(([a, b]) => a - b));
    return beyond(mean, std ** 2 / pairs.length, pairs.length - 1) || (pairs.length < ENOUGH ? null : false);
  }
  const fewest = Math.min(...sides.map(({ n }) => n));
  if (sides.some(({ std }) => std === null)) return true;
  const parts = sides.map(({ std, n }) => [std ** 2 / n, n - 1]);
  const variance = parts[0][0] + parts[1][0];
  const freedom = variance ? variance ** 2 / parts.reduce((sum, [part, count]) => sum + part ** 2 / count, 0) : 1;
  return beyond(sides[0].mean - sides[1].mean, variance, freedom) || (fewest < ENOUGH ? null : false);
}

// The means over seeds of two groups on each image of their runs; none if the runs have other images.
function pairsOf(index, ...groups) {
  const found = groups.map(({ counted }) => counted.map(({ of_images }) => of_images));
  const [first] = found[0];
  const same = (one) => one?.values[index] && one.names.join("\n") === first.names.join("\n");
  if (!first?.values[index] || !found.flat().every(same)) return [];
  return first.names.map((_, i) => found.map((runs) => runs.reduce((sum, one) => sum + one.values[index][i], 0) / runs.length));
}

function beyond(difference, variance, freedom) {
  if (!variance) return difference !== 0;
  const at = (data.critical.length - 1) / freedom;
  const below = Math.min(Math.floor(at), data.critical.length - 2);
  const critical = data.critical[below] + (at - below) * (data.critical[below + 1] - data.critical[below]);
  return Math.abs(difference) / Math.sqrt(variance) > critical;
}

function sortKey({ group, cells }, column) {
  if (column === "group") return group.label;
  if (column === "seeds") return group.counted.length;
  if (column === "state") return group.state;
  const cell = cells[column];
  return cell.words ? cell.text : cell.stat?.mean ?? undefined;
}

function sorted(rows, { column, descending }) {
  return [...rows].sort((a, b) => {
    const [p, q] = [sortKey(a, column), sortKey(b, column)];
    // Rows without a number stay at the end in either direction.
    if (p === undefined || q === undefined) return (p === undefined) - (q === undefined);
    const order = typeof p === "string" ? p.localeCompare(q, undefined, { numeric: true }) : p - q;
    return descending ? -order : order;
  });
}

function rowHtml({ group, cells }, shown, heads, image) {
  const where = `data-group="${escaped(group.label)}" data-image="${escaped(image)}"`;
  const parts = shown.map((column) => {
    const cell = cells[column.key];
    const classes = [!column.words && "number", heads.get(column.key).classList.contains("start") && "start", cell.best && "best", cell.own && "own"].filter(Boolean).join(" ");
    const stat = cell.stat ?? {};
    const value = cell.words ? escaped(cell.text) : stat.mean;
    return `<td class="${classes}" data-key="${column.key}" ${where}${value === null || value === undefined ? "" : ` data-value="${value}"`}`
      + (cell.stat ? `${stat.std === null ? "" : ` data-std="${stat.std}"`} data-n="${stat.n}" data-reached="${stat.have}"` : "")
      + (cell.stat && stat.mean === null && stat.have ? ` title="${stat.have} of ${stat.n} seeds"` : "")
      + `>${escaped(cell.text)}${cell.sign ?? ""}${cell.std ? `<span class="std"> ± ${cell.std}</span>` : ""}</td>`;
  });
  if (heads.has("seeds")) parts.push(`<td class="number start" data-key="seeds" ${where} data-value="${group.counted.length}">${group.counted.length}</td>`);
  if (heads.has("state")) parts.push(`<td data-key="state" ${where} data-value="${escaped(group.state)}">${escaped(group.state)}</td>`);
  return `<tr class="${group.provisional ? "provisional" : ""}"><th scope="row" data-value="${escaped(group.label)}"><div class="called">${swatch(group)}<span>${escaped(group.label)}</span></div></th>${parts.join("")}</tr>`;
}

// The page comes with its tables. The script writes a table only once the view asks for another one.
function tables() {
  const asMade = !filtered() && !view.by && !view.colour && view.image !== "all";
  for (const table of document.querySelectorAll("table[data-study]")) {
    const { study } = table.dataset;
    const sort = view.sort?.table === table.id ? view.sort : null;
    for (const head of table.querySelectorAll("[data-column]")) {
      head.removeAttribute("aria-sort");
      if (sort?.column === head.dataset.column) head.setAttribute("aria-sort", sort.descending ? "descending" : "ascending");
    }
    if (asMade && !sort && table.tBodies.length && !table.dataset.written) continue;
    table.dataset.written = "yes";
    const heads = new Map([...table.querySelectorAll("[data-column]")].map((head) => [head.dataset.column, head]));
    const { columns, images } = data.studies[study];
    const shown = columns.filter((column) => column.table === table.id);
    const styles = stylesOf(study);
    const all = study === "fits" && view.image === "all";
    const bodies = all ? [[`all ${fits.words[1]}`, "all"]] : images.map(({ name }, index) => [name, index]);
    let [left, count] = [page.rows, 0];
    const html = bodies.map(([name, only]) => {
      let rows = groupsOf(study, only, styles).map((group) => ({
        group, cells: Object.fromEntries(columns.map((column, index) => [column, index]).filter(([column]) => column.table === table.id)
          .map(([column, index]) => [column.key, cellOf(column, index, group)])),
      }));
      // Fits that see different things of a signal are not compared.
      for (const seen of new Set(rows.map(seenBy))) {
        for (const column of shown) markBest(column, columns.indexOf(column), rows.filter((row) => seenBy(row) === seen));
      }
      if (sort) rows = sorted(rows, sort);
      count += rows.length;
      rows = rows.slice(0, left);
      left -= rows.length;
      if (!rows.length) return "";
      const title = images.length > 1 ? `<tr class="image"><th colspan="${heads.size}" scope="rowgroup">${escaped(name)}</th></tr>` : "";
      return `<tbody>${title}${rows.map((row) => rowHtml(row, shown, heads, name)).join("")}</tbody>`;
    }).join("");
    for (const body of [...table.tBodies]) body.remove();
    table.tHead.insertAdjacentHTML("afterend", html || `<tbody><tr><td colspan="${heads.size}">No run matches the filter.</td></tr></tbody>`);
    const button = table.closest("section").querySelector(`[data-more="rows"][data-table="${table.id}"]`);
    button.hidden = count <= page.rows;
    button.textContent = `Show all ${count} rows`;
  }
}

for (const table of document.querySelectorAll("table[data-study]")) {
  for (const head of table.querySelectorAll("[data-column]")) head.querySelector("button").addEventListener("click", () => {
    const column = head.dataset.column;
    const again = view.sort?.table === table.id && view.sort.column === column && !view.sort.descending;
    view.sort = { table: table.id, column, descending: again };
    remember();
    tables();
  });
}

