"""The ledger: verdicts are computed, reduced scale never holds."""

import pytest

from bso_lib.companion import ledger as claims
from bso_lib.companion import paper
from bso_lib.companion.accuracy_claims import OUR_METHODS, accuracy_id, table3_id, table4_id
from bso_lib.companion.ledger import (
    above,
    counts,
    describe,
    judge,
    ledger,
    markdown,
    record,
    within,
)
from bso_lib.companion.registry import CLAIMS


@pytest.fixture
def figures(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_FIGURES", str(tmp_path))
    return tmp_path


def test_published_numbers_come_from_the_tables():
    assert paper.table2("CIFAR-10", "T-BSO", 2) == 94.32
    assert paper.figure5("BSO", 12) == 72.85
    assert CLAIMS["t-bso-above-bso"].published == "+1.02 points, CIFAR-10, T = 2"
    assert CLAIMS["table2-cifar-100-t-bso-t4"].published == "73.82 %"
    assert CLAIMS["size-cifar-100-binary"].published == "1.39 MB"
    assert CLAIMS["figure4-t-bso-t35"].published == "3.1 GB"
    assert paper.table5("T-BSO") == 96.12
    assert CLAIMS["size-gsc-binary"].published == "1.26 MB"
    assert CLAIMS["gsc-t-bso-reaches-fp"].published == "+0.94 points, STS-T"
    assert CLAIMS["figure4-bptt-growth"].published == "20.3 times"
    with pytest.raises(ValueError, match="Table 2 has 0 rows for CIFAR-10, T-BSO, T = 3"):
        paper.table2("CIFAR-10", "T-BSO", 3)


@pytest.mark.parametrize(
    ("claim", "passed", "paper_scale", "verdict"),
    [
        ("t-bso-above-bso", True, False, "holds at reduced scale"),
        ("t-bso-above-bso", True, True, "holds"),
        ("t-bso-above-bso", False, True, "does not hold"),
        ("t-bso-above-bso", False, False, "does not hold"),
        ("size-cifar-10-binary", True, False, "holds"),
        ("size-cifar-10-binary", False, False, "does not hold"),
        ("eq15", False, False, "false as stated"),
        ("eq15", True, False, "holds at reduced scale"),
        ("eq15-iid-linear", False, False, "does not hold"),
    ],
)
def test_verdicts(claim, passed, paper_scale, verdict):
    assert judge(claim, passed, "x", "y", "z", paper_scale=paper_scale).verdict == verdict


def test_an_unknown_claim_is_refused():
    with pytest.raises(ValueError, match="claim 'best-ever' is not in"):
        judge("best-ever", True, "", "", "")


def test_above_wants_every_seed_above_every_seed():
    assert above([85.0, 86.0], [80.0, 84.9])[0]
    assert not above([85.0, 86.0], [80.0, 85.0])[0]
    _, ours, test = above([85.0, 87.0], [80.0, 82.0])
    assert ours == "+5.00 points: 86.00 ± 1.41 % (n = 2) against 81.00 ± 1.41 % (n = 2)"
    assert test == "every seed above every seed (by chance: 17%)"
    assert above([85.0], [80.0])[1] == "+5.00 points: 85.00 % (n = 1) against 80.00 % (n = 1)"


def test_within_compares_the_means():
    assert within([84.0, 86.0], [85.0, 86.9], 1.0)[0]
    assert within([84.0, 86.0], [85.0, 87.0], 1.0)[0]
    assert not within([84.0, 86.0], [85.0, 87.1], 1.0)[0]
    assert within([1.0], [1.0], 1.0)[2] == "mean at most 1 point below"
    assert within([1.0], [1.0], 0)[::2] == (True, "mean not below")


def test_an_accuracy_is_judged_against_its_published_number():
    claim = accuracy_id("CIFAR-10", "T-BSO", 2)
    assert claims.judge_accuracy(claim, [93.5, 93.6], "c").verdict == "holds"
    assert claims.judge_accuracy(claim, [92.0], "c").verdict == "does not hold"
    assert claims.judge_accuracy(table3_id(5e-5), [71.9], "c").verdict == "holds"
    assert claims.judge_accuracy(table4_id(1e-3, 1e-5), [72.3], "c").verdict == "does not hold"


def test_every_number_of_the_tables_has_its_claim():
    for row in paper.published("table3").itertuples():
        assert CLAIMS[table3_id(row.gamma)].published == f"{row.accuracy_percent:.2f} %"
    for row in paper.published("table4").itertuples():
        found = CLAIMS[table4_id(row.one_minus_beta1, row.one_minus_beta2)]
        assert found.published == f"{row.accuracy_percent:.2f} %"
    for row in paper.published("figure5").itertuples():
        claim = accuracy_id("CIFAR-100", row.method, row.time_steps, "figure5")
        assert CLAIMS[claim].published == f"{row.accuracy_percent:.2f} %"
    for row in paper.published("table2").itertuples():
        if row.method in OUR_METHODS:
            claim = CLAIMS[accuracy_id(row.dataset, row.method, row.time_steps)]
            assert claim.published == f"{row.accuracy_percent:.2f} %"


def test_what_is_recorded_is_in_the_ledger_and_the_rest_is_not_run(figures):
    row = judge("t-bso-above-bso", True, "+2", "tiny", "t")
    record("04-x", "quick", [row])
    table = ledger("quick").set_index("id")
    assert len(table) == len(CLAIMS)
    assert table.loc["t-bso-above-bso", ["ours", "verdict"]].tolist() == ["+2", "holds at reduced scale"]
    assert (table["verdict"] == "not run").sum() == len(CLAIMS) - 1
    assert counts(ledger("quick")) == f"1 holds at reduced scale, {len(CLAIMS) - 1} not run"
    record("04-x", "quick", [judge("t-bso-above-bso", False, "-2", "tiny", "t")])  # a rerun replaces
    assert ledger("quick").set_index("id").loc["t-bso-above-bso", "verdict"] == "does not hold"


def test_a_claim_recorded_twice_or_unknown_is_refused(figures):
    row = judge("t-bso-above-bso", True, "+2", "tiny", "t")
    record("04-x", "quick", [row])
    record("05-y", "quick", [row])
    with pytest.raises(ValueError, match=r"05-y.claims.json: claim 't-bso-above-bso'.*recorded twice"):
        ledger("quick")


def test_texts_carry_the_row(figures):
    row = judge("t-bso-above-bso", False, "-0.3 points", "fashion-mini", "every seed")
    text = describe([row])
    for part in ("**does not hold**", "T-BSO is more accurate than BSO", "Table 2", "-0.3 points", "fashion-mini"):
        assert part in text
    record("04-x", "quick", [row])
    table = ledger("quick")
    assert "| does not hold | T-BSO is more accurate than BSO |" in markdown(table, ["verdict", "statement"])


def test_no_reduced_run_of_the_committed_ledger_claims_to_hold():
    table = ledger("laptop")
    holds = table[table["verdict"] == "holds"]["id"]
    # The companion's own promises of speed are of the full width, which the laptop profile measures.
    assert all(CLAIMS[claim].exact or CLAIMS[claim].place == "this companion" for claim in holds)
    assert (table["verdict"] != "not run").sum() >= 10


def test_a_switch_that_changed_nothing_is_not_judged(figures):
    row = claims.never_acted("code-eps_place", "tiny", 3)
    assert (row.verdict, row.ours) == ("never acted", "equal to the last digit in 3 of 3 runs")
    record("13-x", "quick", [row])
    assert counts(ledger("quick")) == f"1 never acted, {len(CLAIMS) - 1} not run"
