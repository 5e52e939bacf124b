"""Sphinx's settings for the book; copied into build/book-source, beside the pages that assemble.py puts there."""

import re
from importlib.resources import files
from pathlib import Path

from docutils import nodes

project = "BSO, a companion"
author = "the BSO companion"
extensions = ["myst_nb", "sphinx.ext.mathjax"]
html_theme = "sphinx_book_theme"
html_title = "BSO: the companion"
html_theme_options = {
    "use_download_button": False,  # of the page's source, which lies in the checkout
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "navbar_persistent": [],  # one field for searching is enough
    "home_page_in_toc": True,
}
html_static_path = ["_static"]
html_extra_path = ["extra"]
html_css_files = ["book.css"]
html_js_files = ["ledger.js"]
html_copy_source = False
html_show_sphinx = False

nb_execution_mode = "off"  # the committed outputs are the ones that tests compare
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

# MathJax and its fonts from a package, so that the book reads with the network off; only the files that pages ask for.
MATHJAX = Path(str(files("sphinx-mathjax-offline"))) / "static" / "mathjax"
mathjax_path = "mathjax/tex-chtml.js"


def copy_mathjax(app, error):
    """Copy MathJax into the finished book."""
    if error is None:
        fonts = Path("output", "chtml", "fonts", "woff-v2")
        for file in [
            MATHJAX / "tex-chtml.js",
            *(MATHJAX / fonts).iterdir(),
            *(MATHJAX / "input/tex/extensions").iterdir(),
        ]:
            target = Path(app.outdir) / "_static" / "mathjax" / file.relative_to(MATHJAX)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())


def lead_to_pages(app, doctree, name):
    """Let links in the outputs of notebooks lead to the book's pages; myst-nb leaves those as they stand."""
    for link in doctree.findall(nodes.reference):
        if "://" not in link.get("refuri", "://"):
            link["refuri"] = re.sub(r"\.ipynb(?=#|$)", ".html", link["refuri"])


def setup(app):
    """Register what is ours."""
    app.connect("build-finished", copy_mathjax)
    app.connect("doctree-resolved", lead_to_pages)
