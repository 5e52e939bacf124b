"""Claims that what the published code does otherwise than the text does not matter."""

from collections.abc import Iterator

from bso_lib.registry.claim import Claim

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


def choices() -> Iterator[Claim]:
    """Yield the claims on the published code's choices."""
    for name, (place, words) in CODE_CHOICES.items():
        yield Claim(
            f"code-{name}", f"{place}, published code", f"T-BSO's accuracy does not suffer from {words}", "no number"
        )
