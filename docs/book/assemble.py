"""Put together what Sphinx reads: the committed notebooks and pages, the ledger, and the figures that move.

python docs/book/assemble.py build/book-source
"""

import argparse
import html
import re
import shutil
from pathlib import Path

import nbformat
import pandas as pd

from bso_lib.companion.interactive import FIGURES, frame, page, with_bytes
from bso_lib.companion.ledger import counts, ledger, parts

ROOT = Path(__file__).parents[2]
BOOK = Path(__file__).parent
PAGES = ["CHANGELOG.md", "docs/*.md", "figures/laptop/README.md", "figures/laptop/*.png", "figures/laptop/*.csv"]
STATIC = ["ledger.js", "book.css"]


def runs_of_notebook_04() -> pd.DataFrame:
    """Return our runs behind notebook 04's figure, with the bytes of their networks."""
    table = pd.read_csv(ROOT / "figures" / "laptop" / "04-how-accurate-accuracy.csv")
    table = table[table["source"].str.startswith("ours")]
    (dataset,) = table["dataset"].unique()
    return with_bytes(table, dataset)


def moving_page() -> tuple[str, dict[str, str]]:
    """Return the page with all figures that move, and each as a page of its own by its file name."""
    given = {"accuracy-bytes": {"table": runs_of_notebook_04()}}
    lines = ["# Figures that move", "Each runs in this page alone and asks for nothing from outside. A slider that is "
             "in focus moves with the arrow keys."]  # fmt: skip
    files = {}
    for name, figure in FIGURES.items():
        own = given.get(name, {})
        files[f"{name}.html"] = page(name, **own)
        lines.append(f"## {figure.title}\n\n``````{{raw}} html\n{frame(name, **own)}\n``````")
        lines.append(f'<a href="moving/{name}.html">As a page of its own</a>')
    return "\n\n".join(lines) + "\n", files


def _cell(value) -> str:
    """Return ``value`` of the ledger as text; nothing for what is missing."""
    if pd.isna(value):
        return ""
    return html.escape(f"{value:.3g}" if isinstance(value, float) else str(value))


def ledger_page() -> str:
    """Return the page with the whole ledger of the laptop profile, a row per claim, and its filter."""
    table = ledger("laptop")
    told = [name for name in table if any(_cell(value) for value in table[name])]
    first = [name for name in ("verdict", "statement", "place", "published", "ours") if name in told]
    columns = [*first, *(name for name in told if name not in (*first, "id")), "id"]
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in columns)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>"
        for row in table[columns].itertuples(index=False)
    )
    summary = " ".join(f"**{heading}**, {len(part)}: {counts(part)}." for heading, part in parts(table).items())
    return f"""# The ledger

{summary} Every verdict is computed from what was measured; this page is made from the same rows as
[the gallery](figures/laptop/README.md) and [notebook 99](notebooks/99-ledger.ipynb).

``````{{raw}} html
<p><label>Words that a row has to hold:<br><input id="claims-words" type="search" autocomplete="off"></label></p>
<div id="claims-menus"></div>
<p id="claims-count" aria-live="polite"></p>
<table id="claims" class="table"><thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody></table>
``````
"""


def numbered(notebook, number: str):
    """Return ``notebook`` with its number in its title, as links to it have it."""
    notebook.cells[0].source = re.sub(r"\A# ", f"# {number} · ", notebook.cells[0].source)
    return notebook


def assemble(target: Path):
    """Write all that Sphinx reads into the folder ``target``, which is emptied first."""
    shutil.rmtree(target, ignore_errors=True)
    (target / "_static").mkdir(parents=True)
    moving, files = moving_page()
    for pattern in PAGES:
        for path in ROOT.glob(pattern):
            copy = target / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    for path in sorted((ROOT / "notebooks").rglob("[0-9][0-9]*.ipynb")):
        copy = target / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(numbered(nbformat.read(path, as_version=4), path.stem.split("-")[0]), copy)
    # What notebook 99 links to, run by run; html_extra_path puts it beside the notebooks' pages.
    runs = Path("notebooks", "evidence", "runs")
    (target / "extra" / runs).mkdir(parents=True)
    for path in (ROOT / runs).glob("[!.]*.jsonl"):
        shutil.copy(path, target / "extra" / runs)
    for name, text in files.items():
        (target / "extra" / "moving").mkdir(parents=True, exist_ok=True)
        (target / "extra" / "moving" / name).write_text(text, encoding="utf-8")
    front = (ROOT / "README.md").read_text(encoding="utf-8") + (BOOK / "contents.md").read_text(encoding="utf-8")
    for name, text in {"index.md": front, "moving.md": moving, "ledger.md": ledger_page()}.items():
        (target / name).write_text(text, encoding="utf-8")
    for name in STATIC:
        shutil.copy(BOOK / name, target / "_static")
    shutil.copy(BOOK / "conf.py", target)


def main():
    parser = argparse.ArgumentParser(prog="python docs/book/assemble.py", description="Gather the book's pages.")
    parser.add_argument("target", type=Path)
    assemble(parser.parse_args().target)


if __name__ == "__main__":
    main()
