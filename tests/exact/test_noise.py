"""The rounding's noise: uniform, pairwise independent, a function of the key alone; rounding with it is unbiased."""

import pytest
import torch

from bso_lib.exact.noise import Key, fractions, mix, rows_and_columns
from bso_lib.exact.passes import round_to_plane

KEY = Key(seed=3, batch=5, t=1, layer=2)


def noise(key, rows=2048, columns=64):
    a, b = rows_and_columns(key, rows, columns, "cpu")
    return ((a[:, None] + b) & 0xFFFF).double() / 2**16


def test_the_hash_is_the_same_for_a_number_and_a_tensor_and_known():
    numbers = [0, 1, 2, 0xFFFFFFFF, 0x12345678]
    assert [mix(n) for n in numbers] == mix(torch.tensor(numbers)).tolist()
    assert mix(1) == 0x514E28B7  # MurmurHash3's finaliser


def test_noise_is_uniform():
    counts = noise(KEY).mul(16).long().flatten().bincount(minlength=16).double()
    assert (counts / counts.mean() - 1).abs().max() < 0.05


def test_two_places_are_uncorrelated():
    """Over keys: within one key two columns differ by the same number in every row."""
    centred = torch.stack([noise(KEY._replace(batch=k), 64, 32) for k in range(500)]) - 0.5
    variance = centred.square().mean()
    for a, b in (
        (centred[:, 1:], centred[:, :-1]),
        (centred[..., 1:], centred[..., :-1]),
        (centred[:, 7:, 3:], centred[:, :-7, :-3]),
        (centred[1:], centred[:-1]),
    ):
        assert abs((a * b).mean() / variance) < 0.02


@pytest.mark.parametrize("field", Key._fields)
def test_every_part_of_the_key_counts(field):
    other = KEY._replace(**{field: getattr(KEY, field) + 1})
    assert (noise(KEY, 64, 8) == noise(other, 64, 8)).double().mean() < 0.05
    large = KEY._replace(**{field: getattr(KEY, field) + 2**32})
    assert not torch.equal(noise(KEY, 64, 8), noise(large, 64, 8))


def test_rows_are_numbered_from_the_first_of_all_ranks(monkeypatch):
    whole, columns = rows_and_columns(KEY, 60, 8, "cpu")
    monkeypatch.setattr("bso_lib.exact.noise.rank_and_ranks", lambda: (2, 3))
    part, same = rows_and_columns(KEY, 20, 8, "cpu")
    assert torch.equal(part, whole[40:])
    assert torch.equal(same, columns)


def test_rounding_is_right_on_average():
    """Over 400 keys the mean of a rounded number is the number, as far as its variance allows."""
    x = torch.arange(-64, 64).float().view(32, 4)
    zero, coefficients = torch.zeros(32, 4), torch.tensor([3 / 64, 0.0, 0.0])[:, None].expand(3, 4).contiguous()
    keys = [KEY._replace(batch=k) for k in range(400)]
    found = torch.stack([round_to_plane(x, torch.ones(()), zero, coefficients, key)[0] for key in keys]).float()
    x = x * (3 / 64)
    assert ((found == x.floor()) | (found == x.ceil())).all()
    deviation = ((x - x.floor()) * (x.ceil() - x)).sqrt() / 20
    assert ((found.mean(0) - x).abs() <= 5 * deviation + 1e-3).all()
    assert abs((found.mean(0) - x).mean()) < 0.01


def test_fractions_start_where_they_are_told():
    assert torch.equal(fractions(9, 10, 0, "cpu")[4:], fractions(9, 6, 4, "cpu"))
