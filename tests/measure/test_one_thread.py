"""What is measured in float32 has the same digits with one thread and with two, and leaves the setting as it was."""

import pytest
import torch

from bso_lib.measure.diagnostics import gradients_over_time
from bso_lib.measure.one_thread import one_thread
from bso_lib.models import vgg11


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_inside_is_one_thread_and_afterwards_as_before(two_threads):
    found = []

    @one_thread()
    def fail():
        found.append(torch.get_num_threads())
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert found == [1]
    assert torch.get_num_threads() == 2


def test_gradients_over_time_do_not_depend_on_the_number_of_threads(two_threads):
    torch.manual_seed(0)
    net, images, labels = vgg11(10, 1, width=0.125), torch.rand(32, 1, 28, 28), torch.arange(32) % 10
    by_two = gradients_over_time(net, images, labels, 2)
    torch.set_num_threads(1)
    by_one = gradients_over_time(net, images, labels, 2)
    assert all(torch.equal(by_one[conv], by_two[conv]) for conv in by_one)
