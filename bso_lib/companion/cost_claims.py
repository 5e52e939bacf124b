"""Claims on bytes and seconds: networks, their training, and this companion's own code."""

from collections.abc import Iterator

from bso_lib.companion.claim import Claim
from bso_lib.companion.paper import FIGURE4_FACTOR, figure4, published, table2, table5

FIGURE4_TOLERANCE = 0.1  # of the factor and of every number of GB alike: bytes depend on the code that trains


def memory() -> Iterator[Claim]:
    """Yield the claims on the memory of training, Table 1 and Fig. 4."""
    steps = "from T = 1 to T = 35"
    factor = f"{FIGURE4_FACTOR} times"
    growth = f"factor by which the memory of BPTT grows {steps}"
    yield Claim(
        "figure4-bptt-growth", "Fig. 4", growth, factor, "number", value=FIGURE4_FACTOR, relative=FIGURE4_TOLERANCE
    )
    for method in ("BSO", "T-BSO"):
        flat = f"{figure4(method, 1)} GB and {figure4(method, 35)} GB"
        statement = f"the memory of {method} stays the same {steps}"
        yield Claim(f"figure4-{method}-flat".lower(), "Fig. 4", statement, flat)
    for row in published("figure4").itertuples():
        statement = f"training memory of {row.method}, VGG-11, CIFAR-10, T = {row.time_steps}"
        claim_id = f"figure4-{row.method}-t{row.time_steps}".lower()
        yield Claim(
            claim_id, "Fig. 4", statement, f"{row.memory_gb} GB", "number", value=row.memory_gb,
            relative=FIGURE4_TOLERANCE,
        )  # fmt: skip
    for name, statement, order in (
        ("weights-real", "BPTT and OTTT hold one real number for each weight", "O(n² L)"),
        ("weights-binary", "the weights of BSO and T-BSO need a 32nd of the memory of real ones", "O(n² L / 32)"),
        ("state-bptt", "the computation state of BPTT grows linearly with T", "O(n² L + n L T)"),
        ("state-online", "the computation state of OTTT and BSO does not depend on T", "O(n² L + n L)"),
        ("state-t-bso", "the computation state of T-BSO grows by one number per layer and step", "O(n² L + n L + L T)"),
    ):
        yield Claim(f"table1-{name}", "Table 1", statement, order)


def sizes() -> Iterator[Claim]:
    """Yield the claims on the sizes of networks, Tables 2 and 5."""

    def same(claim_id, place, network, size):
        # Two decimals are printed, and two more numbers per channel are one per cent of ResNet-18: no contradiction.
        statement = f"size of the {network}"
        return Claim(
            claim_id, place, statement, f"{size:.2f} MB", "number", value=size, relative=0.01, absolute=0.01
        )  # fmt: skip

    for dataset, steps in (("CIFAR-10", 6), ("CIFAR-100", 6), ("DVS-CIFAR10", 10), ("ImageNet", 4)):
        for method, kind in (("T-BSO", "binary"), ("FP-SNN", "full-precision")):
            net = "ResNet-18" if dataset == "ImageNet" else "VGG-11"
            size = table2(dataset, method, steps, "model_size_mb")
            yield same(f"size-{dataset.lower()}-{kind}", "Table 2", f"{kind} {net} for {dataset}", size)
    size = table5("T-BSO", "model_size_mb")
    yield same("size-gsc-binary", "Table 5", "binary VGG-11 for the 35 words of Google Speech Commands", size)
    smallest = published("table5").query("method != 'T-BSO'")["model_size_mb"].min()
    yield Claim(
        "size-gsc-smallest", "Table 5", "the binary VGG-11 is the smallest network of the table",
        f"{size:.2f} MB against {smallest:.2f} MB and more",
    )  # fmt: skip


def efficiency() -> Iterator[Claim]:
    """Yield what this companion promises of its own code; nothing is published."""

    def promise(name, statement, kind="arithmetic", **fields):
        return Claim(name, "this companion", statement, kind=kind, party="companion", **fields)

    for name, statement in (
        ("step-near-floor", "a training step takes at most 1.2 times its convolutions alone"),
        ("step-two-forward", "a training step is 1.6 times faster than with two forward passes"),
        ("step-compiled", "compiled by torch.compile, it is 1.6 times faster than with two forward passes"),
        ("step-bfloat16", "in bfloat16, not compiled, it is 2.5 times faster than with two forward passes"),
        ("step-spikingjelly", "a training step is 1.6 times faster than that of SpikingJelly's OTTT VGG"),
        ("step-memory", "a packed step needs at most 0.6 of the memory of two forward passes"),
    ):
        yield promise(name, statement, "measured")
    yield promise(
        "exact-accuracy", "exact arithmetic changes the mean accuracy by less than half a point", "equivalence",
        estimand="accuracy in exact arithmetic less accuracy in float32, each method", margin=0.5, seeds=10,
    )  # fmt: skip
    for name, statement in (
        ("state-bytes", "a packed weight in training needs at most 4.2 bytes, 2.2 with bfloat16 momentum"),
        ("packed-flips-alike", "packed layers train as the plain ones do, to the bit"),
        ("packed-file", "a file of a network weighs what Table 2 counts, within 5 %"),
        ("exact-same-digits", "an exact run gives the same digits with other threads, instructions and processes"),
    ):
        yield promise(name, statement)
