"""Arrays kept on disk: computed once, checked, computed again when damaged."""

import numpy as np
import pytest

from bso_lib.data.stored import content_checksum, stored_arrays


def test_arrays_are_computed_once_and_again_when_damaged(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"a": np.arange(1000), "b": np.zeros(3, np.uint8)}

    path = tmp_path / "new" / "x.npz"
    for _ in range(2):
        arrays = stored_arrays(path, compute)
        assert content_checksum(arrays) == content_checksum({"a": np.arange(1000), "b": np.zeros(3, np.uint8)})
    assert len(calls) == 1
    for damage in (path.read_bytes()[:-40], b"", b"text"):
        path.write_bytes(damage)
        with pytest.warns(UserWarning, match=r"x\.npz is damaged .* computed again"):
            stored_arrays(path, compute)
    np.savez(path, checksum=np.array("0" * 64), a=np.arange(1000))
    with pytest.warns(UserWarning, match="does not match its checksum"):
        stored_arrays(path, compute)
    assert len(calls) == 5


def test_an_interrupted_computation_leaves_nothing(tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    path = tmp_path / "x.npz"
    with pytest.raises(KeyboardInterrupt):
        stored_arrays(path, interrupted)
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".lock"] == []
    assert stored_arrays(path, lambda: {"a": np.ones(2)})["a"].tolist() == [1, 1]
