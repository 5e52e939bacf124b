"use strict";
// One weight against an adversary that answers each move with the loss f(w) = W_k w: every rule without a coin loses.
let own = DATA.moves.slice();

function movesNow() {
  const settings = { gamma: gamma(), beta: beta(), beta2: DATA.beta2, eps: DATA.eps };
  return player.value === "you" ? own : ruleMoves(player.value, DATA.rounds, settings);
}

const redraw = drawing((width) => {
  const moves = movesNow(), books = accounts(moves), you = player.value === "you";
  const look = you ? { color: DATA.colors.ink, marker: "o" } : DATA.look[player.value];
  const end = Math.max(10, moves.length);
  const { limit, trace } = DATA.colors;
  document.querySelectorAll("button").forEach((one) => (one.disabled = !you));
  document.querySelectorAll("input").forEach((one) => (one.disabled = you));

  const first = new Panel({ left: 0, top: 0, width, height: 100 }, [0, end], [-1.3, 1.3], { ylabel: "moves W", yticks: [-1, 1] });
  if (moves.length) first.stairs(moves.map((move, k) => [k, move]), look.color);

  const high = 1.1 * Math.max(end, ...books.map(({ regret }) => regret));
  const low = 1.1 * Math.min(-2, ...books.map(({ best }) => best));
  const second = new Panel({ left: 0, top: 100, width, height: 270 }, [0, end], [low, high], { ylabel: "sum of losses", xlabel: "rounds K" });
  const line = (read, color, dash) => second.line([[0, 0], ...books.map((one, k) => [k + 1, read(one)])], color, dash);
  line(({ best }) => best, trace, "2 3");
  second.line([[0, 0], [end, end]], limit, "6 4");
  line(({ regret }) => regret, look.color, "");
  const every = Math.ceil(books.length / 30);
  books.forEach(({ regret }, k) => (k + 1) % every || second.mark(k + 1, regret, look, { radius: 3.5 }));
  const key = [["regret R(K)", look.color], ["its lower bound, K", limit], ["best fixed weight", trace]];
  key.forEach(([text, color], i) => second.write(second.left + 10, second.top + 14 + 17 * i, text, { color, bold: true }));

  const last = books[books.length - 1];
  const name = you ? "you" : player.value;
  say(last
    ? `After ${moves.length} rounds ${name} paid ${last.paid}, the best fixed weight ${short(last.best)}: regret ${last.regret}, never below ${moves.length}.`
    : "Make a move: the adversary answers with the loss f(w) = W w, which costs you 1.");
  return 372;
});
const row = element(controls, "div", { class: "row" });
const label = element(row, "label", { class: "choice", for: "player" }, "who plays:");
const player = element(label, "select", { id: "player" });
["you", "BSO", "T-BSO"].forEach((name) => element(player, "option", { value: name }, name));
player.value = DATA.player;
player.addEventListener("change", () => redraw());
button(row, "plus", "play +1", () => { own.push(1); redraw(); });
button(row, "minus", "play −1", () => { own.push(-1); redraw(); });
button(row, "restart", "start again", () => { own = []; redraw(); });
const gamma = slider("gamma", "γ", [0, 1, 0.02], DATA.gamma, redraw);
const beta = slider("beta", "β (T-BSO: β1)", [0, 0.99, 0.01], DATA.beta, redraw);
redraw();
