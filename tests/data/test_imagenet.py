"""ImageNet's folders: what is not whole is refused; batches do not depend on who reads them; damage is named."""

import subprocess
import sys

import pytest
import torch
from PIL import Image

from bso_lib.data import DatasetMissing, load_dataset
from bso_lib.data.imagenet import MEAN, STD, UnreadableImage, check_imagenet, load_imagenet
from bso_lib.data.images import Split
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.job import Job
from bso_lib.experiment.run import run

NAMES = ("n01", "n02", "n03")
COUNTS = {"train": 12, "val": 6}


def write_images(root):
    """Write JPEGs of several sizes, each of one shade, four per class in train and two in val."""
    for part, count in COUNTS.items():
        for c, name in enumerate(NAMES):
            folder = root / "imagenet" / part / name
            folder.mkdir(parents=True)
            for i in range(count // 3):
                # A grey ramp from left to right, so that crops and mirroring can be told apart.
                ramp = Image.linear_gradient("L").rotate(90).resize((260 + 20 * i, 300 - 10 * c))
                ramp.convert("L" if i == 0 else "RGB").save(folder / f"{name}_{i}.JPEG")
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def damaged(tmp_path):
    return write_images(tmp_path)


def load(root, workers=0):
    return load_imagenet(root, workers, classes=3, images=COUNTS)


def one_pass(split, seed=0, augment=("crop", "flip"), batch_size=5):
    generator = torch.Generator().manual_seed(seed)
    images, labels = zip(*split.batches(batch_size, generator, augment), strict=True)
    return torch.cat(images), torch.cat(labels), generator.get_state()


def test_a_split_has_what_a_split_has(whole):
    train, test = load(whole)
    assert (len(train), len(test), train.num_classes, train.channels, train.classes) == (12, 6, 3, 3, NAMES)
    assert train.labels.bincount().tolist() == [4, 4, 4]
    images, labels = next(test.batches(4))
    assert (images.shape, images.dtype, labels.tolist()) == ((4, 3, 224, 224), torch.float32, [0, 0, 1, 1])
    assert images.is_contiguous(memory_format=torch.channels_last)
    kept, rest = train.first_per_class(3)
    assert (len(kept), len(rest), kept.to("cpu").number_of_batches(4)) == (9, 3, 2)
    assert [train.files[i].rpartition("/")[2] for i in rest.images] == ["n01_3.JPEG", "n02_3.JPEG", "n03_3.JPEG"]
    assert isinstance(train, Split)


def test_evaluation_takes_the_middle_of_the_resized_image_normalised(whole):
    _, test = load(whole)
    image = next(test.batches(1))[0][0]
    pixels = image * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    assert 0 <= float(pixels.min()) < float(pixels.max()) <= 1
    left, right = pixels[:, 112, 0], pixels[:, 112, -1]
    # 260 x 300 pixels become 256 x 295, of which 224 columns are kept: 16 / 256 of the ramp is lost on either side.
    ends = sorted([float(left.mean()), float(right.mean())])
    assert ends == pytest.approx([16 / 256, 1 - 16 / 256], abs=0.02)
    assert torch.equal(torch.cat([x for x, _ in test.batches(4)]), torch.cat([x for x, _ in test.batches(6)]))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pass_does_not_depend_on_the_workers(whole, workers):
    (train, _), (same, _) = load(whole), load(whole, workers)
    state = torch.get_rng_state()
    for a, b in zip(one_pass(train), one_pass(same), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_share_of_a_pass_is_the_part_of_the_whole_pass(whole):
    train, test = load(whole)
    images, labels, state = one_pass(train)
    generator = torch.Generator().manual_seed(0)
    seconds = list(train.batches(5, generator, ("crop", "flip"), lambda batch: batch.tensor_split(2)[1]))
    assert torch.equal(generator.get_state(), state)
    for i, (some, of) in enumerate(seconds):
        assert torch.equal(some, images[5 * i + 3 : 5 * i + 5])
        assert torch.equal(of, labels[5 * i + 3 : 5 * i + 5])
    empty = [len(some) for some, _ in test.batches(5, share=lambda batch: batch.tensor_split(2)[1])]
    assert empty == [2, 0]


def test_a_pass_is_decided_by_the_generator_and_drops_the_last_incomplete_batch(whole):
    train, _ = load(whole)
    images, labels, state = one_pass(train)
    assert len(labels) == 10 == 5 * train.number_of_batches(5)
    again, other = one_pass(train), one_pass(train, seed=1)
    assert torch.equal(images, again[0])
    assert torch.equal(state, again[2])
    assert not torch.equal(labels, other[1])
    assert len({bytes(image.numpy().tobytes()) for image in images}) == 10  # each image has a crop of its own


def test_flip_mirrors_some_images_and_crop_is_another_thing(whole):
    train, _ = load(whole)

    def rising(augment):
        images = torch.cat([one_pass(train, seed, augment, 12)[0] for seed in range(3)])
        return (images[..., -1].mean((1, 2)) > images[..., 0].mean((1, 2))).float().mean()

    assert float(rising(())) in (0.0, 1.0)
    assert 0.2 < float(rising(("flip",))) < 0.8
    assert float(rising(("crop",))) == float(rising(()))
    with pytest.raises(ValueError, match="augment='cutout': must be one of crop, flip for imagenet"):
        next(train.batches(4, torch.Generator(), ("cutout",)))


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_stop_training_by_name_and_are_counted(damaged, workers):
    folder = damaged / "imagenet" / "train" / "n02"
    (folder / "n02_1.JPEG").write_bytes((folder / "n02_1.JPEG").read_bytes()[:200])
    (folder / "n02_3.JPEG").write_bytes(b"")
    train, _ = load(damaged, workers)
    with pytest.raises(UnreadableImage) as caught:
        one_pass(train, batch_size=12)
    message = str(caught.value)
    assert message.startswith("2 unreadable: ")
    assert "n02_1.JPEG (" in message
    assert "n02_3.JPEG (" in message
    assert "\n" not in message
    assert len(train.unreadable(progress=False)) == 2


def test_the_check_counts_over_both_parts(damaged, monkeypatch):
    monkeypatch.setattr("bso_lib.data.imagenet.load_imagenet", load)
    assert check_imagenet(damaged, progress=False) == "all 18 images can be read"
    for part in COUNTS:
        (damaged / "imagenet" / part / "n01" / "n01_0.JPEG").write_bytes(b"no image")
    with pytest.raises(UnreadableImage, match=r"^imagenet: 2 unreadable: .*train.*n01_0\.JPEG.*val.*n01_0\.JPEG"):
        check_imagenet(damaged, progress=False)


def spoil(root, how):
    train, val = root / "imagenet" / "train", root / "imagenet" / "val"
    if how == "no val":
        val.rename(root / "elsewhere")
    elif how == "a class less":
        (train / "n03").rename(root / "n03")
    elif how == "an empty class":
        for path in (train / "n03").iterdir():
            path.unlink()
    elif how == "an image less":
        (train / "n03" / "n03_2.JPEG").unlink()
    elif how == "class archives left":
        (train / "n04.tar").write_bytes(b"")
    elif how == "val not sorted":
        for path in sorted(val.glob("*/*")):
            path.rename(val / path.name)
    elif how == "other classes in val":
        (val / "n03").rename(val / "n09")


@pytest.mark.parametrize(
    ("how", "where", "message"),
    [
        ("no val", "val", "there is no such folder"),
        ("a class less", "train", "half extracted: 2 class folders of 3"),
        ("an empty class", "train", "half extracted: 1 class folders without an image, such as n03"),
        ("an image less", "train", "half extracted: 11 images of 12"),
        ("class archives left", "train", "half extracted: 1 archives such as n04.tar must become folders"),
        ("val not sorted", "val", "6 images such as n01_0.JPEG lie in no class folder: sort them into class folders"),
        ("other classes in val", "val", "its class folders are not those of train: n03 is in one only"),
    ],
)
def test_a_set_that_is_not_whole_is_refused_with_the_reason(damaged, how, where, message):
    spoil(damaged, how)
    with pytest.raises(DatasetMissing) as caught:
        load(damaged)
    expected = f"imagenet not found or damaged: looked for {damaged / 'imagenet' / where} ({message}). "
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


def test_a_small_set_is_not_imagenet(whole):
    with pytest.raises(DatasetMissing, match="half extracted: 3 class folders of 1000"):
        load_dataset("imagenet", whole)


def test_the_check_command_reports_in_one_line(tmp_path):
    command = [sys.executable, "-m", "bso_lib.data", "imagenet", "--root", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    found = f"bso_lib.data: imagenet not found or damaged: looked for {tmp_path / 'imagenet' / 'train'}"
    assert done.stderr.startswith(found)
    assert done.stderr.count("\n") == 1


def test_a_run_on_it_resumes_to_the_same_images(whole, monkeypatch, tmp_path):
    monkeypatch.setattr("bso_lib.data.imagenet.load_imagenet", load)
    config = RunConfig(
        model="resnet18", dataset="imagenet", width=1 / 64, time_steps=1, epochs=2, batch_size=4,
        augment=("crop", "flip"), device="cpu",
    )  # fmt: skip
    real = Job.checkpoint

    def checkpoint(job, folder, epoch):
        real(job, folder, epoch)
        raise KeyboardInterrupt

    histories = []
    for name, interrupted in (("whole", False), ("cut", True)):
        monkeypatch.setenv("BSO_CACHE", str(tmp_path / name))
        if interrupted:
            with monkeypatch.context() as patch:
                patch.setattr(Job, "checkpoint", checkpoint)
                with pytest.raises(KeyboardInterrupt):
                    run(config, root=whole, progress=False)
        histories.append(run(config, root=whole, progress=False).history)
    assert histories[0].equals(histories[1])
    assert len(histories[0]) == 2
