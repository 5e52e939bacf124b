"""Pages in a real browser without a window: Chromium or Chrome, whichever the machine has."""

import html
import re
import shutil
import subprocess

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no browser on this machine: install chromium, as in apt-get install chromium"
)


def text_of(page, folder):
    """Return the text of the element ``out`` of the HTML ``page`` when its scripts are done; it lies in ``folder``."""
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1000,900",
        f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000", "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, flags=re.S)
    assert found, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return html.unescape(found.group(1))
