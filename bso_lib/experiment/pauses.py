"""When a run stores its state within an epoch, and how a signal ends it: between two batches, with nothing lost.

Every BSO_CHECKPOINT_MINUTES minutes (10 where it is not set; 0: after every batch) a checkpoint is written. A signal is
answered after the batch under way, and after a checkpoint:

SIGUSR1             the run goes on
SIGINT, SIGTERM     :class:`Interrupted`, with one line that says how to go on; Ctrl-C a second time ends at once
any other program's own handler of these and of SIGUSR2, such as submitit's for Slurm, is called then

Of several ranks one that got a signal is enough; they look at the same batch.
"""

import math
import os
import signal
import threading
import time

from bso_lib.experiment.ranks import gathered, world

MINUTES = 10.0
_LOOK = 2.0  # seconds between two looks of several ranks, as each costs them an exchange


class Interrupted(KeyboardInterrupt):
    """A signal ended a run, after a checkpoint; the message is the line that tells how to go on."""


def checkpoint_minutes() -> float:
    """Return $BSO_CHECKPOINT_MINUTES, else 10; raises ValueError for what is no number of at least 0."""
    text = os.environ.get("BSO_CHECKPOINT_MINUTES") or str(MINUTES)
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not minutes >= 0:
        raise ValueError(f"BSO_CHECKPOINT_MINUTES={text!r}: must be a number of minutes, at least 0")
    return minutes


class Pauses:
    """Says after each batch whether a checkpoint is due; while entered, signals wait for :meth:`act`.

    Handlers can be set in the main thread alone: in another one, only the minutes count.
    """

    def __init__(self):
        self.seconds = 60 * checkpoint_minutes()
        self.before = {}  # the handlers of whoever was there first
        self._last = self._looked = time.monotonic()  # which no change of the clock moves
        self._got = self._voted = 0  # a signal's number
        self._batches = self._ahead = 1  # of several ranks: between two looks, until the next one

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
                before = signal.getsignal(number)
                foreign = before in (signal.SIG_IGN, None) or (number == signal.SIGUSR2 and before == signal.SIG_DFL)
                if not foreign:
                    self.before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind, *_):
        for number, before in self.before.items():
            signal.signal(number, before)
        if kind is None and self._got:
            self._voted = self._got
            self.act("at the end of a run, which is kept")

    def _note(self, number, frame):
        if number == signal.SIGINT == self._got:
            raise Interrupted("stopped at once: the same command goes on from the last checkpoint")
        self._got = number

    def due(self, at_once: bool = False) -> bool:
        """Return whether to write a checkpoint now, the same on every rank.

        ``at_once``: ask the other ranks now, not at the next look.
        """
        late = time.monotonic() - self._last >= self.seconds
        if world()[1] == 1:
            self._voted = self._got
            return late or self._voted > 0
        self._ahead -= 1
        if self._ahead > 0 and not at_once:
            return False
        now, passed = time.monotonic(), self._batches - max(self._ahead, 0)
        wanted = min(1000, max(1, int(passed * _LOOK / max(now - self._looked, 1e-6))))
        votes = gathered((late, self._got, wanted))
        late, _, self._batches = votes[0]
        self._ahead, self._looked = self._batches, time.monotonic()
        self._voted = max(got for _, got, _ in votes)
        return late or self._voted > 0

    def act(self, where: str):
        """Do what the signal asks for, once a checkpoint is written; ``where``: of the run, in words."""
        self._last = time.monotonic()
        number, self._voted, self._got = self._voted, 0, 0
        before = self.before.get(number, signal.SIG_DFL)
        if number == 0 or (number == signal.SIGUSR1 and before == signal.SIG_DFL):
            return
        if before not in (signal.SIG_DFL, signal.default_int_handler):
            before(number, None)
            return
        raise Interrupted(f"stopped by {signal.Signals(number).name} {where}: the same command goes on from there")
