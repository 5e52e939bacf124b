"""How the rooms tell what is wrong: the nearest right name, and one line in place of a usage text or a stack trace."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from difflib import get_close_matches


def did_you_mean(name, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" with the name of ``known`` that is nearest to ``name``, "" where none is near."""
    if not isinstance(name, str):
        return ""
    by_lower = {each.lower(): each for each in known}
    near = get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""


def stoppable(main: Callable[[], object], name: str):
    """Call ``main``; where Ctrl-C, or a run that a signal stopped, ends it, leave with one line and status 130.

    A warning is a line too.
    """
    warnings.showwarning = lambda message, *_: print(f"{name}: {message}", file=sys.stderr)
    try:
        main()
    except KeyboardInterrupt as stopped:
        said = str(stopped) or "stopped: the same command goes on from what is done"
        if os.environ.get("RANK", "0") == "0":  # of torchrun's processes, the first
            print(f"{name}: {said}", file=sys.stderr)
        leave(130)


def leave(status: int):
    """End the program after an error, with ``status``; one of torchrun's processes at once.

    Threads of its group, which an error leaves behind, could abort it while the interpreter ends. Nothing is left to
    do: files are whole when they get their names, and the system frees locks.
    """
    if "WORLD_SIZE" in os.environ:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


class OneLineParser(argparse.ArgumentParser):
    """A parser of command lines that takes no shortened options and says in one line what is wrong, with status 2."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, **options)

    def error(self, message):
        """Print ``message`` and leave."""
        options = [option for action in self._actions for option in action.option_strings]
        _, unknown, names = message.partition("unrecognized arguments: ")
        self.exit(
            2, f"{self.prog}: {message}{did_you_mean(names.split()[0], options) if unknown else ''}; see --help\n"
        )
