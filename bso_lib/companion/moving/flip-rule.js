"use strict";
// One weight under BSO and T-BSO: the same gradients, the same momentum, two thresholds.
const STEPS = DATA.noise.length;
const METHODS = ["BSO", "T-BSO"];
const GAMMAS = [-9, -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2].flatMap((e) => [1, 2, 5].map((f) => Number(`${f}e${e}`)));
const levels = (values, own) => [...new Set([...values, own])].sort((a, b) => a - b); // what a slider stands on
let noise = DATA.noise;

function gradientsOf(size, spread) {
  return noise.map((draw, k) => size * ((k < STEPS / 2 ? 1 : -1) + spread * draw));
}

function flipsOf(run) {
  return run.flatMap(({ flipped }, k) => (flipped ? [k] : []));
}

// Whether gamma changes nothing: the same weight after every update as with gamma = 0.
function idle(method, gradients, settings) {
  const without = weightRun(method, gradients, { ...settings, gamma: 0 });
  return weightRun(method, gradients, settings).every(({ w }, k) => w === without[k].w);
}

function drawMethod(method, gradients, settings, left, top, width) {
  const look = DATA.look[method], { limit } = DATA.colors;
  const run = weightRun(method, gradients, settings);
  const box = (from, height) => ({ left, top: top + from, width, height });
  const at = (read) => run.map((one, k) => [k, read(one)]);

  const reach = 1.15 * Math.max(...run.map(({ agreement }) => Math.abs(agreement)));
  const first = new Panel(box(0, 150), [0, STEPS], [-reach, reach], { ylabel: `${method}: w · M and threshold` });
  first.line(at(({ agreement }) => agreement), look.color);
  first.line(at(({ threshold }) => Math.min(threshold, reach)), limit, "6 4");
  const above = run[STEPS - 1].threshold > reach;
  first.write(first.right, first.top + 2, above ? "threshold: above this picture" : "", { anchor: "end", color: limit });
  flipsOf(run).forEach((k) => first.mark(k, run[k].agreement, look, { radius: 4.5, title: `flip at update ${k}` }));

  const second = new Panel(box(150, 92), [0, STEPS], [-1.3, 1.3], { ylabel: "weight w", yticks: [-1, 1], xlabel: "update" });
  second.stairs(at(({ w }) => w), look.color);

  const counts = GAMMAS.map((gamma) => [gamma, flipsOf(weightRun(method, gradients, { ...settings, gamma })).length]);
  const most = Math.max(2, ...counts.map(([, count]) => count));
  const third = new Panel(box(246, 140), [1e-9, 1e3], [0, 1.1 * most], { ylabel: "flips, for every γ", xlabel: "γ", xlog: true });
  third.line(counts, look.color);
  const here = Math.max(settings.gamma, 1e-9);
  third.line([[here, 0], [here, 1.1 * most]], limit, "6 4");

  const count = flipsOf(run).length, without = flipsOf(weightRun(method, gradients, { ...settings, gamma: 0 })).length;
  const effect = idle(method, gradients, settings) ? "γ does nothing, γ = 0 gives the same flips" : `without γ it would be ${without}`;
  return `${method}: ${count} flips; ${effect}.`;
}

const redraw = drawing((width) => {
  const gradients = gradientsOf(size(), spread());
  const settings = { gamma: gamma(), beta: beta(), beta2: DATA.beta2, eps: DATA.eps };
  const momentum = weightRun("BSO", gradients, settings).map(({ m }, k) => [k, m]);
  const reach = 1.1 * Math.max(...gradients.map(Math.abs));
  const first = new Panel({ left: 0, top: 0, width, height: 140 }, [0, STEPS], [-reach, reach],
    { ylabel: "gradient G (dots), momentum M (line)" });
  gradients.forEach((g, k) => first.mark(k, g, { color: DATA.colors.current, marker: "o" }, { radius: 2 }));
  first.line(momentum, DATA.colors.trace);
  const wide = width >= 640;
  say(METHODS.map((method, i) =>
    drawMethod(method, gradients, settings, wide ? (i * width) / 2 : 0, wide ? 144 : 144 + 400 * i, wide ? width / 2 : width)).join(" "));
  return wide ? 540 : 940;
});
const choose = (id, label, values, own) => slider(id, label, [0, values.length - 1, 1], values.indexOf(own), redraw, (i) => values[i]);
const gamma = choose("gamma", "γ", levels([0, ...GAMMAS], DATA.gamma), DATA.gamma);
const beta = slider("beta", "β (T-BSO: β1)", [0, 0.99, 0.01], DATA.beta, redraw);
const size = choose("size", "size of gradients", levels([1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1], DATA.size), DATA.size);
const spread = slider("spread", "noise", [0, 3, 0.1], DATA.spread, redraw);
const row = element(controls, "div", { class: "row" });
button(row, "again", "other noise", () => {
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  noise = noise.map(normal);
  redraw();
});
redraw();
