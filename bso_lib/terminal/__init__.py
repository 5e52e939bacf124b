"""What whoever runs a command sees of it.

refusals     what is wrong in one line, with the nearest right name; how a signal ends a command
progress     a bar, or a plain line now and then for a log file

Nothing here imports torch, so that notebooks/run.py starts without it.
"""
