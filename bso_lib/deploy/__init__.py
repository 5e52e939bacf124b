"""A trained network leaves: one bit per weight on disk, a graph that other tools read, what an inference costs.

architecture   a network described in plain data, and built from it
network_file   what a network weighs, and a file that weighs as much
nir_export     the Neuromorphic Intermediate Representation
efficiency     spikes, synaptic operations and bytes, counted as NeuroBench does
"""
