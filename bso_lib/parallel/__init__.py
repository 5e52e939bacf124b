"""One run on several devices, and many runs on several machines.

    synchronised    BatchNorm over the samples of all ranks
    group           torchrun's ranks: shares of a batch, averaged gradients, rank 0 writes
    launch          several processes, started from a notebook
    exchange        three ways to agree on flips: gradients, owners of M, votes
    communication   the bytes they send, by formula and counted
    cluster         runs and notebooks as jobs of a cluster

Of these, each imports only from those above it.
"""
