"""The tiny LMMs, built and untrained."""

from typing import Any

import pytest

from recipes.families import BASE, FAMILIES
from recipes.lmm import Family


@pytest.fixture(scope="module")
def built() -> tuple[Any, Any]:
    model, processor = FAMILIES[BASE].build(0)
    return model.eval(), processor


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def any_built(request: pytest.FixtureRequest) -> tuple[Family, Any, Any]:
    family = FAMILIES[request.param]
    model, processor = family.build(0)
    return family, model.eval(), processor
