"""python -m bso_lib: one run from the command line, see ``bso_lib.experiment.command``."""

from bso_lib.data.refusals import stoppable
from bso_lib.experiment.command import main

if __name__ == "__main__":
    stoppable(main, "bso_lib")
