"""The profiles: on a cluster, every rule that wants a GPU gets one."""

import re
from pathlib import Path

import yaml

WORKFLOW = Path(__file__).parents[2] / "workflow"


def test_on_slurm_every_rule_that_wants_a_gpu_asks_for_one() -> None:
    wanting = set()
    for file in (WORKFLOW / "rules").glob("*.smk"):
        for name, body in re.findall(
            r"^rule (\w+):\n(.*?)(?=^\S|\Z)", file.read_text(), re.MULTILINE | re.DOTALL
        ):
            if "gpu=GPU" in body:
                wanting.add(name)
    text = "".join(file.read_text() for file in (WORKFLOW / "rules").glob("*.smk"))
    # A rule that is another one with other outputs wants what that one wants.
    wanting |= {
        made for rule, made in re.findall(r"^use rule (\w+) as (\w+) with:", text, re.M) if rule in wanting
    }
    profile = yaml.safe_load((WORKFLOW / "profiles/slurm/config.yaml").read_text())
    given = {name for name, values in profile["set-resources"].items() if values["gpu"] == 1}
    assert {"extract", "train"} <= wanting
    assert given == wanting
