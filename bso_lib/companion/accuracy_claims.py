"""Claims on accuracy: of methods, time steps and settings; on images, events and spoken words.

What is written here is the plan: estimand, margin and seeds stand before the runs; CHANGELOG.md lists every change.
"""

from collections.abc import Iterator

from bso_lib.companion.claim import Claim
from bso_lib.companion.paper import figure5, published, table2, table5
from bso_lib.experiment.config import PUBLISHED_CODE

OUR_METHODS = {  # the rows of Table 2 that this companion can run, and the RunConfig of each
    "FP-SNN": {"method": "fp", "training": "bptt"},
    "OTTT": {"method": "fp", "training": "online", "trace": "ottt"},
    "NDOT": {"method": "fp", "training": "online", "trace": "ndot"},
    "BSO": {"method": "bso"},
    "T-BSO": {"method": "t-bso"},
}
SETS = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100", "ImageNet": "imagenet", "DVS-CIFAR10": "dvs-cifar10",
        "GSC": "speech-commands"}  # fmt: skip
_WITHIN = {"kind": "non-inferiority", "margin": 1.0}
_NO_RIVAL = "the rival's network and code are not rebuilt here"


def _gap(a, b):
    return f"{a - b:+.2f} points"


def _against(claim_id, statement, published, dataset, steps=None, rival="", kind="superiority", seeds=5, **fields):
    """Return a claim on the accuracy of T-BSO less that of ``rival``, paired by seed."""
    asks = {"dataset": SETS[dataset]} | ({"time_steps": steps} if steps else {})
    estimand = f"accuracy of {fields.pop('method', 'T-BSO')} less {rival}"
    place = fields.pop("place", "Table 2")
    return Claim(claim_id, place, statement, published, kind, estimand=estimand, seeds=seeds, asks=asks, **fields)


def comparisons() -> Iterator[Claim]:
    """Yield the claims on how methods and time steps compare, Table 2 and Fig. 5."""
    where = "CIFAR-10"
    bso, tbso = (table2(where, method, 2) for method in ("BSO", "T-BSO"))
    tbso6, qsnn, fp, ottt, ndot = (table2(where, m, 6) for m in ("T-BSO", "Q-SNN", "FP-SNN", "OTTT", "NDOT"))
    said, at6 = f"{_gap(tbso, bso)}, {where}, T = 2", f"{where}, T = 6"
    yield _against("t-bso-above-bso", "T-BSO is more accurate than BSO", said, where, 2, "BSO", seeds=10)
    yield _against(
        "t-bso-above-latent-bptt", "T-BSO is more accurate than latent binary weights trained by BPTT",
        f"{_gap(tbso6, qsnn)}, {at6} (Q-SNN)", where, 6, "latent weights (BPTT)",
    )  # fmt: skip
    yield _against(
        "latent-weights-not-needed",
        "latent weights are not needed: T-BSO stays within one point of latent weights trained online", "no number",
        where, None, "latent weights (OTTT)", place="Sec. 4.1", seeds=10, **_WITHIN,
    )  # fmt: skip
    yield _against(
        "t-bso-reaches-fp-bptt", "T-BSO is more accurate than full precision trained by BPTT",
        f"{_gap(tbso6, fp)}, {at6}", where, 6, "full precision (BPTT)",
    )  # fmt: skip
    yield _against(
        "t-bso-above-fp-ottt", "T-BSO is more accurate than full precision trained online by OTTT",
        f"{_gap(tbso6, ottt)}, {at6}", where, 6, "full precision (OTTT)", seeds=10,
    )  # fmt: skip
    yield _against(
        "t-bso-near-fp-ndot", "T-BSO stays within one point of full precision trained online by NDOT",
        f"{_gap(tbso6, ndot)}, {at6}", where, 6, "full precision (NDOT)", **_WITHIN,
    )  # fmt: skip
    for name, words in (("FP-SNN", "by BPTT"), ("OTTT", "online by OTTT")):
        gap = _gap(table2("CIFAR-100", "T-BSO", 6), table2("CIFAR-100", name, 6))
        yield _against(
            f"t-bso-above-{name.lower()}-cifar-100",
            f"T-BSO is more accurate on CIFAR-100 than full precision trained {words}", f"{gap}, T = 6", "CIFAR-100", 6,
            f"full precision ({name})",
        )  # fmt: skip
    for method in ("BSO", "T-BSO"):
        rise = _gap(figure5(method, 12), figure5(method, 2))
        yield _against(
            f"{method.lower()}-rises-with-t",
            f"{method} gains accuracy with more time steps, against the fewest steps trained for as many updates",
            f"{rise}, CIFAR-100, T = 2 to 12, for as many epochs", "CIFAR-100", None,
            "the same with the fewest time steps and as many updates", place="Fig. 5", method=method,
        )  # fmt: skip
    smallest = min(figure5("T-BSO", t) - figure5("BSO", t) for t in (2, 4, 6, 8, 10, 12))
    yield _against(
        "t-bso-above-bso-at-every-t", "T-BSO is more accurate than BSO at every number of time steps",
        f"{smallest:+.2f} points or more, CIFAR-100", "CIFAR-100", None, "BSO, at each T", place="Fig. 5",
    )  # fmt: skip


def rivals() -> Iterator[Claim]:
    """Yield the comparisons of Table 2 with binary networks of others, and on ImageNet, that nobody can run here."""
    table = published("table2")
    for method in ("BSO", "T-BSO"):
        for rival in table[table["method"].isin(["CBP", "Q-SNN"])].itertuples():
            own = table[(table["method"] == method) & (table["dataset"] == rival.dataset)]
            if own.empty or (method, rival.method, rival.dataset) == ("T-BSO", "Q-SNN", "CIFAR-10"):
                continue  # the latter is t-bso-above-latent-bptt
            ours = own.loc[own["time_steps"].idxmax()]
            said = f"{_gap(ours['accuracy_percent'], rival.accuracy_percent)}, T = {ours['time_steps']}"
            yield _against(
                f"{method}-above-{rival.method}-{rival.dataset}".lower(),
                f"{method} is more accurate than {rival.method} on {rival.dataset}",
                f"{said} against {rival.time_steps}", rival.dataset, None, rival.method, method=method, never=_NO_RIVAL,
            )  # fmt: skip
    loss = table2("ImageNet", "FP-SNN", 4) - table2("ImageNet", "T-BSO", 6)
    yield _against(
        "imagenet-gap-to-fp",
        f"T-BSO at T = 6 loses at most the published {loss:.2f} points to full precision on ImageNet, and one more",
        f"{-loss:+.2f} points, T = 6 against 4", "ImageNet", None, "full precision", kind="non-inferiority",
        margin=round(loss + 1, 2), never="no profile trains full precision on ImageNet",
    )  # fmt: skip


def sensitivity() -> Iterator[Claim]:
    """Yield the claims on how little accuracy depends on the settings, Tables 3 and 4."""
    table3, table4 = published("table3"), published("table4")
    at = {"dataset": "cifar100", "time_steps": 2}

    def robust(claim_id, place, statement, table, *free):
        low, high = table["accuracy_percent"].min(), table["accuracy_percent"].max()
        return Claim(
            claim_id, place, statement, f"{high - low:.2f} points, CIFAR-100, T = 2", "robustness",
            estimand="range of the mean accuracy over the table's settings", margin=2.0, seeds=5, asks=at, free=free,
        )  # fmt: skip

    yield robust(
        "robust-to-gamma", "Table 3", "T-BSO's accuracy hardly depends on gamma from 5e-8 to 5e-5", table3, "gamma"
    )
    yield robust(
        "robust-to-betas", "Table 4", "T-BSO's accuracy hardly depends on beta1 and beta2", table4, "beta1", "beta2"
    )
    for method in ("BSO", "T-BSO"):
        yield Claim(
            f"threshold-acts-{method.lower()}", "Eq. 12" if method == "BSO" else "Eq. 14",
            f"the threshold of {method} takes part in deciding which weights flip, at the published gamma", "no number",
            "above", estimand="share of the weights that the threshold alone keeps, per update", unit="%", margin=0.1,
            seeds=5, asks=at | {"gamma": 5e-7},
        )  # fmt: skip
    tbso = {"method": "t-bso", **at}
    for row in table3.itertuples():
        if row.gamma != 5e-7:  # that is Table 2's
            yield _accuracy(
                table3_id(row.gamma), "Table 3", f"T-BSO, CIFAR-100, T = 2, gamma = {row.gamma:g}",
                row.accuracy_percent, {**tbso, "gamma": row.gamma, "beta1": 0.999},
            )  # fmt: skip
    for row in table4.itertuples():
        first, second = row.one_minus_beta1, row.one_minus_beta2
        if (first, second) != (1e-3, 1e-5):  # that is Table 2's
            yield _accuracy(
                table4_id(first, second), "Table 4",
                f"T-BSO, CIFAR-100, T = 2, 1 - beta1 = {first:g}, 1 - beta2 = {second:g}", row.accuracy_percent,
                {**tbso, "gamma": 5e-7, "beta1": 1 - first, "beta2": 1 - second},
            )  # fmt: skip


def table3_id(gamma: float) -> str:
    """Return the id of the claim on one row of Table 3."""
    return f"table3-gamma-{gamma:g}"


def table4_id(one_minus_beta1: float, one_minus_beta2: float) -> str:
    """Return the id of the claim on one row of Table 4."""
    return f"table4-{one_minus_beta1:g}-{one_minus_beta2:g}"


def _accuracy(claim_id, place, what, value, asks, **fields):
    """Return the claim on one published accuracy: ours lies not more than one point below it, or above."""
    return Claim(
        claim_id, place, f"accuracy of {what}", f"{value:.2f} %", "accuracy", estimand="mean accuracy", unit="%",
        margin=1.0, seeds=5, value=value, asks=asks,
        free=tuple(name for name in asks if name in ("gamma", "beta1", "beta2")), **fields,
    )  # fmt: skip


def events() -> Iterator[Claim]:
    """Yield the claims on events, Table 2."""
    where = "DVS-CIFAR10"
    accuracy = {method: table2(where, method, 10) for method in ("T-BSO", "BSO", "NDOT")}

    def above(method):
        return f"{_gap(accuracy['T-BSO'], accuracy[method])}, {where}, T = 10 ({method})"

    yield _against(
        "events-t-bso-above-bso", "T-BSO is more accurate than BSO on events", above("BSO"), where, 10, "BSO", seeds=10
    )
    yield _against(
        "events-t-bso-above-fp-ndot", "T-BSO is more accurate on events than full precision trained online by NDOT",
        above("NDOT"), where, 10, "full precision (NDOT)", seeds=10,
    )  # fmt: skip
    yield _against(
        "events-latent-weights-not-needed",
        "latent weights are not needed on events: T-BSO stays within one point of latent weights trained online",
        "no number", where, 10, "latent weights (OTTT)", place="Sec. 4.1, Table 2", seeds=10, **_WITHIN,
    )  # fmt: skip


def phases() -> Iterator[Claim]:
    """Yield the claims on ImageNet and training in two phases."""
    tuned = published("hyperparameters").query("dataset == 'ImageNet' and phase == 'fine-tune'").iloc[0]
    settings = f"gamma = {tuned['gamma']:g}, 1 - beta1 = {tuned['one_minus_beta1']:g}"
    yield _against(
        "phases-no-loss",
        "T-BSO loses no accuracy by training with one time step first and with T at the end only, against T all along "
        "for as many updates: at most one point", "no number: the paper trains so", "ImageNet", None, "T all along",
        place="App. B, ImageNet", free=("start_from", "epochs"), **_WITHIN,
    )  # fmt: skip
    yield Claim(
        "phases-zero-momentum", "Algorithm 1, App. B",
        "with M at 0 at its start, as in Algorithm 1, and its published settings, the second phase on ImageNet keeps "
        "the weights of the first", settings, "below",
        estimand="share of the weights that the second phase changes", unit="%", margin=1.0, seeds=5,
        asks={"dataset": "imagenet"},
    )  # fmt: skip
    gain = _gap(table2("ImageNet", "T-BSO", 6), table2("ImageNet", "T-BSO", 4))
    yield _against(
        "imagenet-rises-with-t", "T-BSO gains accuracy from T = 4 to T = 6 on ResNet-18", f"{gain}, ImageNet",
        "ImageNet", None, "the same at T = 4", method="T-BSO at T = 6",
    )  # fmt: skip


def accuracy_id(dataset: str, method: str, time_steps: int, place: str = "table2") -> str:
    """Return the id of the claim on one published accuracy."""
    return f"{place}-{dataset}-{method}-t{time_steps}".lower()


def accuracies() -> Iterator[Claim]:
    """Yield the claims on each published accuracy of Table 2 and Fig. 5 that can be run, each number once."""
    known = set()
    for table, place in (("table2", "Table 2"), ("figure5", "Fig. 5")):
        for row in published(table).itertuples():
            dataset = getattr(row, "dataset", "CIFAR-100")
            key = dataset, row.method, row.time_steps
            if row.method not in OUR_METHODS or key in known:  # Fig. 5 shows three of Table 2's again
                continue
            known.add(key)
            rebuilt = dataset != "ImageNet" or row.method == "T-BSO"
            yield _accuracy(
                accuracy_id(dataset, row.method, row.time_steps, table), place,
                f"{row.method}, {getattr(row, 'architecture', 'VGG-11')}, {dataset}, T = {row.time_steps}",
                row.accuracy_percent,
                {"dataset": SETS[dataset], "time_steps": row.time_steps, **OUR_METHODS[row.method]},
                never="" if rebuilt else "no profile trains full precision on ImageNet",
            )  # fmt: skip


def speech() -> Iterator[Claim]:
    """Yield the claims on spoken words, Table 5."""
    place, ours = "Table 5", table5("T-BSO")
    yield _accuracy(
        accuracy_id("GSC", "T-BSO", 4, "table5"), place, "T-BSO, VGG-11, Google Speech Commands, T = 4", ours,
        {"dataset": "speech-commands", "time_steps": 4, "method": "t-bso"},
    )  # fmt: skip
    others = published("table5").query("method != 'T-BSO'")
    best = others.loc[others["accuracy_percent"].idxmax()]
    yield _against(
        "gsc-t-bso-reaches-fp", "T-BSO is more accurate on spoken words than full precision",
        f"{_gap(ours, best['accuracy_percent'])}, {best['method']}", "GSC", 4, "full precision (OTTT)", place=place,
        seeds=10,
    )  # fmt: skip
    yield _against(
        "gsc-latent-weights-not-needed",
        "latent weights are not needed for spoken words: T-BSO stays within one point of them, trained online",
        "no number", "GSC", 4, "latent weights (OTTT)", place="Sec. 4.1, Table 5", seeds=10, **_WITHIN,
    )  # fmt: skip


# What the published code does otherwise than the text; the switch of RunConfig that does it.
CODE_CHOICES = {
    "start": ("Algorithm 1", "real-valued binary weights at the start"),
    "eps_place": ("Eq. 14", "eps outside the root"),
    "sign_of_zero": ("Eq. 14", "sign(0) = 0, which takes a weight off the grid"),
    "schedule": ("not said", "gamma and 1 - beta1 cut to a tenth in steps"),
    "real_schedule": ("App. B", "a constant learning rate of the real-valued parameters"),
    "trace": ("Eq. 7", "NDOT's ratio with the threshold subtracted twice"),
    "batch_norm": ("not said", "BatchNorm statistics shared by all time steps"),
    "mse_weight": ("not said", "a squared error mixed into the loss"),
    "all": ("all of these", "all of the published code's choices together"),
}


_CODE_FIELDS = (*PUBLISHED_CODE, "step_epochs")


def code_choices() -> Iterator[Claim]:
    """Yield the claims on the published code's choices."""
    for name, (place, words) in CODE_CHOICES.items():
        yield Claim(
            f"code-{name}", f"{place}, published code",
            f"T-BSO's accuracy does not suffer from {words}: at most one point", "no number", party="companion",
            estimand="accuracy with it less accuracy without", seeds=5, free=_CODE_FIELDS, **_WITHIN,
        )  # fmt: skip
