#!/usr/bin/env python3
"""Write params.yaml in the form in which `dvc exp run -S` writes it back: run it after editing or merging the file.

One value a line; what would be wider than DVC's 80 columns stands on a line of its own. Comments on lists and mappings
belong on a line above them, or they move with the value.
"""

from pathlib import Path
from typing import Any

from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import modify_yaml
from ruamel.yaml.comments import CommentedMap


def one_value_a_line(node: Any) -> None:
    """Turn `{a: 1, b: 2}` into lines."""
    if isinstance(node, CommentedMap):
        node.fa.set_block_style()
        for value in node.values():
            one_value_a_line(value)


if __name__ == "__main__":
    path = Path(__file__).parents[1] / "params.yaml"
    with modify_yaml(path) as params:
        one_value_a_line(params)
        seed = params["seed"]
    apply_overrides(path, [f"seed={seed}"])  # what DVC itself does with an unchanged value
