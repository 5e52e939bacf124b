"""python -m bso_lib: one run from the command line, see ``bso_lib.experiment.command``."""

from bso_lib.experiment.command import main
from bso_lib.terminal.refusals import stoppable

if __name__ == "__main__":
    stoppable(main, "bso_lib")
