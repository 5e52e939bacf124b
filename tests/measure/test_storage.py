"""Storages are counted once, under the first of their uses, and until they are freed."""

import torch

from bso_lib.measure.storage import StorageTracker


def alive(tracker):
    """The bytes that are not zero at the end of the tracker's timeline."""
    return {name: value for name, value in tracker.timeline().iloc[-1].items() if value}


def test_storages_are_counted_once_and_until_they_are_freed():
    with StorageTracker() as tracker:
        tracker.begin()
        x = torch.zeros(4, 8)
        view = x[1:].t()
        assert alive(tracker) == {"temporary": 128}
        y = x + 1
        z = y.double()
        assert alive(tracker) == {"temporary": 128 + 128 + 256}
        del x
        assert alive(tracker) == {"temporary": 128 + 128 + 256}  # the view keeps it
        del view, z
        assert alive(tracker) == {"temporary": 128}
    del y
    assert tracker.timeline().sum(axis=1).tolist() == [128, 256, 512, 384, 128, 0]


def test_a_storage_belongs_to_the_first_of_its_categories():
    before = torch.zeros(10)  # made outside
    with StorageTracker() as tracker:
        other = torch.zeros(5)
        tracker.mark("activations", [before, other])
        tracker.mark("neuron state", [before])
        tracker.mark("activations", [before])
        tracker.begin()
        assert alive(tracker) == {"neuron state": 40, "activations": 20}
        del other
        assert alive(tracker) == {"neuron state": 40}
    assert tracker.timeline().sum(axis=1).tolist() == [60, 40]


def test_what_a_linear_layer_saves_and_its_gradients_by_hand():
    layer = torch.nn.Linear(8, 2)
    with StorageTracker() as tracker:
        x = torch.randn(4, 8)
        tracker.mark("weights", layer.parameters())
        tracker.mark("input", [x])
        for p in layer.parameters():
            p.register_post_accumulate_grad_hook(lambda p: tracker.mark("gradients", [p.grad]))

        def saved(tensor):
            tracker.mark("activations", [tensor])
            return tensor.detach()

        with torch.autograd.graph.saved_tensors_hooks(saved, lambda tensor: tensor):
            out = layer(x).sigmoid().sum()  # sigmoid saves its output, the linear layer x and its weight
            before = alive(tracker)
            out.backward()
    weights = 4 * (2 * 8 + 2)
    assert before == {"weights": weights, "input": 4 * 4 * 8, "activations": 4 * 4 * 2, "temporary": 4}
    assert alive(tracker) == {"weights": weights, "input": 4 * 4 * 8, "gradients": weights, "temporary": 4}
