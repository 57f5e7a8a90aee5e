"""Every registered family keeps the contract, on a tiny random model of its real class."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from flmm.backbones.lmm import TransformersBackbone
from flmm.contract.check import CHECKS, PHOTOGRAPHS, Finding, frozen, geometry, noise, phrases
from flmm.protocols import GROUNDING_PROMPT


@pytest.mark.parametrize("measure", CHECKS.values(), ids=CHECKS)
def test_reading_changes_nothing_and_equals_eager_attention(
    any_backbone: TransformersBackbone, measure: Callable[..., Finding]
) -> None:
    finding = measure(any_backbone, noise(40, 60))
    assert finding.holds, finding


@pytest.mark.parametrize("size", PHOTOGRAPHS, ids=str)
def test_every_cell_shows_the_part_of_the_photograph_that_its_grid_names(
    any_backbone: TransformersBackbone, size: tuple[int, int]
) -> None:
    finding = geometry(any_backbone, *size)
    assert finding.holds, finding


def test_phrases_decode_to_themselves(any_backbone: TransformersBackbone) -> None:
    finding = phrases(any_backbone)
    assert finding.holds, finding


def test_weights_stay_as_they_are(any_backbone: TransformersBackbone) -> None:
    finding = frozen(any_backbone, any_backbone.weights_hash())
    assert finding.holds, finding


def test_grids_and_channels_are_the_same_number_for_every_photograph(
    any_backbone: TransformersBackbone,
) -> None:
    """A head has a fixed number of input channels."""
    counts = {len(any_backbone.encode(noise(*size), "x").grids) for size in (*PHOTOGRAPHS, (8, 9), (140, 20))}
    assert len(counts) == 1


SNAPSHOT = Path(__file__).parents[1] / "families" / "prompts.json"


def prompt_of(backbone: TransformersBackbone) -> dict[str, object]:
    """The prompt's text, runs of image tokens counted, and per grid its size and its tokens' first and last places."""
    encoded = backbone.encode(noise(40, 60), GROUNDING_PROMPT)
    text = backbone.tokenizer.decode(encoded.inputs["input_ids"][0].tolist())
    return {
        "text": re.sub(
            r"(<image>|<unk>)(?:\s?\1)*\s?", lambda run: f"{run[1]} x {run[0].count(run[1])} ", text
        ),
        "grids": {
            grid.name: [grid.rows, grid.columns, int(columns[0]), int(columns[-1])]
            for grid, columns in zip(encoded.grids, encoded.columns, strict=True)
        },
    }


def test_prompt_text_and_image_positions_are_as_recorded(
    any_backbone: TransformersBackbone, request: pytest.FixtureRequest
) -> None:
    """Recorded in tests/families/prompts.json; after an intended change, write it anew with what this prints."""
    family = request.node.callspec.params["any_backbone"][0]
    found = prompt_of(any_backbone)
    assert found == json.loads(SNAPSHOT.read_text())[family], json.dumps({family: found})
