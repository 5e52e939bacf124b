"""Training whose every sum is a sum of whole numbers: the same bits on every machine.

Spikes are 0 or 1 and binary weights -1 or +1, so what a layer adds up are whole numbers, and whole numbers below 2^24
(in float32; 2^53 in float64) add up to the same in any order: on any number of threads, with any instructions, split
among any number of ranks. `convert` makes a network exact, in the way of ``pack(model)``; `fixed_point` writes real
numbers as whole ones times a power of two, `noise` rounds them at random but reproducibly, and `agreement` lets all
ranks round alike; `kernels` are the convolutions, with the certificate of their sums, and `integer` the same in 8
bits where the processor has instructions for it; `conv_norm`, `lif`, `pooling`, `linear` and `loss` the layers,
computed in the `passes` between two convolutions (on a CPU by `loops`, those in `compiled` and `compiled_spikes`);
`descent` the step of the real-valued parameters; `start` draws the first weights.
"""
