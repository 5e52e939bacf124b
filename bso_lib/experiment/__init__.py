"""One run: ``run(RunConfig(...))``, seeded, cached and resumable, alone or on the ranks of a process group.

config           RunConfig, checked when built
build            what a run trains with: network, optimizers, schedulers, the step
ancestors        earlier rules for flipping weights: Bop and BOLD
published_code   the published code's choices, where they differ from the paper
flips            which weights flip and when, recorded in every run
ranks            torchrun's processes: shares of a batch, averaged gradients; rank 0 writes
synchronised     BatchNorm over the samples of all ranks
checkpoint       checkpoints that resume exactly
watch            what a run says while it goes on: it diverges, nothing flips, everything flips
job              a run under way: an epoch, a checkpoint, an exact resume
fingerprint      a hash of the code that computes a run
machine          what of this machine decides a run's digits
pauses           checkpoints within an epoch, by minutes and by signals
paths            where results lie
result           what a finished run leaves
evidence         what runs found, kept beside the notebooks and looked up by what was asked
kept_networks    the few networks that a notebook opens, beside the evidence
sealed           the files of a finished run, with a checksum of each
shortage         what memory there is, and what a run says when it does not suffice
run              from a RunConfig to its result
vouch            some kept runs computed again and compared, for make vouch
checksum         one fixed exact run and the SHA-256 of what it learned
command          python -m bso_lib
"""
