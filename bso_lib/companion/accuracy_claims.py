"""Claims on accuracy: of methods, time steps and settings; on images, events and spoken words."""

from collections.abc import Iterator

from bso_lib.companion.claim import Claim
from bso_lib.companion.paper import figure5, published, table2, table5

OUR_METHODS = ("FP-SNN", "OTTT", "NDOT", "BSO", "T-BSO")  # the rows of Table 2 that this companion can run


def comparisons() -> Iterator[Claim]:
    """Yield the claims on how methods and time steps compare, Table 2 and Fig. 5."""

    def gap(a, b):
        return f"{a - b:+.2f} points"

    bso, tbso = (table2("CIFAR-10", method, 2) for method in ("BSO", "T-BSO"))
    tbso6, qsnn, fp, ndot = (table2("CIFAR-10", method, 6) for method in ("T-BSO", "Q-SNN", "FP-SNN", "NDOT"))
    where = "CIFAR-10"
    yield Claim("t-bso-above-bso", "Table 2", "T-BSO is more accurate than BSO", f"{gap(tbso, bso)}, {where}, T = 2")
    yield Claim(
        "t-bso-above-latent-bptt", "Table 2", "T-BSO is more accurate than latent binary weights trained by BPTT",
        f"{gap(tbso6, qsnn)}, {where}, T = 6 (Q-SNN)",
    )  # fmt: skip
    yield Claim(
        "latent-weights-not-needed", "Sec. 4.1",
        "latent weights are not needed: T-BSO stays within one point of latent weights trained online", "no number",
    )  # fmt: skip
    yield Claim(
        "t-bso-reaches-fp-bptt", "Table 2", "T-BSO is at least as accurate as full precision trained by BPTT",
        f"{gap(tbso6, fp)}, {where}, T = 6",
    )  # fmt: skip
    yield Claim(
        "t-bso-below-fp-ndot", "Table 2", "T-BSO stays within one point of full precision trained online by NDOT",
        f"{gap(tbso6, ndot)}, {where}, T = 6",
    )  # fmt: skip
    for method in ("BSO", "T-BSO"):
        rise = gap(figure5(method, 12), figure5(method, 2))
        statement = f"{method} gains accuracy with more time steps"
        yield Claim(f"{method.lower()}-rises-with-t", "Fig. 5", statement, f"{rise}, CIFAR-100, T = 2 to 12")
    smallest = min(figure5("T-BSO", t) - figure5("BSO", t) for t in (2, 4, 6, 8, 10, 12))
    yield Claim(
        "t-bso-above-bso-at-every-t", "Fig. 5", "T-BSO is more accurate than BSO at every number of time steps",
        f"{smallest:+.2f} points or more, CIFAR-100",
    )  # fmt: skip


def sensitivity() -> Iterator[Claim]:
    """Yield the claims on how little accuracy depends on the settings, Tables 3 and 4."""
    table3, table4 = published("table3"), published("table4")

    def spread(table):
        low, high = table["accuracy_percent"].min(), table["accuracy_percent"].max()
        return f"{high - low:.2f} points, CIFAR-100, T = 2"

    yield Claim(
        "robust-to-gamma", "Table 3", "T-BSO's accuracy hardly depends on gamma from 5e-8 to 5e-5", spread(table3)
    )
    yield Claim("robust-to-betas", "Table 4", "T-BSO's accuracy hardly depends on beta1 and beta2", spread(table4))
    for method in ("BSO", "T-BSO"):
        yield Claim(
            f"threshold-acts-{method.lower()}", "Eq. 12" if method == "BSO" else "Eq. 14",
            f"the threshold of {method} takes part in deciding which weights flip, at the published gamma", "no number",
        )  # fmt: skip
    best = table4.loc[table4["accuracy_percent"].idxmax()]
    named = table4[(table4["one_minus_beta1"] == 1.5e-4) & (table4["one_minus_beta2"] == 1.5e-5)].iloc[0]
    yield Claim(
        "table4-optimum", "Sec. 5.4", "the best pair of Table 4 is 1 - beta1 = 1.5e-4, 1 - beta2 = 1.5e-5",
        f"{named['accuracy_percent']:.2f} %; the table's best is {best['accuracy_percent']:.2f} %", exact=True,
        universal=True,
    )  # fmt: skip
    for row in table3.itertuples():
        yield Claim(
            table3_id(row.gamma), "Table 3", f"accuracy of T-BSO, CIFAR-100, T = 2, gamma = {row.gamma:g}",
            f"{row.accuracy_percent:.2f} %",
        )  # fmt: skip
    for row in table4.itertuples():
        yield Claim(
            table4_id(row.one_minus_beta1, row.one_minus_beta2), "Table 4",
            f"the same, 1 - beta1 = {row.one_minus_beta1:g}, 1 - beta2 = {row.one_minus_beta2:g}",
            f"{row.accuracy_percent:.2f} %",
        )  # fmt: skip


def table3_id(gamma: float) -> str:
    """Return the id of the claim on one row of Table 3."""
    return f"table3-gamma-{gamma:g}"


def table4_id(one_minus_beta1: float, one_minus_beta2: float) -> str:
    """Return the id of the claim on one row of Table 4."""
    return f"table4-{one_minus_beta1:g}-{one_minus_beta2:g}"


def events() -> Iterator[Claim]:
    """Yield the claims on events, Table 2."""
    where, place = "DVS-CIFAR10, T = 10", "Table 2"
    accuracy = {method: table2("DVS-CIFAR10", method, 10) for method in ("T-BSO", "BSO", "NDOT")}

    def above(method):
        return f"{accuracy['T-BSO'] - accuracy[method]:+.2f} points, {where} ({method})"

    yield Claim("events-t-bso-above-bso", place, "T-BSO is more accurate than BSO on events", above("BSO"))
    yield Claim(
        "events-t-bso-above-fp-online", place,
        "T-BSO is more accurate on events than full precision trained online", above("NDOT"),
    )  # fmt: skip
    yield Claim(
        "events-latent-weights-not-needed", "Sec. 4.1, Table 2",
        "latent weights are not needed on events: T-BSO stays within one point of latent weights trained online",
        "no number",
    )  # fmt: skip


def phases() -> Iterator[Claim]:
    """Yield the claims on ImageNet and training in two phases."""
    tuned = published("hyperparameters").query("dataset == 'ImageNet' and phase == 'fine-tune'").iloc[0]
    settings = f"gamma = {tuned['gamma']:g}, 1 - beta1 = {tuned['one_minus_beta1']:g}"
    yield Claim(
        "phases-no-loss", "App. B, ImageNet",
        "T-BSO loses no accuracy by training with one time step first and with T at the end only, against T all along "
        "for as many updates", "no number: the paper trains so",
    )  # fmt: skip
    yield Claim(
        "phases-zero-momentum", "Algorithm 1, App. B",
        "with M at 0 at its start, as in Algorithm 1, and its published settings, the second phase on ImageNet keeps "
        "the weights of the first", settings,
    )  # fmt: skip
    gain = table2("ImageNet", "T-BSO", 6) - table2("ImageNet", "T-BSO", 4)
    yield Claim(
        "imagenet-rises-with-t", "Table 2", "T-BSO gains accuracy from T = 4 to T = 6 on ResNet-18",
        f"{gain:+.2f} points, ImageNet",
    )  # fmt: skip


def accuracy_id(dataset: str, method: str, time_steps: int, place: str = "table2") -> str:
    """Return the id of the claim on one published accuracy."""
    return f"{place}-{dataset}-{method}-t{time_steps}".lower()


def accuracies() -> Iterator[Claim]:
    """Yield the claims on each published accuracy of Table 2 and Fig. 5 that can be run."""
    for row in published("table2").itertuples():
        if row.method in OUR_METHODS:
            yield Claim(
                accuracy_id(row.dataset, row.method, row.time_steps), "Table 2",
                f"accuracy of {row.method}, {row.architecture}, {row.dataset}, T = {row.time_steps}",
                f"{row.accuracy_percent:.2f} %",
            )  # fmt: skip
    for row in published("figure5").itertuples():
        yield Claim(
            accuracy_id("CIFAR-100", row.method, row.time_steps, "figure5"), "Fig. 5",
            f"accuracy of {row.method}, VGG-11, CIFAR-100, T = {row.time_steps}", f"{row.accuracy_percent:.2f} %",
        )  # fmt: skip


def speech() -> Iterator[Claim]:
    """Yield the claims on spoken words, Table 5."""
    place, ours = "Table 5", table5("T-BSO")
    for row in published("table5").query("method == 'T-BSO'").itertuples():
        yield Claim(
            accuracy_id("GSC", row.method, row.time_steps, "table5"), place,
            f"accuracy of {row.method}, VGG-11, Google Speech Commands, T = {row.time_steps}",
            f"{row.accuracy_percent:.2f} %",
        )  # fmt: skip
    size, others = table5("T-BSO", "model_size_mb"), published("table5").query("method != 'T-BSO'")
    yield Claim(
        "size-gsc-binary", place, "size of the binary VGG-11 for the 35 words of Google Speech Commands",
        f"{size:.2f} MB", exact=True,
    )  # fmt: skip
    smallest = others["model_size_mb"].min()
    yield Claim(
        "size-gsc-smallest", place, "the binary VGG-11 is the smallest network of the table",
        f"{size:.2f} MB against {smallest:.2f} MB and more", exact=True,
    )  # fmt: skip
    best = others.loc[others["accuracy_percent"].idxmax()]
    yield Claim(
        "gsc-t-bso-reaches-fp", place, "T-BSO is at least as accurate on spoken words as full precision",
        f"{ours - best['accuracy_percent']:+.2f} points, {best['method']}",
    )  # fmt: skip
    yield Claim(
        "gsc-latent-weights-not-needed", "Sec. 4.1, Table 5",
        "latent weights are not needed for spoken words: T-BSO stays within one point of them, trained online",
        "no number",
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


def code_choices() -> Iterator[Claim]:
    """Yield the claims on the published code's choices."""
    for name, (place, words) in CODE_CHOICES.items():
        yield Claim(
            f"code-{name}", f"{place}, published code", f"T-BSO's accuracy does not suffer from {words}", "no number"
        )
