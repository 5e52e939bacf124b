"""Claims of the paper that its own tables decide: what its text says against what its tables hold.

Only contradictions and equalities inside the paper are judged here. That a published number supports a claim is no
replication: such claims wait for runs of ours.
"""

from collections.abc import Iterator

from bso_lib.companion.claim import Claim
from bso_lib.companion.paper import APPENDIX_BETA1, FIGURE4_FACTOR, FIGURE4_PLOTTED_GB, figure4, published
from bso_lib.companion.row import Row

_RIVALS = ("CBP", "Q-SNN")  # the binary networks of others in Table 2
TABLES = "the paper's own tables"


def _best(table, dataset, method):
    own = table[(table["dataset"] == dataset) & (table["method"] == method)]
    return own.loc[own["time_steps"].idxmax()] if len(own) else None


def _above_binary_rivals(method):
    """Return (holds, the smallest gap to a rival, in words) at the most time steps of each, over the data sets."""
    table, gaps = published("table2"), {}
    for dataset in table["dataset"].unique():
        ours = _best(table, dataset, method)
        for rival in _RIVALS:
            theirs = _best(table, dataset, rival)
            if ours is not None and theirs is not None:
                gaps[dataset, rival] = ours["accuracy_percent"] - theirs["accuracy_percent"]
    below = [f"{gap:+.2f} points to {rival} on {dataset}" for (dataset, rival), gap in gaps.items() if gap <= 0]
    return not below, "; ".join(below) or f"{min(gaps.values()):+.2f} points or more"


def _above_online_real():
    """Return (holds, words): T-BSO against each full-precision network trained online, DVS-CIFAR10."""
    table = published("table2").query("dataset == 'DVS-CIFAR10'")
    ours = table[table["method"] == "T-BSO"]["accuracy_percent"].iloc[0]
    others = table[(table["online"] == "yes") & (table["binary"] == "no")]
    words = [f"{ours - r.accuracy_percent:+.2f} points to {r.method}" for r in others.itertuples()]
    return bool((ours > others["accuracy_percent"]).all()), "; ".join(words)


def _rises(table, method):
    """Return (holds, words): whether accuracy rises with every further number of time steps."""
    curve = table[table["method"] == method].sort_values("time_steps")
    words = ", ".join(f"{r.accuracy_percent:.2f} % (T = {r.time_steps})" for r in curve.itertuples())
    return bool((curve["accuracy_percent"].diff().dropna() > 0).all()), words


def _sizes_alike():
    """Return (holds, words): whether one architecture and kind of weights has one size on each data set, within 1 %."""
    table = published("table2")
    odd = []
    for (dataset, net, binary), own in table.groupby(["dataset", "architecture", "binary"]):
        sizes = own["model_size_mb"]
        if sizes.max() > 1.01 * sizes.min():
            kind = "binary" if binary == "yes" else "full-precision"
            named = own.drop_duplicates("model_size_mb")
            each = ", ".join(f"{r.model_size_mb:.2f} MB ({r.method})" for r in named.itertuples())
            odd.append(f"{kind} {net}, {dataset}: {each}")
    return not odd, "; ".join(odd) or "all alike"


def _judged() -> Iterator[tuple[Claim, bool, str]]:
    def claim(claim_id, place, statement, said, universal=True):
        return Claim(claim_id, place, statement, said, kind="tables", universal=universal)

    for method in ("BSO", "T-BSO"):
        yield (
            claim(f"{method.lower()}-above-binary-networks", "Abstract, Table 2",
                  f"by the published numbers {method} is more accurate than existing binary networks (CBP, Q-SNN)",
                  "both BSO and T-BSO are"),
            *_above_binary_rivals(method),
        )  # fmt: skip
    cifar10, fig5 = published("table2").query("dataset == 'CIFAR-10'"), published("figure5")
    for place, name, table in (("Table 2", "CIFAR-10", cifar10), ("Fig. 5", "CIFAR-100", fig5)):
        for method in ("BSO", "T-BSO"):
            yield (
                claim(f"{method.lower()}-rises-steadily-{name.lower()}", place,
                      f"by the published numbers each step further in T makes {method} more accurate, {name}",
                      "rising with T",
                      universal=False),
                *_rises(table, method),
            )  # fmt: skip
    yield (
        claim("events-t-bso-above-fp-online", "Table 2",
              "by the published numbers T-BSO is more accurate on events than every full-precision network trained "
              "online", "no number",
              universal=False),
        *_above_online_real(),
    )  # fmt: skip
    yield (
        claim("sizes-alike", "Table 2",
              "networks of one architecture and one kind of weights have one size on each data set", "model sizes",
              universal=False),
        *_sizes_alike(),
    )  # fmt: skip
    first, last = figure4("BPTT", 1), figure4("BPTT", 35)
    yield (
        claim("figure4-text", "Fig. 4", "the two numbers for BPTT give the factor in the text",
              f"{last} GB / {first} GB, {FIGURE4_FACTOR} times", universal=False),
        round(last / first, 1) == FIGURE4_FACTOR,
        f"{last / first:.1f} times",
    )  # fmt: skip
    yield (
        claim("figure4-plotted", "Fig. 4", "the memory of BPTT plotted for T = 35 is that of the text", f"{last} GB",
              universal=False),
        abs(FIGURE4_PLOTTED_GB / last - 1) <= 0.01,
        f"{FIGURE4_PLOTTED_GB} GB plotted, {FIGURE4_PLOTTED_GB / first:.1f} times that of T = 1",
    )  # fmt: skip
    table4 = published("table4").set_index(["one_minus_beta1", "one_minus_beta2"])["accuracy_percent"]
    best = table4.idxmax()
    yield (
        claim("table4-optimum", "Sec. 5.4", "the best pair of Table 4 is 1 - beta1 = 1.5e-4, 1 - beta2 = 1.5e-5",
              f"{table4[1.5e-4, 1.5e-5]:.2f} %"),
        best == (1.5e-4, 1.5e-5),
        f"the table's best is {table4[best]:.2f} %, at {best[0]:g} and {best[1]:g}",
    )  # fmt: skip
    betas = set(1 - published("hyperparameters").query("phase == 'train'")["one_minus_beta1"])
    yield (
        claim("appendix-beta1", "App. B.2", "training uses the beta1 that Appendix B.2 gives", f"{APPENDIX_BETA1:g}",
              universal=False),
        betas == {APPENDIX_BETA1},
        f"Tables 6 and 7 have 1 - beta1 = {1 - max(betas):g}: beta1 = {max(betas):g}",
    )  # fmt: skip


def from_tables() -> Iterator[Claim]:
    """Yield the claims that the paper's own tables decide."""
    for claim, _, _ in _judged():
        yield claim


def judged_from_tables() -> list[Row]:
    """Return their rows: no run of ours is behind them."""
    return [
        Row(claim.id, found, TABLES, "arithmetic on published numbers",
            "holds" if holds else "false as stated" if claim.universal else "does not hold")
        for claim, holds, found in _judged()
    ]  # fmt: skip
