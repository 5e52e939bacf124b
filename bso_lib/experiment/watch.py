"""What a run says while it goes on, once each: that it diverges, that nothing flips any more, that everything does."""

import math
import warnings

from bso_lib.experiment.ranks import summed, world, writes

EVERY = 500  # batches between two looks, or an epoch if that is shorter: a look waits for the device
LEAST = 200  # updates whose flips are worth a word
FAR = 10  # times the loss of guessing
OFTEN = 0.25  # of all updates; the sign of noise alone changes in half of them


class Watch:
    """Follows the loss of a run and its flips (``recorder``: a FlipRecorder or None) from now on.

    ``batches``: of an epoch; ``classes``: of the data set, which tell the loss of guessing. All ranks must call it.
    """

    def __init__(self, config, recorder, batches: int, classes: int):
        self.config, self.recorder = config, recorder
        self.every, self.guessing = min(batches, EVERY), math.log(classes)
        self.seen, self.said = 0, set()
        self.start = self._flips()

    def _flips(self):
        """Return (updates, flips of all weights in them) so far."""
        return (self.recorder.updates, int(self.recorder.count.sum())) if self.recorder else (0, 0)

    def after_batch(self, loss, epoch: int):
        """Look, if it is time, at the batch's ``loss``; raises ArithmeticError if that is no number any more."""
        self.seen += 1
        if self.seen % self.every:
            return
        mean = float(summed(loss.detach().clone())) / world()[1]
        if not math.isfinite(mean):
            raise ArithmeticError(f"training diverged in epoch {epoch} (loss {mean}): {self.config}")
        if mean > FAR * self.guessing:
            self._say(
                f"training diverges in epoch {epoch}: a loss of {mean:.3g}, where guessing has {self.guessing:.3g}"
            )
        now = self._flips()
        updates, flips = (b - a for a, b in zip(self.start, now, strict=True))
        if updates < LEAST:
            return
        self.start = now
        share = flips / updates / len(self.recorder.count)
        if flips == 0:
            self._say(f"nothing flips any more in epoch {epoch}: no sign has changed in {updates} updates")
        elif share > OFTEN:
            self._say(f"everything flips in epoch {epoch}: on average a sign changes in {share:.0%} of all updates")

    def _say(self, line):
        kind = line.partition(" in epoch")[0]
        if kind not in self.said and writes():
            warnings.warn(f"{line}; {self._hint(kind)}", stacklevel=4)
        self.said.add(kind)

    def _hint(self, kind):
        c = self.config
        if kind == "training diverges":
            return f"lr={c.lr:g} may be too high"
        if c.method == "ste":
            return f"latent_lr={c.latent_lr:g} may be too {'low' if kind.startswith('nothing') else 'high'}"
        return f"gamma={c.gamma:g} may be too {'high' if kind.startswith('nothing') else 'low'}"
