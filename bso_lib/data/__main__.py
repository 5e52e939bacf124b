"""Download a data set: ``python -m bso_lib.data cifar10 [--root FOLDER]``; imagenet is checked only."""

import argparse

from bso_lib.data import DATASETS, DatasetMissing, data_root, load_dataset
from bso_lib.data.imagenet import UnreadableImage, check_imagenet

parser = argparse.ArgumentParser(prog="python -m bso_lib.data", description="Download a data set and check it.")
parser.add_argument("name", choices=DATASETS)
parser.add_argument("--root", help="folder to keep it in (default: $BSO_DATA, else ~/.cache/bso-data)")
arguments = parser.parse_args()
if arguments.name == "imagenet":  # it takes a while, so it is asked for here alone
    try:
        print(check_imagenet(data_root(arguments.root)))
    except (DatasetMissing, UnreadableImage) as error:
        parser.exit(1, f"{error}\n")
train, test = load_dataset(arguments.name, arguments.root, download=True)
where = "the package" if arguments.name in ("fashion-mini", "spoken-mini") else data_root(arguments.root)
print(f"{arguments.name}: {len(train)} training and {len(test)} test images in {where}")
