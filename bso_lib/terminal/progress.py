"""Progress: a bar for whoever watches, and a plain line now and then for a log file."""

import os
import sys

from tqdm import tqdm

FIRST, EVERY = 10, 60  # seconds: of a log, until its first line and between two


def watched() -> bool:
    """Return whether somebody sees what is written over: a terminal or, unless BSO_PROGRESS=lines, a notebook."""
    in_notebook = type(sys.stderr).__module__.startswith("ipykernel") and os.environ.get("BSO_PROGRESS") != "lines"
    return in_notebook or sys.stderr.isatty()


class Progress(tqdm):
    """A tqdm bar, with its arguments; where nobody watches, whole lines instead, and none of what is short."""

    def __init__(self, *arguments, **options):
        self.lines = not watched()
        if self.lines:
            options |= {"delay": FIRST, "mininterval": EVERY, "maxinterval": EVERY, "leave": False, "ascii": True}
            options["bar_format"] = "{desc}: {unit} {n_fmt} of {total_fmt}, {elapsed} passed, {remaining} left"
        super().__init__(*arguments, **options)

    def status_printer(self, file):
        """Return the function that shows a text in ``file``."""
        return super().status_printer(file) if not self.lines else lambda text: file.write(f"{text}\n") and file.flush()

    def close(self):
        """End, and leave a log as it is."""
        if getattr(self, "lines", False) and not self.disable:
            self.disable = True
            self._decr_instances(self)
        super().close()
