"""What the tests share: small inputs, and deterministic hypothesis runs for CI."""

import os
import signal

import pytest
import torch
from hypothesis import settings

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure():
    """Hear Ctrl-C as in a terminal, children included, also where a shell started the tests in its background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_evidence(monkeypatch):
    """Compute every run: what is kept beside the notebooks is for them."""
    monkeypatch.setenv("BSO_EVIDENCE", "")
    monkeypatch.delenv("BSO_KEEP_EVIDENCE", raising=False)


@pytest.fixture
def tiny_batch():
    """Eight random 1x12x12 images and their labels."""
    return torch.randn(8, 1, 12, 12), torch.randint(10, (8,))
