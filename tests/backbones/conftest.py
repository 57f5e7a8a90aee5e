"""Tiny random backbones, loaded as users' models are, and a photograph."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flmm.backbones import load
from flmm.backbones.lmm import TransformersBackbone
from tests.tiny_models import BUILDERS, save_llava

CASES = [(family, heads) for family in sorted(BUILDERS) for heads in (4, 2)]


def built(family: str, heads: int, factory: pytest.TempPathFactory) -> TransformersBackbone:
    """A tiny model of a family, loaded from the directory that its builder wrote."""
    loaded = load(BUILDERS[family](factory.mktemp(family), key_heads=heads), dtype="float32", device="cpu")
    assert isinstance(loaded, TransformersBackbone)
    return loaded


@pytest.fixture(scope="session", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}-key-heads")
def any_backbone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> TransformersBackbone:
    """A tiny model of every family, with as many key heads as query heads (4) and with grouped queries."""
    return built(*request.param, tmp_path_factory)


@pytest.fixture(scope="session", params=(4, 2), ids=lambda heads: f"{heads}-key-heads")
def backbone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> TransformersBackbone:
    """The tiny LLaVA, for what is looked at more closely than the contract does."""
    return built("llava", request.param, tmp_path_factory)


@pytest.fixture(scope="session")
def plain_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny LLaVA."""
    out = tmp_path_factory.mktemp("plain")
    save_llava(out)
    return out


@pytest.fixture(scope="session")
def image() -> Image.Image:
    """A landscape photograph of noise, 40 x 60."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
