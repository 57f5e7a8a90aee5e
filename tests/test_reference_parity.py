"""Our mask head, SAM encoder and refiner against recorded outputs of the authors' code.

The recordings lie in the directory ``FLMM_REFERENCE_DIR`` (default: ``../shared/reference``).
"""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from flmm.heads.checkpoint import load_published
from flmm.heads.model import GroundingHead, build_head
from flmm.heads.sam import SamSegmenter, build_sam
from flmm.heads.weights import load_strictly, read_weights
from flmm.params import Head

REFERENCE = Path(
    os.environ.get("FLMM_REFERENCE_DIR", Path(__file__).resolve().parents[1] / ".." / "shared" / "reference")
)
TOLERANCE = 1e-4
# The recorded refined logits are small (at most 0.09): a share of them tells more than the tolerance itself.
RELATIVE = 1e-4
CONTAINERS = ["checkpoint.pth", "checkpoint.safetensors"]

pytestmark = pytest.mark.skipif(
    not (REFERENCE / "cases.safetensors").is_file(),
    reason=f"no recorded reference in {REFERENCE}; set FLMM_REFERENCE_DIR",
)


@pytest.fixture(scope="module")
def cases() -> dict[str, torch.Tensor]:
    return load_file(REFERENCE / "cases.safetensors")


@pytest.fixture(scope="module")
def sam() -> SamSegmenter:
    """The recorded SAM: the encoder from its own file, the rest from the checkpoint."""
    sam = build_sam(json.loads((REFERENCE / "config.json").read_text())["sam"])
    published = load_published(REFERENCE / "checkpoint.safetensors")
    weights = read_weights(REFERENCE / "sam_image_encoder.safetensors")
    prefix = "sam.model."
    weights |= {
        name.removeprefix(prefix): value for name, value in published.items() if name.startswith(prefix)
    }
    load_strictly(sam, weights, REFERENCE)
    return SamSegmenter(sam)


def untrained_head() -> GroundingHead:
    config = json.loads((REFERENCE / "config.json").read_text())
    return build_head(
        Head(base_channels=config["unet"]["base_channels"], upsample=config["unet"]["upsample_input"]),
        channels=config["unet"]["in_channels"],
        layers=config["text"]["layers"],
        hidden_width=config["text"]["hidden_size"],
        segmenter=SamSegmenter(build_sam(config["sam"])),
        seed=config["seed"],
    ).eval()


@pytest.fixture(scope="module", params=CONTAINERS)
def head(request: pytest.FixtureRequest) -> GroundingHead:
    head = untrained_head()
    load_strictly(head, load_published(REFERENCE / request.param), REFERENCE / request.param)
    return head


def assert_equal_to_recording(ours: torch.Tensor, recorded: torch.Tensor) -> None:
    assert ours.shape == recorded.shape
    difference = (ours - recorded).abs().max().item()
    assert difference <= min(TOLERANCE, RELATIVE * recorded.abs().max().item())


@pytest.mark.parametrize("shape", ["square", "wide", "tall"])
@torch.no_grad()
def test_mask_logits_equal_the_authors(
    head: GroundingHead, cases: dict[str, torch.Tensor], shape: str
) -> None:
    assert_equal_to_recording(head.mask_head(cases[f"case.{shape}.attention"]), cases[f"case.{shape}.logits"])


def test_the_image_embedding_equals_the_authors(sam: SamSegmenter, cases: dict[str, torch.Tensor]) -> None:
    image = cases["sam.image"].numpy()
    assert sam.preprocess(image).shape == (1, 3, 1024, 1024)
    assert_equal_to_recording(sam.embed(image), cases["sam.image_embedding"])


@torch.no_grad()
def test_refined_logits_equal_the_authors(head: GroundingHead, cases: dict[str, torch.Tensor]) -> None:
    hidden = [cases[f"sam.hidden_states.{phrase}"] for phrase in range(3)]
    refined = head.sam(
        cases["sam.image_embedding"], cases["sam.mask_logits"], head.text_prompts(hidden), (96, 128)
    )
    assert_equal_to_recording(refined, cases["sam.refined_logits"])


@torch.no_grad()
def test_the_comparison_fails_when_the_text_prompt_is_wrong(
    head: GroundingHead, cases: dict[str, torch.Tensor]
) -> None:
    hidden = [
        cases[f"sam.hidden_states.{phrase}"].flip(0) for phrase in range(3)
    ]  # layers in the wrong order
    refined = head.sam(
        cases["sam.image_embedding"], cases["sam.mask_logits"], head.text_prompts(hidden), (96, 128)
    )
    assert (refined - cases["sam.refined_logits"]).abs().max() > 10 * TOLERANCE


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_published_layout_is_the_head_s_own_key_for_key(container: str) -> None:
    assert load_published(REFERENCE / container).keys() == untrained_head().state_dict().keys()
