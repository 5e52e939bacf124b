"""Figures that move: whole pages by themselves, refused input, and what they compute and show in a real browser."""

import base64
import json
import re

import numpy as np
import pandas as pd
import pytest
from browser import needs_browser, text_of
from matplotlib.image import imread

from bso_lib import packed_size_bytes, reference, vgg11
from bso_lib.companion.figures import METHOD_LOOK
from bso_lib.companion.interactive import FIGURES, FOLDER, frame, page, show, with_bytes
from bso_lib.companion.stills import COLORS

TABLE = pd.DataFrame(
    [("T-BSO", 0.125, s, 84.0 + s, 23_640, 94_560) for s in range(3)]
    + [("T-BSO", 0.25, 0, 87.2, 83_240, 332_960), ("FP, OTTT", 0.125, 0, 87.5, 581_640, 581_640)]
    + [(method, 0.5, 0, 80.0, 300_000, 900_000) for method in METHOD_LOOK if method not in ("T-BSO", "FP, OTTT")],
    columns=["method", "width", "seed", "accuracy", "bytes", "training_bytes"],
)
GIVEN = {"accuracy-bytes": {"table": TABLE}}
ADDRESS = re.compile(r"https?://(?!www\.w3\.org/2000/svg)|\bsrc=|\bhref=|\bimport\b|fetch\(|@import|url\(")


@pytest.mark.parametrize("name", FIGURES)
def test_a_page_needs_nothing_beside_itself(name):
    text = page(name, **GIVEN.get(name, {}))
    assert ADDRESS.findall(text) == []
    assert text == page(name, **GIVEN.get(name, {}))
    assert "background: #fff" in text  # legible on a dark page


def test_the_scripts_are_short_and_have_no_colour_of_their_own():
    scripts = sorted(FOLDER.glob("*.js"))
    assert {p.stem for p in scripts} == {*FIGURES, "rules", "shared"}
    for path in scripts:
        assert len(path.read_text().splitlines()) <= 200
        assert re.findall(r"#[0-9a-fA-F]{3,6}\b", path.read_text()) == []
    assert not set(COLORS.values()) & {look["color"] for look in METHOD_LOOK.values()}


def test_data_cannot_leave_its_element():
    methods = page("accuracy-bytes", table=TABLE).split('id="data">')[1].split("</script>")[0]
    assert json.loads(methods)["rows"][0] == {
        "method": "T-BSO", "width": 0.125, "accuracy": 84.0, "bytes": 23640, "training_bytes": 94560,
    }  # fmt: skip
    assert "<" not in methods


@pytest.mark.parametrize("name", FIGURES)
def test_show_gives_the_figure_and_then_its_picture(name, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: seen.append(data))
    show(name, **GIVEN.get(name, {}))._ipython_display_()
    figure, picture = seen
    assert figure == {"text/html": frame(name, **GIVEN.get(name, {})), "text/plain": FIGURES[name].title}
    assert 'srcdoc="&lt;!doctype html&gt;' in figure["text/html"]
    (tmp_path / "still.png").write_bytes(base64.b64decode(picture["image/png"]))
    pixels = imread(tmp_path / "still.png")
    assert pixels.shape[1] == 800
    assert (pixels[:5, :5] == 1).all()  # an opaque white background
    assert pixels[..., :3].std() > 0.02  # and something on it


def test_the_still_of_a_rule_is_not_that_of_the_reader():
    assert show("game", player="BSO").still != show("game", player="T-BSO").still != show("game").still


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("neurn", {}, "moving figure 'neurn': must be one of neuron, .*; did you mean 'neuron'"),
        ("neuron", {"treshold": 1}, "neuron has no 'treshold'; it has .*; did you mean 'threshold'"),
        ("neuron", {"input": "1"}, "neuron: input='1' must be a finite number"),
        ("neuron", {"input": float("nan")}, "neuron: input=nan must be a finite number"),
        ("game", {"player": "me"}, "game: player='me' must be one of you, BSO, T-BSO"),
        ("game", {"moves": [1, 0]}, "moves=.* must be a list of 1 and -1"),
        ("flip-rule", {"noise": [1.0]}, "noise=.* must be a list of at least two finite numbers"),
        ("accuracy-bytes", {}, "table is a NoneType: must be a DataFrame"),
        ("accuracy-bytes", {"table": TABLE.drop(columns="bytes")}, "the table lacks bytes"),
        ("accuracy-bytes", {"table": TABLE[:0]}, "the table has no row"),
        ("accuracy-bytes", {"table": TABLE.assign(method="TBSO")}, "method 'TBSO' has no colour: .*'T-BSO'"),
        ("accuracy-bytes", {"table": TABLE.assign(bytes=0)}, "bytes has values that are no number above 0"),
        ("accuracy-bytes", {"table": TABLE.assign(accuracy=np.nan)}, "accuracy has values that are no number"),
    ],
)
def test_what_cannot_be_shown_is_refused(name, given, message):
    with pytest.raises(ValueError, match=message):
        show(name, **given)


def test_bytes_are_those_of_the_network_as_deployed_and_as_it_trains():
    runs = pd.DataFrame({"method": ["FP, OTTT", "STE + OTTT", "BSO", "T-BSO", "T-BSO"], "width": [0.125] * 4 + [0.25]})
    full, latent, bso, tbso, wide = with_bytes(runs, "fashion-mini").itertuples()
    assert full.bytes == full.training_bytes == latent.training_bytes
    assert latent.bytes == bso.bytes == tbso.bytes == tbso.training_bytes < wide.bytes
    binary = {name: packed_size_bytes(vgg11(10, 1, width=0.125, weights=name)) for name in ("binary", "real")}
    assert (tbso.bytes, full.bytes) == (binary["binary"], binary["real"])


# Fixed sequences for the arithmetic: noise, and ties, where u is the threshold and w * M is gamma to the bit.
RNG = np.random.default_rng(1)
CURRENTS = [[1.0, 0.0, 0.5, 1.0], RNG.normal(0.5, 0.7, 200).tolist()]
LEAKS = [(0.5, 1.0), (0.9, 0.7), (0.0, 0.3)]
GRADIENTS = [[0.5, -0.5, 0.0, 1.0], (1e-6 * RNG.standard_normal(300)).tolist(), RNG.standard_normal(300).tolist()]
SETTINGS = [
    {"gamma": gamma, "beta": beta, "beta2": beta2, "eps": eps}
    for gamma, beta, beta2, eps in ((0.25, 0.5, 0.5, 0.0), (0.0, 0.9, 0.99999, 1e-20), (5e-7, 0.9, 0.99999, 1e-20),
                                    (0.2, 0.0, 0.9, 1e-8), (3.0, 0.99, 0.999, 1e-20))
]  # fmt: skip
SCRIPT = """
const ask = JSON.parse(document.getElementById("ask").textContent), answer = { errors: [] };
const windows = Object.fromEntries([...document.querySelectorAll("iframe")].map((f, i) => [ask.names[i], f.contentWindow]));
const get = (name, id) => windows[name].document.getElementById(id);
const read = (name) => get(name, "reading").textContent;
const set = (name, id, value, event = "input") => {
  const control = get(name, id);
  control.value = value;
  control.dispatchEvent(new windows[name].Event(event));
};
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
async function all() {
  await wait(300);
  const { neuron, game } = windows, flips = windows["flip-rule"];
  answer.lif = ask.currents.map((I) => ask.leaks.map(([decay, threshold]) => neuron.lifRun(I, decay, threshold)));
  answer.weights = ["BSO", "T-BSO"].map((m) => ask.gradients.map((G) => ask.settings.map((s) => flips.weightRun(m, G, s))));
  answer.games = ["BSO", "T-BSO"].map((m) => ask.settings.map((s) => game.ruleMoves(m, 100, s)));
  answer.accounts = answer.games[0].map((moves) => game.accounts(moves));
  const groups = windows["accuracy-bytes"].groups;
  answer.groups = ["bytes", "training_bytes"].map((size) => groups(ask.rows, size));
  answer.first = Object.fromEntries(ask.names.map((name) => [name, read(name)]));
  answer.heights = [...document.querySelectorAll("iframe")].map((f) => [f.clientHeight, f.contentDocument.body.scrollHeight]);
  const tooWide = () => ask.names.map((name) => windows[name].document.documentElement.scrollWidth - windows[name].innerWidth);
  answer.wide = tooWide();
  answer.unnamed = ask.names.flatMap((name) => [...windows[name].document.querySelectorAll("input, select, button")]
    .filter((one) => !(one.tagName === "BUTTON" ? one.textContent : one.labels[0].textContent.trim())));
  set("neuron", "threshold", 1.5);
  set("flip-rule", "gamma", 0);
  answer.zero = read("flip-rule");
  set("flip-rule", "size", 7);
  set("flip-rule", "gamma", 36);
  answer.large = read("flip-rule");
  get("flip-rule", "again").click();
  get("game", "plus").click();
  answer.ninth = read("game");
  get("game", "restart").click();
  answer.empty = read("game");
  get("game", "minus").click();
  set("game", "player", "BSO", "change");
  answer.bso = read("game");
  answer.locked = [...windows.game.document.querySelectorAll("button")].map((one) => one.disabled);
  windows["accuracy-bytes"].document.querySelectorAll("[tabindex]")[1].focus();
  answer.focused = read("accuracy-bytes");
  for (const box of windows["accuracy-bytes"].document.querySelectorAll("[type=checkbox]")) box.click();
  answer.none = read("accuracy-bytes");
  answer.silent = read("neuron");
  for (const one of document.querySelectorAll("iframe")) one.style.width = "336px";
  await wait(300);
  answer.narrow = tooWide();
  answer.nan = ask.names.filter((name) => /NaN|undefined|Infinity/.test(windows[name].document.body.innerHTML.split("<script")[0]));
}
window.onerror = (message) => answer.errors.push(message);
const tell = (e) => answer.errors.push(String(e.stack || e));
window.onload = () => all().catch(tell).then(() => (document.getElementById("out").textContent = JSON.stringify(answer)));
"""  # noqa: E501


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    """What the four pages, side by side in one browser, computed and showed."""
    ask = {"names": list(FIGURES), "currents": CURRENTS, "leaks": LEAKS, "gradients": GRADIENTS, "settings": SETTINGS,
           "rows": TABLE.to_dict("records")}  # fmt: skip
    frames = "".join(frame(name, **GIVEN.get(name, {})) for name in FIGURES)
    asked = f'<script type="application/json" id="ask">{json.dumps(ask)}</script>'
    whole = f'<!doctype html><meta charset="utf-8">{frames}{asked}<pre id="out"></pre><script>{SCRIPT}</script>'
    return json.loads(text_of(whole, tmp_path_factory.mktemp("browser")))


@needs_browser
def test_the_neuron_is_the_reference_to_the_bit(answer):
    for currents, found in zip(CURRENTS, answer["lif"], strict=True):
        for (decay, threshold), run in zip(LEAKS, found, strict=True):
            u, s, a = np.zeros(1), np.zeros(1), np.zeros(1)
            for current, row in zip(currents, run, strict=True):
                u, s = reference.lif_step(u, s, np.array([current]), decay, threshold)
                a = reference.trace_step(a, s, decay)
                assert [row["u"], row["s"], row["a"]] == [u[0], s[0], a[0]]
    assert [row["s"] for row in answer["lif"][0][0]] == [1, 0, 0, 1]  # a potential at the threshold fires


def weight_run(method, gradient_of, rounds, gamma, beta, beta2, eps):
    """Return (w, M, v) after each update of one weight by the reference, from w = 1; ``gradient_of(k, w)``."""
    W, M, v, rows = np.ones(1), np.zeros(1), np.zeros(1), []
    for k in range(rounds):
        G = np.array([gradient_of(k, W[0])])
        if method == "BSO":
            W, M = reference.bso_step(W, M, G, gamma, beta)
        else:
            W, M, v = reference.tbso_step(W, M, v, G, 0, gamma, beta, beta2, eps)
        rows.append([W[0], M[0], v[0]])
    return rows


@needs_browser
@pytest.mark.parametrize(("number", "method"), [(0, "BSO"), (1, "T-BSO")])
def test_the_flips_are_the_references_to_the_bit(answer, number, method):
    flipped = 0
    for gradients, found in zip(GRADIENTS, answer["weights"][number], strict=True):
        for settings, run in zip(SETTINGS, found, strict=True):
            expected = weight_run(method, lambda k, w, G=gradients: G[k], len(gradients), **settings)
            assert [[row["w"], row["m"], row["v"]] for row in run] == expected
            flipped += sum(row["flipped"] for row in run)
    assert flipped > 100
    assert not answer["weights"][0][0][0][0]["flipped"]  # w * M = gamma: only what exceeds it flips


@needs_browser
def test_the_game_is_lost_by_the_rules_of_the_reference(answer):
    for method, games in zip(("BSO", "T-BSO"), answer["games"], strict=True):
        for settings, moves in zip(SETTINGS, games, strict=True):
            assert moves == [1.0] + [row[0] for row in weight_run(method, lambda k, w: w, 99, **settings)]
    for moves, accounts in zip(answer["games"][0], answer["accounts"], strict=True):
        for k, row in enumerate(accounts, 1):
            best = min(sum(moves[:k]), -sum(moves[:k]))
            assert (row["paid"], row["best"], row["regret"]) == (k, best, k - best)
            assert row["regret"] >= k


@needs_browser
def test_the_means_are_those_of_the_table(answer):
    for size, found in zip(("bytes", "training_bytes"), answer["groups"], strict=True):
        runs = TABLE.groupby(["method", "width"])
        assert len(found) == runs.ngroups
        for row in found:
            own = runs.get_group((row["method"], row["width"]))
            assert row["mean"] == pytest.approx(own["accuracy"].mean(), rel=1e-14)
            assert (row["low"], row["high"], row["n"]) == (own["accuracy"].min(), own["accuracy"].max(), len(own))
            assert row["bytes"] == own[size].iloc[0]


@needs_browser
def test_the_pages_say_what_is_to_be_seen_and_answer_to_controls(answer):
    assert answer["errors"] == answer["unnamed"] == answer["nan"] == []
    first = answer["first"]
    assert first["neuron"].startswith("10 spikes at the full input, 0 at half of it.")
    assert answer["silent"].startswith("0 spikes at the full input, 0 at half of it.")
    assert re.fullmatch(
        r"BSO: \d+ flips; without γ it would be \d+\. T-BSO: (\d+) flips; γ does nothing, .*", first["flip-rule"]
    )
    assert answer["zero"].count("γ does nothing") == 2
    assert answer["large"].startswith("BSO: 0 flips; without γ")
    assert first["game"] == "After 8 rounds you paid 8, the best fixed weight −2: regret 10, never below 8."
    assert answer["ninth"].startswith("After 9 rounds you paid 9, the best fixed weight −3: regret 12")
    assert answer["empty"].startswith("Make a move")
    assert answer["bso"].startswith("After 60 rounds BSO paid 60")
    assert answer["locked"] == [True] * 3
    assert first["accuracy-bytes"] == "Most accurate of what is shown: FP, OTTT, width 0.125: 87.50 % (1 seed), 582 kB."
    assert answer["focused"] == "T-BSO, width 0.25: 87.20 % (1 seed), 83.2 kB"
    assert answer["none"] == "No method is chosen."


@needs_browser
def test_the_frames_are_as_high_as_their_pages_and_no_page_is_too_wide(answer):
    for outer, inner in answer["heights"]:
        assert 0 <= outer - inner <= 20
    assert max(answer["wide"] + answer["narrow"]) <= 0


@needs_browser
def test_the_still_picture_hides_behind_a_figure_that_moves_and_only_there(tmp_path):
    pictures = {
        "lab": '<div class="jp-OutputArea-child">{}</div><div class="jp-OutputArea-child"><img></div>',
        "book": '<div class="cell_output"><div class="output text_html">{}</div><img></div>',
    }
    moving = "".join(f'<div id="{place}">{text.format(frame("game"))}</div>' for place, text in pictures.items())
    still = "".join(f'<div id="{place} without">{text.format("")}</div>' for place, text in pictures.items())
    script = "[...document.images].map((one) => [one.closest('[id]').id, one.getClientRects().length])"
    script = f"window.onload = () => {{ document.getElementById('out').textContent = JSON.stringify({script}); }}"
    page = f'<!doctype html>{moving}{still}<pre id="out"></pre><script>{script}</script>'
    assert json.loads(text_of(page, tmp_path)) == [["lab", 0], ["book", 0], ["lab without", 1], ["book without", 1]]
