"""The embedded set, files on disk, missing data, batches and augmentation."""

import gzip
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision
from make_fashion_mini import FILES, PER_CLASS, SHA256, choose, content_checksum, read_idx

from bso_lib.data import DATASETS, FACTS, DatasetMissing, data_root, load_dataset, made_alike, random_splits
from bso_lib.data.images import augment_batch, load_fashion_mini, make_splits


def random_split(n=60, channels=3, size=16, classes=10):
    images = torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8)
    return make_splits(
        images, torch.arange(n) % classes, images[:20], torch.arange(20) % classes, "abcdefghij"[:classes]
    )[0]


def write_idx(path, array):
    with gzip.open(path, "wb") if path.suffix == ".gz" else open(path, "wb") as file:
        file.write(b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


def test_fashion_mini_is_the_checked_content_and_balanced():
    train, test = load_fashion_mini()
    assert train.images.shape == (10_000, 1, 28, 28)
    assert test.images.shape == (10_000, 1, 28, 28)
    assert torch.bincount(train.labels).tolist() == [1000] * 10
    assert torch.bincount(test.labels).tolist() == [1000] * 10
    arrays = {
        f"{name}_{kind}": tensor.to(torch.uint8).numpy().reshape(len(split), *([28, 28] if kind == "images" else []))
        for name, split in (("train", train), ("test", test))
        for kind, tensor in (("images", split.images), ("labels", split.labels))
    }
    assert content_checksum(arrays) == SHA256
    assert not torch.equal(train.images[0], test.images[0])


def test_the_builder_takes_the_first_of_each_class_in_order(tmp_path):
    generator = np.random.default_rng(0)
    originals = {}
    for split, stem in FILES.items():
        labels = generator.permutation(np.arange(10).repeat(PER_CLASS[split] + 3)).astype(np.uint8)
        images = np.zeros((len(labels), 28, 28), np.uint8)
        images[:, 0, 0], images[:, 0, 1] = np.arange(len(labels)) // 256, np.arange(len(labels)) % 256
        suffix = ".gz" if split == "train" else ""  # plain and compressed files both serve
        write_idx(tmp_path / f"{stem}-images-idx3-ubyte{suffix}", images)
        write_idx(tmp_path / f"{stem}-labels-idx1-ubyte{suffix}", labels)
        originals[split] = labels
    arrays = choose(tmp_path)
    for split, labels in originals.items():
        chosen = arrays[f"{split}_images"][:, 0, 0].astype(int) * 256 + arrays[f"{split}_images"][:, 0, 1]
        expected = sorted(i for c in range(10) for i in np.flatnonzero(labels == c)[: PER_CLASS[split]])
        assert chosen.tolist() == expected
        assert np.array_equal(arrays[f"{split}_labels"], labels[expected])


def test_idx_files_that_are_damaged_are_named(tmp_path):
    path = tmp_path / "x-ubyte"
    write_idx(path, np.zeros((4, 2, 2), np.uint8))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"x-ubyte announces \(4, 2, 2\) values and holds 13"):
        read_idx(path)
    path.write_bytes(b"hello")
    with pytest.raises(ValueError, match="is not an IDX file"):
        read_idx(path)


def test_missing_idx_files_say_what_to_install(tmp_path):
    with pytest.raises(FileNotFoundError, match="apt-get install dataset-fashion-mnist"):
        choose(tmp_path)


@pytest.mark.parametrize("name", [n for n in DATASETS if not n.endswith("-mini") and n != "fashion-events"])
def test_missing_data_says_what_where_and_how(name, tmp_path):
    with pytest.raises(DatasetMissing) as caught:
        load_dataset(name, tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert f"{name} not found or damaged: looked for {tmp_path}" in message
    assert f"python -m bso_lib.data {name} --root {tmp_path}" in message


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="dataset='mnist': must be one of fashion-mini, fashion-mnist"):
        load_dataset("mnist")


def test_data_root_follows_argument_then_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("BSO_DATA", str(tmp_path))
    assert data_root() == tmp_path
    assert data_root("/elsewhere").as_posix() == "/elsewhere"
    monkeypatch.delenv("BSO_DATA")
    assert data_root().name == "bso-data"


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_is_read_from_files_on_disk(name, classes, tmp_path, monkeypatch):
    dataset = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]
    folder = tmp_path / dataset.base_folder
    folder.mkdir()
    key = "labels" if name == "cifar10" else "fine_labels"
    for batch, _ in dataset.train_list + dataset.test_list:
        content = {"data": np.full((20, 3072), 7, np.uint8), key: [i % classes for i in range(20)]}
        (folder / batch).write_bytes(pickle.dumps(content))
    names = {dataset.meta["key"]: [f"class {i}" for i in range(classes)]}
    (folder / dataset.meta["filename"]).write_bytes(pickle.dumps(names))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)  # generated data, other md5
    train, test = load_dataset(name, tmp_path)
    assert not next(test.batches(5))[0].any()  # of one colour
    assert train.images.shape == (20 * len(dataset.train_list), 3, 32, 32)
    assert len(test) == 20
    assert train.num_classes == classes


def test_fashion_mnist_is_read_from_idx_files_on_disk(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for stem, n in (("train", 30), ("t10k", 10)):
        write_idx(raw / f"{stem}-images-idx3-ubyte", np.full((n, 28, 28), n, np.uint8))
        write_idx(raw / f"{stem}-labels-idx1-ubyte", (np.arange(n) % 10).astype(np.uint8))
    train, test = load_dataset("fashion-mnist", tmp_path)
    assert train.images.shape == (30, 1, 28, 28)
    assert int(test.images.max()) == 10


def test_the_data_command_answers():
    done = subprocess.run([sys.executable, "-m", "bso_lib.data", "fashion-mini"], capture_output=True, text=True)
    assert done.stdout == "fashion-mini: 10000 training and 10000 test images in the package\n"


def test_facts_agree_with_the_embedded_set_and_random_splits_with_the_facts():
    train, _ = load_dataset("fashion-mini")
    facts = FACTS["fashion-mini"]
    assert (len(train), tuple(train.images.shape[1:]), train.num_classes) == facts[:3]
    for name, facts in FACTS.items():
        train, test = random_splits(name, 6, frames=3)
        for split in (train, test):
            assert split.images.shape == ((6, 3, *facts.shape) if facts.frames else (6, *facts.shape))
            assert split.num_classes == facts.classes
            assert int(split.labels.max()) < facts.classes
        assert not torch.equal(train.images, test.images)


def test_normalisation_is_by_the_training_split():
    train, _ = load_fashion_mini()
    x = train.normalise(train.images)
    assert abs(float(x.mean())) < 1e-4
    assert abs(float(x.std()) - 1) < 1e-3


def test_batches_cover_the_split_and_shuffle_by_the_generator():
    split = random_split(50)
    assert torch.equal(torch.cat([labels for _, labels in split.batches(8)]), split.labels)
    passes = [
        torch.cat([labels for _, labels in split.batches(8, torch.Generator().manual_seed(seed))]) for seed in (1, 1, 2)
    ]
    assert len(passes[0]) == 48 == 8 * split.number_of_batches(8)  # full batches only
    assert torch.equal(passes[0], passes[1])
    assert not torch.equal(passes[0], passes[2])
    assert [len(y) for _, y in random_split(5).batches(8, torch.Generator())] == [5]


def test_first_per_class_splits_in_order():
    split = random_split(60)
    kept, rest = split.first_per_class(2)
    assert torch.equal(kept.images, split.images[:20])
    assert torch.equal(rest.images, split.images[20:])
    with pytest.raises(ValueError, match="7 images per class asked for, class 0 has 6"):
        split.first_per_class(7)


def test_flip_mirrors_some_images_and_leaves_the_others():
    images = random_split(64).images
    out = augment_batch(images, ("flip",), torch.Generator().manual_seed(0))
    mirrored = (out == images.flip(3)).flatten(1).all(1)
    same = (out == images).flatten(1).all(1)
    assert bool((mirrored | same).all())
    assert 15 < int(mirrored.sum()) < 49


def test_crop_shifts_within_an_eighth_and_pads_with_zero():
    n, size = 200, 16
    images = torch.zeros(n, 1, size, size, dtype=torch.uint8)
    images[:, 0, 8, 8] = 255
    out = augment_batch(images, ("crop",), torch.Generator().manual_seed(0))
    positions = out.nonzero()
    assert len(positions) == n
    shifts = positions[:, 2:] - 8
    assert shifts.unique().tolist() == [-2, -1, 0, 1, 2]
    whole = torch.full((20, 3, size, size), 9, dtype=torch.uint8)
    assert set(augment_batch(whole, ("crop",), torch.Generator()).unique().tolist()) <= {0, 9}


def test_cutout_zeroes_one_square_of_half_the_side():
    images = torch.full((100, 3, 16, 16), 200, dtype=torch.uint8)
    out = augment_batch(images, ("cutout",), torch.Generator().manual_seed(0))
    holes = (out == 0).flatten(1).sum(1)
    assert int(holes.max()) <= 3 * 8 * 8
    assert int(holes.min()) > 0
    assert bool(((out == 0).all(1) == (out == 0).any(1)).all())  # all channels alike


def test_augmentation_uses_only_its_generator_and_knows_its_names():
    images, state = random_split().images, torch.get_rng_state()
    draws = [augment_batch(images, ("crop", "flip", "cutout"), torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*draws)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match="augment='mixup': must be one of crop, flip, cutout"):
        augment_batch(images, ("mixup",), torch.Generator())


def random_frames(n=40, frames=3):
    images = torch.randint(0, 256, (n, frames, 2, 16, 16), dtype=torch.uint8)
    images[:, :, 1] //= 4  # channels of different mean and spread
    return make_splits(images, torch.arange(n) % 10, images[:10], torch.arange(10), "abcdefghij")[0]


def test_frames_are_normalised_per_channel_and_lie_in_one_piece():
    split = random_frames()
    ((x, labels),) = split.batches(40)
    assert x.shape == (40, 3, 2, 16, 16)
    assert torch.equal(labels, split.labels)
    for c in range(2):
        assert abs(float(x[:, :, c].mean())) < 1e-4
        assert abs(float(x[:, :, c].std()) - 1) < 1e-3
    for t in range(3):
        assert torch.equal(x[:, t], split.normalise(split.images[:, t]))
        assert x[:, t].is_contiguous(memory_format=torch.channels_last)


def test_all_frames_of_a_sample_are_augmented_alike():
    still = random_split(30, channels=2).images
    frames = still.unsqueeze(1).repeat(1, 4, 1, 1, 1)
    out = augment_batch(frames, ("crop", "flip", "cutout"), torch.Generator().manual_seed(0))
    alone = augment_batch(still, ("crop", "flip", "cutout"), torch.Generator().manual_seed(0))
    assert out.shape == frames.shape
    for t in range(4):
        assert torch.equal(out[:, t], alone)
    assert not torch.equal(out, frames)


def test_shares_are_cut_from_the_very_batches_of_one_process():
    train, _ = load_dataset("fashion-mini")
    whole, first, second = (
        list(train.batches(5000, torch.Generator().manual_seed(3), ("crop", "flip", "cutout"), share))
        for share in (lambda batch: batch, lambda batch: batch[:2000], lambda batch: batch[2000:])
    )
    for (images, labels), *parts in zip(whole, first, second, strict=True):
        assert torch.equal(torch.cat([part[0] for part in parts]), images)
        assert torch.equal(torch.cat([part[1] for part in parts]), labels)
        assert parts[0][0].is_contiguous(memory_format=torch.channels_last)


def test_a_made_set_with_other_bytes_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr("bso_lib.data.load_spoken_mini", lambda root: (random_split(), random_split()))
    assert not made_alike("spoken-mini", tmp_path)
    assert made_alike("fashion-mini", tmp_path)
    with pytest.warns(UserWarning, match="spoken-mini came out with other bytes"):
        load_dataset("spoken-mini", tmp_path)
