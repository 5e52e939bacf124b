"""Build the embedded set fashion-mini from the original Fashion-MNIST IDX files.

    python docs/embedded-data/make_fashion_mini.py --source /usr/share/datasets/fashion-mnist --out fashion-mini.npz

Debian's package ``dataset-fashion-mnist`` installs the files there. Chosen are the first 1,000 training images of
each class and all 10,000 test images, in their original order, so that the choice needs no random number.
"""

import argparse
import gzip
import os
import struct
from pathlib import Path

import numpy as np

from bso_lib.data.stored import content_checksum

PER_CLASS = {"train": 1000, "test": 1000}
FILES = {"train": "train", "test": "t10k"}
SHA256 = "c4a58a7dc57f2eb9abfeac50e567461acb14d3886e0d2d5d0073f4d6bfa01c8f"


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes (plain or .gz), the format of MNIST; raises ValueError if it is damaged."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        content = file.read()
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    shape = struct.unpack_from(f">{content[3]}I", content, 4)
    array = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
    if array.size != np.prod(shape):
        raise ValueError(f"{path} announces {shape} values and holds {array.size}: it is cut short or damaged")
    return array.reshape(shape)


def find(source: Path, stem: str) -> Path:
    """Return ``source/stem`` or its .gz; raises FileNotFoundError naming both."""
    for path in (source / stem, source / f"{stem}.gz"):
        if path.exists():
            return path
    raise FileNotFoundError(
        f"neither {stem} nor {stem}.gz in {source}: on Debian, apt-get install dataset-fashion-mnist and give "
        "--source /usr/share/datasets/fashion-mnist"
    )


def choose(source: Path) -> dict[str, np.ndarray]:
    """Return the four arrays of fashion-mini: train and test images (N, 28, 28) and labels (N,), all uint8."""
    arrays = {}
    for split, per_class in PER_CLASS.items():
        images = read_idx(find(source, f"{FILES[split]}-images-idx3-ubyte"))
        labels = read_idx(find(source, f"{FILES[split]}-labels-idx1-ubyte"))
        index = np.sort(np.concatenate([np.flatnonzero(labels == c)[:per_class] for c in range(10)]))
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images[index], labels[index]
    return arrays


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with the four IDX files, plain or .gz")
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    arguments = parser.parse_args()
    arrays = choose(arguments.source)
    checksum = content_checksum(arrays)
    temporary = arguments.out.with_suffix(".part.npz")
    np.savez_compressed(temporary, **arrays)
    os.replace(temporary, arguments.out)
    print(f"{arguments.out}: {checksum} ({'as' if checksum == SHA256 else 'NOT as'} expected)")


if __name__ == "__main__":
    main()
