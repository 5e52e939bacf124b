"""Claims on why the algorithm works: its weights and gradients, its flips and its regret."""

from collections.abc import Iterator

from bso_lib.companion.claim import Claim


def latent_weights() -> Iterator[Claim]:
    """Yield the claims on what latent weights do and cost."""
    place = "Sec. 4.1, Fig. 1"
    yield Claim(
        "weights-stay-binary", "Algorithm 1", "BSO's and T-BSO's weights are -1 or +1 after training", "no number",
    )  # fmt: skip
    yield Claim("latent-sign-only", place, "latent weights act only through their sign", "no number")
    yield Claim(
        "bso-below-latent-memory", place,
        "BSO keeps fewer bytes per binary weight while it trains than latent weights with momentum do", "no number",
    )  # fmt: skip
    yield Claim(
        "bso-rule-is-bop", "Eq. 11, 12",
        "BSO's flip rule is Bop's (Helwegen et al. 2019): flip where w M exceeds a threshold, M an exponential mean of "
        "the gradient; to the bit, ties left out",
        "not said; new in BSO are online spiking gradients, in T-BSO, beside Bop's second-order variant, one second "
        "moment per layer and time step",
        party="companion",
    )  # fmt: skip


def gradients() -> Iterator[Claim]:
    """Yield the claims on gradients over time, on each data set of Fig. 3."""
    for dataset, name, never in (
        ("CIFAR-10", "cifar10", ""),
        ("CIFAR-100", "cifar100", "no profile compares gradients there"),
        ("ImageNet", "imagenet", "no profile compares gradients there"),
    ):
        ending = "" if name == "cifar10" else f"-{dataset.lower()}"
        yield Claim(
            f"gradients-differ-in-direction{ending}", "Fig. 3",
            f"the weight gradients of different time steps point in different directions, {dataset}",
            "heat maps, no number", "below", unit="",
            estimand="mean cosine of the gradients of different time steps, the larger of before and after training",
            margin=0.9, seeds=5, asks={"dataset": name}, never=never,
        )  # fmt: skip
    yield Claim(
        "gradients-differ-in-size", "Fig. 3, Eq. 14",
        "the weight gradients of different time steps differ in size: one threshold does not fit all", "no number",
        "above", unit="",
        estimand="largest over smallest threshold of a layer, the smaller of before and after training",
        margin=1.1, seeds=5, asks={"dataset": "cifar10"},
    )  # fmt: skip


def flips() -> Iterator[Claim]:
    """Yield the claims on flips over time."""
    settles = {"place": "Thm 4.1", "published": "no number", "unit": "", "seeds": 5, "free": ("schedule",)}
    yield Claim(
        "decay-settles-weights", statement="with gamma and 1 - beta falling as 1/sqrt(k), T-BSO's weights flip less "
        "and less: at the end at most half as often as at the start",
        kind="below", estimand="FF ratio of the last epoch over that of the first", margin=0.5, **settles,
    )  # fmt: skip
    yield Claim(
        "decay-settles-more", statement="so falling, T-BSO's weights settle more than with constants",
        kind="superiority", estimand="FF ratio of the last epoch over the first: constants less decay", **settles,
    )  # fmt: skip


def regret() -> Iterator[Claim]:
    """Yield the claims on Theorem 4.1, Corollary 4.2 and their proofs."""
    played = {"kind": "simulation"}
    # Slopes of R(K) over K in a doubly logarithmic plot, with a twentieth granted to rounds that are finite.
    rates = {"BSO": {"margin": 0.5, "absolute": 0.05, **played}, "T-BSO": {"margin": 0.75, "absolute": 0.05, **played}}
    slow, literal = "1 - beta ~ 1/sqrt(k)", "beta ~ 1/sqrt(k) as in Eq. 30"
    for bound, average, name, momentum, rate, falls, cases in (
        (15, 17, "BSO", "|M_k|_inf", "K^(1/2)", "K^(-1/2)", {"linear": slow, "quadratic": slow}),
        (16, 18, "T-BSO", "|M_k/sqrt(v_k+eps)|_inf", "K^(3/4)", "K^(-1/4)",
         {"linear": slow, "quadratic": slow, "linear, eq30": literal}),
    ):  # fmt: skip
        place, sums = f"Theorem 4.1, Eq. {bound}", f"R(K) <= 2 sum gamma_k + 2 sum {momentum} = O({rate})"
        below = f"{name}'s regret stays below the right-hand side of Eq. {bound}"
        yield Claim(
            f"eq{bound}", place, f"{below}, and that is O({rate}): any convex losses", sums, universal=True, **played
        )
        yield Claim(f"eq{bound}-iid-linear", place, f"{below}: i.i.d. linear losses", sums, **played)
        place, mean = f"Corollary 4.2, Eq. {average}", f"R(K)/K = O({falls})"
        fast = f"{name}'s average regret falls as {falls}"
        yield Claim(f"eq{average}", place, f"{fast}: any convex losses", mean, universal=True, **rates[name])
        for case, reading in cases.items():
            kind = case.split(",")[0]
            claim_id = f"eq{average}-iid-{case.replace(', ', '-')}"
            yield Claim(claim_id, place, f"{fast}: i.i.d. {kind} losses, {reading}", mean, **rates[name])
    yield Claim(
        "eq27", "Appendix A, Eq. 27", "BSO's |M_k|_inf is O(1/sqrt(k)): any convex losses", "O(1/sqrt(k))",
        universal=True, **(rates["BSO"] | {"margin": -0.5}),
    )  # fmt: skip
    yield Claim(
        "eq34", "Appendix A, Eq. 34",
        "T-BSO's |M_k/sqrt(v_k+eps)|_inf falls fast enough for the sum in Eq. 16 to be O(K^(3/4)): any convex losses",
        "sum |M_k/sqrt(v_k+eps)|_inf = O(K^(3/4))", universal=True, **rates["T-BSO"],
    )  # fmt: skip


def guarantees() -> Iterator[Claim]:
    """Yield what this companion proves in the place of Theorem 4.1, gradients of length at most 1."""
    mean = "BSO's expected pseudo-regret on i.i.d. linear losses is at most 2 sqrt(d) +"
    for name, statement in (
        ("regret-any-rule", "for every rule without a coin there are linear losses in one dimension with R(K) >= K"),
        ("regret-fixed-loss", "on the fixed convex loss (w_1 + w_2)^2 / 8, from (1, 1), R(K) = K/2 for BSO and T-BSO"),
        ("regret-tracking", "R(K) <= <g_1, W_1 - W*> + 2 d sum gamma_k + 2 sum |g_k - M_{k-1}|_1: any convex losses"),
        ("regret-iid-plain-mean", f"{mean} 4 (1 + a) sqrt(d K): 1 - beta_k = 1/k, gamma_k = a / sqrt(d k)"),
        ("regret-iid-longer-mean",
         f"{mean} 8/3 (1 + a) sqrt(d) K^(3/4): 1 - beta_k = 1/sqrt(k), gamma_k <= a d^(-1/2) k^(-1/4)"),
        ("regret-random-threshold",
         "with a random threshold E R(K) <= sqrt(2 d K) on linear losses that are written down beforehand"),
    ):  # fmt: skip
        yield Claim(name, "this companion", statement, party="companion")
