"""The page of a profile: every picture with its caption, the whole ledger, and the committed one is current."""

import pandas as pd
import pytest

from bso_lib.companion import gallery as module
from bso_lib.companion.gallery import gallery
from bso_lib.companion.registry import CLAIMS
from bso_lib.experiment.paths import figures_folder


def test_the_committed_page_is_what_make_reproduce_writes():
    page = figures_folder("laptop") / "README.md"
    assert page.read_text(encoding="utf-8") == gallery("laptop"), "run: make reproduce"


def test_it_has_every_picture_and_every_claim():
    page = gallery("laptop")
    for path in figures_folder("laptop").glob("*.png"):
        assert f"]({path.name})" in page
    rows = [
        line
        for line in page.splitlines()
        if line.startswith("| ") and not line.startswith(("| ---", "| verdict", "| place |"))
    ]
    assert len(rows) == len(CLAIMS)
    for heading in ("## The paper's claims\n", "## This companion's own promises and questions\n"):
        assert heading in page


def test_a_picture_without_caption_and_a_caption_without_picture_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_FIGURES", str(tmp_path))
    captions = pd.read_csv(module.Path(module.__file__).with_name("captions.csv"))
    (tmp_path / "quick").mkdir()
    for row in captions.itertuples():
        (tmp_path / "quick" / f"{row.notebook}-{row.figure}.png").touch()
    assert "### Not run" in gallery("quick")
    (tmp_path / "quick" / "14-new-picture.png").touch()
    (tmp_path / "quick" / "00-start-here-neuron.png").unlink()
    with pytest.raises(
        ValueError, match=r"without a caption: 14-new-picture.png; without a picture: 00-start-here-neuron"
    ):
        gallery("quick")
