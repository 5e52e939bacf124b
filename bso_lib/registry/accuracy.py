"""The registry of claims: one entry per claim that the ledger (``bso_lib.claims``) judges.

Where a claim has a number, it is read from the paper's tables (``bso_lib.paper``).
"""

from dataclasses import dataclass

from bso_lib.paper import FIGURE4_FACTOR, figure4, figure5, published, table2, table5

OUR_METHODS = ("FP-SNN", "OTTT", "NDOT", "BSO", "T-BSO")  # the rows of Table 2 that this companion can run


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: its ``id``, ``place``, ``statement`` and ``published`` value.

    ``exact``: arithmetic (sizes, bytes) that does not depend on training, so that it can hold under any profile.
    ``universal``: one counterexample makes it false as stated, not merely missed here.
    """

    id: str
    place: str
    statement: str
    published: str
    exact: bool = False
    universal: bool = False


def _statements():
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


def _sizes():
    for dataset, steps in (("CIFAR-10", 6), ("CIFAR-100", 6), ("DVS-CIFAR10", 10), ("ImageNet", 4)):
        for method, kind in (("T-BSO", "binary"), ("FP-SNN", "full-precision")):
            size = table2(dataset, method, steps, "model_size_mb")
            net = "ResNet-18" if dataset == "ImageNet" else "VGG-11"
            yield Claim(
                f"size-{dataset.lower()}-{kind}", "Table 2", f"size of the {kind} {net} for {dataset}",
                f"{size:.2f} MB", exact=True,
            )  # fmt: skip


def _phases():
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


def _theory():
    slow, literal = "1 - beta ~ 1/sqrt(k)", "beta ~ 1/sqrt(k) as in Eq. 30"
    for bound, average, name, momentum, rate, falls, cases in (
        (15, 17, "BSO", "|M_k|_inf", "K^(1/2)", "K^(-1/2)", {"linear": slow, "quadratic": slow}),
        (16, 18, "T-BSO", "|M_k/sqrt(v_k+eps)|_inf", "K^(3/4)", "K^(-1/4)",
         {"linear": slow, "quadratic": slow, "linear, eq30": literal}),
    ):  # fmt: skip
        place, sums = f"Theorem 4.1, Eq. {bound}", f"R(K) <= 2 sum gamma_k + 2 sum {momentum} = O({rate})"
        below = f"{name}'s regret stays below the right-hand side of Eq. {bound}"
        yield Claim(f"eq{bound}", place, f"{below}, and that is O({rate}): any convex losses", sums, universal=True)
        yield Claim(f"eq{bound}-iid-linear", place, f"{below}: i.i.d. linear losses", sums)
        place, mean = f"Corollary 4.2, Eq. {average}", f"R(K)/K = O({falls})"
        fast = f"{name}'s average regret falls as {falls}"
        yield Claim(f"eq{average}", place, f"{fast}: any convex losses", mean, universal=True)
        for case, reading in cases.items():
            kind = case.split(",")[0]
            claim_id = f"eq{average}-iid-{case.replace(', ', '-')}"
            yield Claim(claim_id, place, f"{fast}: i.i.d. {kind} losses, {reading}", mean)
    yield Claim(
        "eq27", "Appendix A, Eq. 27", "BSO's |M_k|_inf is O(1/sqrt(k)): any convex losses", "O(1/sqrt(k))",
        universal=True,
    )  # fmt: skip
    yield Claim(
        "eq34", "Appendix A, Eq. 34",
        "T-BSO's |M_k/sqrt(v_k+eps)|_inf falls fast enough for the sum in Eq. 16 to be O(K^(3/4)): any convex losses",
        "sum |M_k/sqrt(v_k+eps)|_inf = O(K^(3/4))", universal=True,
    )  # fmt: skip


def accuracy_id(dataset: str, method: str, time_steps: int, place: str = "table2") -> str:
    """Return the id of the claim on one published accuracy."""
    return f"{place}-{dataset}-{method}-t{time_steps}".lower()


def _accuracies():
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


def _speech():
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


def _latent_weights():
    place = "Sec. 4.1, Fig. 1"
    yield Claim(
        "weights-stay-binary", "Algorithm 1", "BSO's and T-BSO's weights are -1 or +1 after training", "no number",
        exact=True,
    )  # fmt: skip
    yield Claim("latent-sign-only", place, "latent weights act only through their sign", "no number", exact=True)
    yield Claim(
        "bso-below-latent-memory", place,
        "BSO keeps fewer bytes per binary weight while it trains than latent weights with momentum do", "no number",
        exact=True,
    )  # fmt: skip


def _gradients():
    yield Claim(
        "gradients-differ-in-direction", "Fig. 3",
        "the weight gradients of different time steps point in different directions", "heat maps, no number",
    )  # fmt: skip
    yield Claim(
        "gradients-differ-in-size", "Fig. 3, Eq. 14",
        "the weight gradients of different time steps differ in size: one threshold does not fit all", "no number",
    )  # fmt: skip


def _sensitivity():
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


def _flips():
    yield Claim(
        "decay-settles-weights", "Thm 4.1",
        "with gamma and 1 - beta falling as 1/sqrt(k), T-BSO's weights flip less and less", "no number",
    )  # fmt: skip


def _events():
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


def _code():
    for name, (place, words) in CODE_CHOICES.items():
        yield Claim(
            f"code-{name}", f"{place}, published code", f"T-BSO's accuracy does not suffer from {words}", "no number"
        )


def _memory():
    steps = "from T = 1 to T = 35"
    factor = f"{FIGURE4_FACTOR} times"
    growth = f"factor by which the memory of BPTT grows {steps}"
    yield Claim("figure4-bptt-growth", "Fig. 4", growth, factor, exact=True)
    yield Claim(
        "figure4-text", "Fig. 4", "the two numbers for BPTT give the factor in the text",
        f"{figure4('BPTT', 35)} GB / {figure4('BPTT', 1)} GB, {factor}", exact=True,
    )  # fmt: skip
    for method in ("BSO", "T-BSO"):
        flat = f"{figure4(method, 1)} GB and {figure4(method, 35)} GB"
        statement = f"the memory of {method} stays the same {steps}"
        yield Claim(f"figure4-{method}-flat".lower(), "Fig. 4", statement, flat, exact=True)
    for row in published("figure4").itertuples():
        statement = f"training memory of {row.method}, VGG-11, CIFAR-10, T = {row.time_steps}"
        claim_id = f"figure4-{row.method}-t{row.time_steps}".lower()
        yield Claim(claim_id, "Fig. 4", statement, f"{row.memory_gb} GB", exact=True)
    for name, statement, order in (
        ("weights-real", "BPTT and OTTT hold one real number for each weight", "O(n² L)"),
        ("weights-binary", "the weights of BSO and T-BSO need a 32nd of the memory of real ones", "O(n² L / 32)"),
        ("state-bptt", "the computation state of BPTT grows linearly with T", "O(n² L + n L T)"),
        ("state-online", "the computation state of OTTT and BSO does not depend on T", "O(n² L + n L)"),
        ("state-t-bso", "the computation state of T-BSO grows by one number per layer and step", "O(n² L + n L + L T)"),
    ):
        yield Claim(f"table1-{name}", "Table 1", statement, order, exact=True)


def _efficiency():
    """What this companion promises of its own code; nothing is published."""
    for name, statement in (
        ("step-near-floor", "a training step takes at most 1.2 times its convolutions alone"),
        ("step-two-forward", "a training step is 1.6 times faster than with two forward passes"),
        ("step-bfloat16", "in bfloat16 it is 2.5 times faster than that"),
        ("step-spikingjelly", "a training step is 1.6 times faster than that of SpikingJelly's OTTT VGG"),
        ("step-memory", "a packed step needs at most 0.6 of the memory of two forward passes"),
    ):
        yield Claim(name, "this companion", statement, "no number")
    for name, statement in (
        ("state-bytes", "a packed weight in training needs at most 4.2 bytes, 2.2 with bfloat16 momentum"),
        ("packed-flips-alike", "packed layers train as the plain ones do, to the bit"),
        ("packed-file", "a file of a network weighs what Table 2 counts, within 5 %"),
    ):
        yield Claim(name, "this companion", statement, "no number", exact=True)


CLAIMS = {
    claim.id: claim
    for group in (
        _statements,
        _latent_weights,
        _gradients,
        _sensitivity,
        _flips,
        _events,
        _memory,
        _theory,
        _code,
        _sizes,
        _phases,
        _accuracies,
        _efficiency,
        _speech,
    )
    for claim in group()
}
