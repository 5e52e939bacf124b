"""Many runs: methods side by side, their tuning, what they will cost, and where they are computed.

planning     what a set of runs will cost, before it starts
launch       several processes for one run, started from a notebook
cluster      runs and notebooks as jobs of a cluster
comparison   the methods that are compared, over seeds
tuning       the same small grid of settings for each of them
machines     one machine plays others: threads, instructions, processes
arithmetic   exact beside float32 arithmetic, over seeds
"""
