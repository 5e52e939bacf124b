"""Many runs: methods side by side, their tuning, what they will cost, and where they are computed.

planning     what a set of runs will cost, before it starts
launch       several processes for one run, started from a notebook
cluster      runs and notebooks as jobs of a cluster
comparison   the methods that are compared, over seeds
tuning       a search of settings, with the same effort for each of them
pool         processes of one thread each on this machine
machines     one machine plays others: threads, instructions, processes
arithmetic   exact beside float32 arithmetic, over seeds
"""
