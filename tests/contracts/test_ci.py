"""What continuous integration runs is one script, here and for those who fork the project on GitHub."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_the_workflow_calls_the_script_and_the_script_calls_make():
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in script if line.startswith("make ")]
    assert commands == [
        "make lint", "make test", "make -j2 reproduce PROFILE=quick", "make dry-run", "make vouch", "make book",
    ]  # fmt: skip
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert [step["run"] for step in workflow["jobs"]["ci"]["steps"] if "run" in step] == ["bash .ci/run"]
    assert workflow["jobs"]["ci"]["strategy"]["matrix"]["python-version"] == ["3.11", "3.13"]
