"""BSO and T-BSO, binary spiking online optimizers, and what it takes to reproduce their paper.

Start with ``bso_lib.optim`` (the two optimizers) and ``bso_lib.experiments`` (``run(RunConfig(...))``); equation, table
and figure numbers are those of "BSO: Binary Spiking Online Optimization Algorithm", ICML 2025.
"""
