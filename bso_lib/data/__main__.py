"""Download a data set: ``python -m bso_lib.data cifar10 [--root FOLDER]``; imagenet is checked only."""

import sys

from bso_lib.data import data_root, load_dataset
from bso_lib.data.imagenet import check_imagenet
from bso_lib.terminal.refusals import OneLineParser


def main():
    """Fetch and check one set; what is wrong is one line, with status 2 for what was asked and 1 for what was found."""
    parser = OneLineParser(prog="python -m bso_lib.data", description="Download a data set and check it.")
    parser.add_argument("name", help="one of bso_lib.data.DATASETS")
    parser.add_argument("--root", help="folder to keep it in (default: $BSO_DATA, else ~/.cache/bso-data)")
    arguments = parser.parse_args()
    try:
        if arguments.name == "imagenet":  # it takes a while, so it is asked for here alone
            print(check_imagenet(data_root(arguments.root)))
        train, test = load_dataset(arguments.name, arguments.root, download=True)
    except (ValueError, OSError) as error:  # DatasetMissing and UnreadableImage among them
        print(f"bso_lib.data: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ValueError) else 1)
    where = "the package" if arguments.name in ("fashion-mini", "spoken-mini") else data_root(arguments.root)
    print(f"{arguments.name}: {len(train)} training and {len(test)} test images in {where}")


if __name__ == "__main__":
    main()
