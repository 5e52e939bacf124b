"use strict";
// Accuracy against bytes: a hollow marker per run, a filled one per method and width at the mean over the seeds.

// Return [{method, width, bytes, mean, low, high, n}], low and high being the worst and the best seed.
function groups(rows, size) {
  const found = new Map();
  for (const row of rows) {
    const key = JSON.stringify([row.method, row.width]);
    if (!found.has(key)) found.set(key, { method: row.method, width: row.width, bytes: row[size], values: [] });
    found.get(key).values.push(row.accuracy);
  }
  return [...found.values()].map(({ values, ...rest }) => ({
    ...rest,
    mean: values.reduce((sum, value) => sum + value, 0) / values.length,
    low: Math.min(...values),
    high: Math.max(...values),
    n: values.length,
  }));
}

function kilobytes(bytes) {
  return `${short(bytes / 1000)} kB`;
}

function words({ method, width, bytes, mean, low, high, n }) {
  const seeds = n > 1 ? ` (${n} seeds, ${low.toFixed(2)} to ${high.toFixed(2)})` : " (1 seed)";
  return `${method}, width ${width}: ${mean.toFixed(2)} %${seeds}, ${kilobytes(bytes)}`;
}

const redraw = drawing((width) => {
  const size = measure.value;
  const rows = DATA.rows.filter(({ method }) => shown.get(method).checked);
  const all = DATA.rows.flatMap((row) => DATA.sizes.map(([name]) => row[name])); // axes stay when a method is hidden
  const x = [Math.min(...all) / 1000 / 1.4, (Math.max(...all) / 1000) * 1.4];
  const seen = DATA.rows.map(({ accuracy }) => accuracy);
  const margin = Math.max(0.5, 0.08 * (Math.max(...seen) - Math.min(...seen)));
  const y = [Math.min(...seen) - margin, Math.max(...seen) + 2 * margin];
  const label = `kB ${DATA.sizes.find(([name]) => name === size)[1]}`;
  const axes = new Panel({ left: 0, top: 0, width, height: 380 }, x, y, { ylabel: "test accuracy (%)", xlabel: label, xlog: true,
    xticks: [1, 2, 5].flatMap((f) => [-3, -2, -1, 0, 1, 2, 3, 4, 5].map((e) => f * 10 ** e))
      .filter((tick) => tick >= x[0] && tick <= x[1] && (width > 560 || String(tick).replace(/[.0]/g, "") === "1")) });
  const means = groups(rows, size);
  const tell = ({ method, width: own }) => say(words(means.find((one) => one.method === method && one.width === own)));
  rows.forEach((row) => axes.mark(row[size] / 1000, row.accuracy, DATA.look[row.method], { radius: 3, hollow: true }));
  means.forEach((one) => {
    axes.line([[one.bytes / 1000, one.low], [one.bytes / 1000, one.high]], DATA.look[one.method].color);
    const mark = axes.mark(one.bytes / 1000, one.mean, DATA.look[one.method], { radius: 6, title: words(one) });
    mark.setAttribute("tabindex", "0");
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", words(one));
    for (const event of ["focus", "click", "pointerenter"]) mark.addEventListener(event, () => tell(one));
  });
  let last = -100, line = 0; // each size is told its width once, above its marks
  const columns = new Map(means.map((one) => [one.bytes, one.width]));
  for (const [bytes, own] of [...columns].sort(([a], [b]) => a - b)) {
    const at = axes.x(bytes / 1000);
    line = at - last < 80 ? 1 - line : 0;
    last = at;
    axes.write(at, axes.top + 12 + 14 * line, `width ${own}`, { anchor: "middle" });
  }
  const best = means.reduce((a, b) => (b.mean > a.mean ? b : a), means[0]);
  say(best ? `Most accurate of what is shown: ${words(best)}.` : "No method is chosen.");
  return 384;
});
const row = element(controls, "div", { class: "row" });
const shown = new Map();
for (const method of new Set(DATA.rows.map((one) => one.method))) {
  const label = element(row, "label", { class: "choice" });
  const box = element(label, "input", { type: "checkbox", value: method });
  box.checked = true;
  box.addEventListener("change", () => redraw());
  shown.set(method, box);
  const key = element(label, "span", { class: "key" });
  const look = DATA.look[method];
  key.innerHTML = `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="-8 -8 16 16" aria-hidden="true"><path d="${SHAPES[look.marker](5)}" fill="${look.color}"/></svg> `;
  key.append(method);
}
const choice = element(element(controls, "div", { class: "row" }), "label", { class: "choice", for: "measure" }, "bytes:");
const measure = element(choice, "select", { id: "measure" });
DATA.sizes.forEach(([name, text]) => element(measure, "option", { value: name }, text));
measure.addEventListener("change", () => redraw());
redraw();
