"""A notebook shows the lines that run: found live, with their equation, and nothing that is not the library's."""

import inspect
import math

import pytest
import torch

from bso_lib import optim, reference
from bso_lib.companion.source import source
from bso_lib.neurons import LIF
from bso_lib.optim import BSO, flips, momentum_


def test_the_lines_stand_under_where_they_are_from_and_their_equation():
    shown = source(momentum_).data
    head, _, code = shown.partition("\n\n")
    line = next(n for n, text in enumerate(inspect.getsource(optim).splitlines(), 1) if "def momentum_(" in text)
    assert head == f"`bso_lib.optim.momentum_`, line {line} · Eq. 11, 13"
    assert code.startswith("```python\ndef momentum_(M, G, beta):\n    if isinstance(")
    assert code.endswith("\n```")
    assert "    return M.mul_(beta).add_(G, alpha=1 - beta)" in code
    assert source(momentum_).data == shown  # the same each time: nbval compares it


def test_a_docstring_is_shown_if_asked_for_and_its_equations_are_named_either_way():
    assert '"""' not in source(flips).data
    assert '"""1 where w * M > threshold' in source(flips, docstring=True).data
    assert "· Eq. 12, 14\n" in source(flips).data
    assert source(reference.tbso_step).data.split("\n")[0].endswith("· Eq. 13, 14")
    assert source(reference.lif_step).data.split("\n")[0].endswith("· Eq. 2, 3")


def test_methods_lose_their_indent_and_what_is_decorated_is_itself():
    forward = source(LIF.forward).data
    assert "\ndef forward(self, current: torch.Tensor) -> Spikes:\n    previous = self.potential\n" in forward
    assert source(LIF().forward).data == forward
    step = source(BSO.step).data  # under torch.no_grad()
    assert "@torch.no_grad()\ndef step(self, closure=None):\n    loss = _closure_loss(closure)" in step
    assert "flip_(W, M, " in step


def test_several_stand_in_the_order_asked_for():
    both = source(flips, momentum_).data
    assert both == f"{source(flips).data}\n\n{source(momentum_).data}"


def test_a_function_of_a_docstring_alone_keeps_it():
    from bso_lib.companion.source import _without_docstring

    assert _without_docstring('def f():\n    """Nothing."""\n') == 'def f():\n    """Nothing."""\n'
    assert _without_docstring("def f():\n    return 1\n") == "def f():\n    return 1\n"


@pytest.mark.parametrize("other", [math.sqrt, torch.sigmoid, inspect.getsource, LIF, optim, "flips", None])
def test_what_is_no_function_of_the_library_is_refused_in_one_line(other):
    with pytest.raises(ValueError, match="is no function or method of bso_lib") as refused:
        source(other)
    assert "\n" not in str(refused.value)


def test_nothing_to_show_is_refused():
    with pytest.raises(ValueError, match=r"source\(\) shows functions of bso_lib: name one"):
        source()
