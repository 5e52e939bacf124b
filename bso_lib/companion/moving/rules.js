"use strict";
// The method's arithmetic, held by a test to bso_lib/reference.py in a browser, to the last bit of a double.

// One time step of a LIF neuron with its trace (Eq. 2, 3, 7); state = {u, s, a}.
function lifStep(state, current, decay, threshold) {
  const u = decay * (state.u - threshold * state.s) + current;
  const s = u >= threshold ? 1 : 0;
  return { u, s, a: decay * state.a + s };
}

function lifRun(currents, decay, threshold) {
  let state = { u: 0, s: 0, a: 0 };
  return currents.map((current) => (state = lifStep(state, current, decay, threshold)));
}

// One update of one weight by BSO (Eq. 11, 12) or T-BSO with one time step (Eq. 13, 14); state = {w, m, v}.
// The threshold that w * M has to exceed is returned beside the new state.
function step(method, state, gradient, { gamma, beta, beta2, eps }) {
  const m = beta * state.m + (1 - beta) * gradient;
  let v = state.v;
  let threshold = gamma;
  if (method === "T-BSO") {
    v = beta2 * v + (1 - beta2) * (gradient * gradient);
    threshold = gamma * Math.sqrt(v + eps);
  }
  const flipped = state.w * m > threshold;
  return { w: flipped ? -state.w : state.w, m, v, threshold, agreement: state.w * m, flipped };
}

function weightRun(method, gradients, settings) {
  let state = { w: 1, m: 0, v: 0 };
  return gradients.map((gradient) => (state = step(method, state, gradient, settings)));
}

// The game of notebook 08: the loss of round k is f(w) = W_k w, told after the move W_k, so its slope is W_k itself.
function ruleMoves(method, rounds, settings) {
  const moves = [];
  let state = { w: 1, m: 0, v: 0 };
  for (let k = 0; k < rounds; k++) {
    moves.push(state.w);
    state = step(method, state, state.w, settings);
  }
  return moves;
}

// Round by round: what was paid, what the better of the two fixed weights paid, and the regret.
function accounts(moves) {
  let paid = 0;
  let sum = 0;
  return moves.map((move) => {
    paid += move * move;
    sum += move;
    const best = -Math.abs(sum);
    return { paid, best, regret: paid - best };
  });
}
