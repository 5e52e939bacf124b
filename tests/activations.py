"""What a forward pass keeps for its backward pass, counted."""

import torch

from bso_lib.neurons import LIF


def activation_bytes_per_neuron(model, images, time_steps) -> float:
    """Return what the forward pass of the last time step keeps for its backward, traces included, in bytes per neuron.

    Weights and statistics are not counted. Packed layers must not have an optimizer yet.
    """
    model.reset_state()
    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    for _ in range(time_steps):
        kept = {}

        def keep(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(images)
    neurons = sum(module.potential.numel() for module in model.modules() if isinstance(module, LIF))
    return sum(size for address, size in kept.items() if address not in own) / neurons
