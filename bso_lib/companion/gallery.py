"""All figures of a profile, with the captions in captions.csv, and the whole ledger: figures/<profile>/README.md.

python -m bso_lib.companion.gallery --profile laptop
"""

import argparse
from pathlib import Path

import pandas as pd

from bso_lib.companion.ledger import counts, ledger, markdown, parts
from bso_lib.data.stored import write_atomically
from bso_lib.experiment.paths import figures_folder


def gallery(profile: str) -> str:
    """Return the page of ``profile`` in Markdown; raises ValueError unless captions and pictures belong together."""
    captions = pd.read_csv(Path(__file__).with_name("captions.csv"))
    captions["file"] = captions["notebook"] + "-" + captions["figure"] + ".png"
    folder = figures_folder(profile)
    named, there = set(captions["file"]), {path.name for path in folder.glob("*.png")}
    if named != there:
        raise ValueError(
            f"{folder} and captions.csv differ; without a caption: {', '.join(sorted(there - named)) or 'none'}; "
            f"without a picture: {', '.join(sorted(named - there)) or 'none'}"
        )
    lines = [
        f"# The figures and the ledger of the {profile} profile",
        "Written by `make reproduce`, never by hand. The numbers of each picture, with data set, seeds, device and "
        "versions, are in the csv of the same name beside it.",
    ]
    for (notebook, question), figures in captions.groupby(["notebook", "question"]):
        lines.append(f"## {question}\n\n[Notebook {notebook.partition('-')[0]}](../../notebooks/{notebook}.ipynb)")
        lines += [f"![{row.caption}]({row.file})\n\n{row.caption}" for row in figures.itertuples()]
    table = ledger(profile)
    lines.append(
        "# The ledger\n\nA verdict by seeds reads the interval at Holm's level. Each row's n, 95 % interval and "
        "runs are in [99-ledger-verdicts.csv](99-ledger-verdicts.csv)."
    )
    for heading, part in parts(table).items():
        run = part["verdict"] != "not run"
        lines += [
            f"## {heading}\n\n{len(part)}: {counts(part)}.",
            markdown(
                part[run], ["verdict", "statement", "place", "published", "ours", "seeds_needed", "test", "conditions"]
            ),
        ]
        if not run.all():
            lines += ["### Not run", markdown(part[~run], ["place", "statement", "published", "conditions"])]
    return "\n\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(prog="python -m bso_lib.companion.gallery", description="Write a profile's page.")
    parser.add_argument("--profile", default="laptop")
    profile = parser.parse_args().profile
    write_atomically(figures_folder(profile) / "README.md", gallery(profile).encode())


if __name__ == "__main__":
    main()
