"use strict";
// What the moving figures share: their data, controls, and axes drawn in SVG. No arithmetic of the method.
const DATA = JSON.parse(document.getElementById("data").textContent);
const SHAPES = { // matplotlib's markers, as in METHOD_LOOK
  o: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`,
  s: (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}Z`,
  v: (r) => `M${-r},${-r}h${2 * r}L0,${r}Z`,
  "<": (r) => `M${r},${-r}v${2 * r}L${-r},0Z`,
  p: (r) => polygon(5, r * 1.15, r * 1.15),
  "*": (r) => polygon(10, r * 1.35, r * 0.55),
  "^": (r) => `M${-r},${r}h${2 * r}L0,${-r}Z`,
  D: (r) => `M0,${-1.3 * r}L${1.3 * r},0L0,${1.3 * r}L${-1.3 * r},0Z`,
  P: (r) => `M${-r / 3},${-r}h${r / 1.5}v${r / 1.5}h${r / 1.5}v${r / 1.5}h${-r / 1.5}v${r / 1.5}h${-r / 1.5}v${-r / 1.5}h${-r / 1.5}v${-r / 1.5}h${r / 1.5}Z`,
  X: (r) => `M${-r},${-r}h${r / 2}L0,${-r / 2}L${r / 2},${-r}h${r / 2}L${r / 2},0L${r},${r}h${-r / 2}L0,${r / 2}L${-r / 2},${r}h${-r / 2}L${-r / 2},0Z`,
};

// A closed path of corners in turn at the distances outer and inner, the first at the top.
function polygon(corners, outer, inner) {
  const at = (i) => {
    const angle = (2 * Math.PI * i) / corners, radius = i % 2 ? inner : outer;
    return `${radius * Math.sin(angle)},${-radius * Math.cos(angle)}`;
  };
  return `M${Array.from({ length: corners }, (_, i) => at(i)).join("L")}Z`;
}

const picture = document.getElementById("picture");
const controls = document.getElementById("controls");

function say(text) {
  document.getElementById("reading").textContent = text;
}

function element(parent, name, attributes, text) {
  const made = document.createElementNS(parent.namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return parent.appendChild(made);
}

// A number as a reader wants it: 0.7, 12, 5e-7.
function short(value, digits = 3) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size < 1e-3 || size >= 1e5 ? value.toExponential(Math.min(1, digits)) : String(Number(value.toPrecision(digits)));
  return text.replace(".0e", "e").replace("e+", "e").replaceAll("-", "\u2212");
}

// A labelled slider; asked for its value it gives the number that tell(position) stands for.
function slider(id, label, [min, max, by], position, redraw, tell = Number) {
  const row = element(controls, "label", { for: id });
  element(row, "span", {}, label);
  const input = element(row, "input", { type: "range", id, min, max, step: by, value: position });
  const shown = element(row, "output", { for: id });
  const show = () => {
    shown.textContent = short(tell(input.value));
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", () => { show(); redraw(); });
  show();
  return () => tell(input.value);
}

function button(parent, id, label, act) {
  element(parent, "button", { type: "button", id }, label).addEventListener("click", act);
}

// Draw now and whenever the width changes; the frame around the page grows with it.
function drawing(draw) {
  let width = 0;
  const redraw = () => {
    picture.replaceChildren();
    const height = draw(Math.max(280, picture.clientWidth));
    picture.setAttribute("height", height);
    if (window.frameElement) window.frameElement.style.height = `${document.documentElement.offsetHeight + 4}px`;
  };
  new ResizeObserver(() => {
    if (picture.clientWidth !== width) { width = picture.clientWidth; redraw(); }
  }).observe(picture);
  return redraw;
}

// Axes in the box {left, top, width, height} over the ranges x and y.
class Panel {
  constructor(box, x, y, { xlabel = "", ylabel = "", xlog = false, xticks, yticks } = {}) {
    const left = box.left + 52, top = box.top + 20, right = box.left + box.width - 10;
    const bottom = box.top + box.height - (xlabel ? 36 : 18);
    const scale = (low, high, from, to, log) => (value) => {
      const f = log ? Math.log10 : Number;
      return from + ((f(value) - f(low)) / (f(high) - f(low))) * (to - from);
    };
    this.x = scale(...x, left, right, xlog);
    this.y = scale(...y, bottom, top, false);
    Object.assign(this, { left, right, top, bottom });
    for (const tick of xticks || (xlog ? decades(...x, right - left) : ticks(...x, 6))) {
      element(picture, "line", { x1: this.x(tick), x2: this.x(tick), y1: top, y2: bottom, class: "grid" });
      this.write(this.x(tick), bottom + 14, short(tick), { anchor: "middle" });
    }
    for (const tick of yticks || ticks(...y, (bottom - top) / 28)) {
      element(picture, "line", { x1: left, x2: right, y1: this.y(tick), y2: this.y(tick), class: "grid" });
      this.write(left - 5, this.y(tick) + 4, short(tick), { anchor: "end" });
    }
    element(picture, "path", { d: `M${left},${top}V${bottom}H${right}`, class: "axis" });
    if (xlabel) this.write((left + right) / 2, bottom + 30, xlabel, { anchor: "middle" });
    this.write(box.left + 4, box.top + 12, ylabel, { bold: true });
  }

  write(x, y, text, { anchor = "start", color = "", bold = false } = {}) {
    const look = { x, y, "text-anchor": anchor, class: bold ? "name" : "" };
    return element(picture, "text", color ? { ...look, fill: color } : look, text);
  }

  line(points, color, dash = "") {
    const d = points.map(([x, y], i) => `${i ? "L" : "M"}${this.x(x)},${this.y(y)}`).join("");
    element(picture, "path", { d, class: "line", stroke: color, "stroke-dasharray": dash });
  }

  stairs(points, color) { // each value lasts until the next
    const corners = points.flatMap(([x, y], i) => (i ? [[x, points[i - 1][1]], [x, y]] : [[x, y]]));
    this.line([...corners, [points[points.length - 1][0] + 1, points[points.length - 1][1]]], color);
  }

  mark(x, y, { color, marker }, { radius = 4, hollow = false, title = "" } = {}) {
    const look = { d: SHAPES[marker](radius), transform: `translate(${this.x(x)},${this.y(y)})` };
    const made = element(picture, "path", { ...look, fill: hollow ? "none" : color, stroke: color });
    if (title) element(made, "title", {}, title);
    return made;
  }
}

function ticks(low, high, about) {
  const rough = (high - low) / Math.max(1, about);
  const power = 10 ** Math.floor(Math.log10(rough));
  const by = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / by - 1e-9); i * by <= high + 1e-9 * by; i++) found.push(i * by);
  return found;
}

function decades(low, high, pixels) {
  const from = Math.ceil(Math.log10(low) - 1e-9), to = Math.floor(Math.log10(high) + 1e-9);
  const every = Math.max(1, Math.ceil((to - from) / (pixels / 55)));
  const found = [];
  for (let power = from; power <= to; power += every) found.push(Number(`1e${power}`));
  return found;
}
