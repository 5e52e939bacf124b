"""Instruments: they look at a network or a run and return tables; none changes what a run computes.

one_thread        what measures in float32 uses one thread
diagnostics       a neuron, a weight, gradients over time, flips
latent            what latent weights do, and what they do not
frame_order       frames shown in another order, or only the first
network_regret    the regret of a network in training
network_tracking  how badly its momentum predicts the next gradient
storage           the storage of every tensor, followed until it is freed
memory            the bytes of a training step by category, also at a size that does not fit
exchange          three ways in which ranks can agree on flips
communication     the bytes these send, by formula and counted
"""
