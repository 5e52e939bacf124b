"use strict";
// A LIF neuron: 20 steps of a strong input, then 20 of half of it.
const STEPS = 40;

function currentsOf(input) {
  return Array.from({ length: STEPS }, (_, t) => (t < STEPS / 2 ? input : input / 2));
}

const redraw = drawing((width) => {
  const currents = currentsOf(input());
  const run = lifRun(currents, decay(), threshold());
  const { current, limit, trace, ink } = DATA.colors;
  const at = (values) => values.map((value, t) => [t, value]);
  const x = [0, STEPS];
  const box = (top, height) => ({ left: 0, top, width, height });

  const first = new Panel(box(0, 96), x, [0, 1.6], { ylabel: "input current I[t]" });
  first.stairs(at(currents), current);

  const potentials = run.map(({ u }) => u);
  const high = Math.max(1.1 * threshold(), 1.1 * Math.max(...potentials));
  const low = Math.min(0, 1.1 * Math.min(...potentials));
  const second = new Panel(box(96, 150), x, [low, high], { ylabel: "membrane potential u[t]" });
  second.line([[0, threshold()], [STEPS, threshold()]], limit, "6 4");
  second.write(second.right, second.y(threshold()) - 5, "threshold", { anchor: "end", color: limit });
  second.line(at(potentials), ink);
  potentials.forEach((u, t) => second.mark(t, u, { color: ink, marker: "o" }, { radius: 2.5 }));

  const top = Math.max(1.2, 1.1 * Math.max(...run.map(({ a }) => a)));
  const third = new Panel(box(246, 140), x, [0, top], { ylabel: "spike s[t] (bar), trace a[t] (line)", xlabel: "time step t" });
  run.forEach(({ s }, t) => s && third.line([[t, 0], [t, 1]], ink));
  third.line(at(run.map(({ a }) => a)), trace, "5 3");

  const spikes = (part) => part.reduce((sum, { s }) => sum + s, 0);
  const rest = input() / (1 - decay());
  const [strong, weak] = [spikes(run.slice(0, STEPS / 2)), spikes(run.slice(STEPS / 2))];
  const reach = rest > threshold() ? "above" : "not above";
  say(`${strong} spikes at the full input, ${weak} at half of it. Without spikes the potential would climb towards input / (1 − λ) = ` +
    `${short(rest)}, ${reach} the threshold of ${short(threshold())}.`);
  return 390;
});
const input = slider("input", "input I", [0, 1.5, 0.05], DATA.input, redraw);
const decay = slider("decay", "λ, what the leak leaves", [0, 0.95, 0.05], DATA.decay, redraw);
const threshold = slider("threshold", "threshold", [0.2, 2, 0.05], DATA.threshold, redraw);
redraw();
