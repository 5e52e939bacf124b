"""The book: what Sphinx is given is whole, its links lead somewhere, and its checker finds every kind of fault."""

import html
import importlib.util
import json
import re
from pathlib import Path

import pytest
from browser import needs_browser, text_of

from bso_lib.companion.ledger import ledger

ROOT = Path(__file__).parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "book" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book") / "source"
    load("assemble").assemble(folder)
    return folder


def prose_of(path):
    """Return the Markdown of a page or notebook without its code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n\n".join("".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "markdown")
    return re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.M | re.S)


def test_every_page_of_the_book_is_reached_from_its_contents(source):
    contents, listed = (ROOT / "docs" / "book" / "contents.md").read_text(), set()
    for line in re.findall(r"^(?![:`])(\S+)$", contents, re.M):
        pattern = line.replace("**", "**/*")
        listed |= {p.resolve() for suffix in (".md", ".ipynb") for p in source.glob(pattern + suffix)}
    pages = {p.resolve() for kind in ("*.md", "*.ipynb") for p in source.rglob(kind)}
    assert pages - listed == {(source / "index.md").resolve()}
    assert {p.name for p in (ROOT / "notebooks").glob("*.ipynb")} <= {p.name for p in listed}


def test_every_link_inside_the_book_leads_somewhere(source):
    checked = 0
    for path in [*source.rglob("*.md"), *source.rglob("*.ipynb")]:
        for target in re.findall(r"\]\(([^)#\s]+)", re.sub(r"`[^`\n]*`", "", prose_of(path))):
            if "://" not in target:
                checked += 1
                assert (path.parent / target).exists(), f"{path.name}: {target}"
    assert checked > 100


def test_the_runs_that_notebook_99_links_to_are_in_the_book(source):
    runs = Path("notebooks", "evidence", "runs")
    assert {p.name for p in (source / "extra" / runs).iterdir()} == {p.name for p in (ROOT / runs).glob("[!.]*.jsonl")}


def test_notebooks_have_their_number_and_their_committed_outputs(source):
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        own, copy = (json.loads(p.read_text())["cells"] for p in (path, source / "notebooks" / path.name))
        assert "".join(copy[0]["source"]).startswith(f"# {path.stem.split('-')[0]} · ")
        assert copy[1:] == own[1:]


def test_the_ledgers_page_has_every_claim_once_and_its_words_cannot_be_markup(source):
    text, table = (source / "ledger.md").read_text(), ledger("laptop")
    rows = re.findall(r"^<tr>(.*)</tr>$", text.split("<tbody>")[1], re.M)
    assert len(rows) == len(table)
    assert len({row.count("<td>") for row in rows}) == 1
    told = [html.unescape(cell) for row in rows for cell in re.findall("<td>(.*?)</td>", row)]
    for name in ("statement", "ours", "published", "conditions", "place", "party"):
        assert set(table[name]) <= {*told, ""}
    assert not {"nan", "None", "NaN"} & set(told)
    assert set(re.findall(r"<(/?\w+)", "".join(rows))) == {"td", "/td"}
    for verdict, count in table["verdict"].value_counts().items():
        assert sum(row.startswith(f"<td>{verdict}</td>") for row in rows) == count


@needs_browser
def test_the_ledgers_filter_leaves_what_was_asked_for(source, tmp_path):
    table = (source / "ledger.md").read_text().split("{raw} html\n")[1].split("``````")[0]
    script = """
    document.addEventListener("DOMContentLoaded", () => {
      const words = document.getElementById("claims-words"), menu = document.querySelector("select[name=verdict]");
      const rows = [...document.querySelectorAll("#claims tbody tr")];
      const shown = () => rows.filter((row) => !row.hidden).map((row) => row.textContent);
      const seen = { all: shown().length, told: [] };
      const type = (text) => { words.value = text; words.dispatchEvent(new Event("input")); };
      type("T-BSO regret");
      seen.words = shown();
      seen.told.push(document.getElementById("claims-count").textContent);
      type("");
      menu.value = "not run";
      menu.dispatchEvent(new Event("change"));
      seen.menu = shown();
      type("no row says this");
      seen.none = shown();
      document.getElementById("out").textContent = JSON.stringify(seen);
    });"""
    own = (ROOT / "docs" / "book" / "ledger.js").read_text()
    page = f'<!doctype html><meta charset="utf-8">{table}<pre id="out"></pre><script>{own}\n{script}</script>'
    seen = json.loads(text_of(page, tmp_path))
    whole = ledger("laptop")
    assert seen["all"] == len(whole)
    assert 0 < len(seen["words"]) < len(whole)
    assert all("t-bso" in text.lower() and "regret" in text.lower() for text in seen["words"])
    assert seen["told"] == [f"{len(seen['words'])} of {len(whole)} claims"]
    assert len(seen["menu"]) == (whole["verdict"] == "not run").sum()
    assert seen["none"] == []


GOOD = (
    '<head><link rel="stylesheet" href="a.css"><link rel="canonical" href="https://example.org/"></head><body id="top">'
)
FAULTS = {
    '<script src="https://cdn.example.org/x.js"></script>': "loads https://cdn.example.org/x.js",
    '<script src="//cdn.example.org/x.js"></script>': "loads //cdn.example.org/x.js",
    '<link rel="stylesheet" href="https://example.org/a.css">': "loads https://example.org/a.css",
    '<link rel="preconnect" href="https://fonts.example.org">': "loads https://fonts.example.org",
    '<style>@import "https://example.org/a.css";</style>': "loads https://example.org/a.css",
    '<p style="background: url(https://example.org/a.png)">': "loads https://example.org/a.png",
    '<img src="https://example.org/a.png">': "loads https://example.org/a.png",
    "<script>import('https://example.org/x.js')</script>": "loads https://example.org/x.js",
    '<iframe srcdoc="&lt;script src=&quot;https://example.org/x.js&quot;&gt;&lt;/script&gt;"></iframe>': "loads https://example.org/x.js",
    '<a href="gone.html">x</a>': "links to gone.html, which is not there",
    '<a href="#gone">x</a>': "links to #gone, which has no such place",
    '<a href="other.html#gone">x</a>': "links to other.html#gone, which has no such place",
    '<script src="gone.js"></script>': "links to gone.js, which is not there",
}  # fmt: skip


@pytest.fixture
def book(tmp_path):
    (tmp_path / "a.css").write_text("p { background: url(data:image/png;base64,AAAA) }")
    (tmp_path / "other.html").write_text('<p id="here">')
    return tmp_path


def test_a_good_book_has_no_fault(book):
    body = (
        '<a href="#top">a</a> <a href="other.html#here">b</a> <a href="https://example.org">c</a> <img src="data:,x">'
    )
    (book / "index.html").write_text(GOOD + body)
    assert load("check").faults(book) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault, book):
    (book / "index.html").write_text(GOOD + fault)
    (found,) = load("check").faults(book)
    assert found.startswith("index.html ")
    assert FAULTS[fault] in found


def test_a_style_that_asks_outside_is_found(book):
    (book / "index.html").write_text(GOOD)
    (book / "a.css").write_text("@font-face { src: url(https://example.org/font.woff) }")
    assert load("check").faults(book) == ["a.css loads https://example.org/font.woff"]
