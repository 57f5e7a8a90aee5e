"""docs/add-a-head.md, followed to the letter: three code blocks, and the new head is in tables and words."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from flmm.data.sample import decode_rle
from flmm.evaluation.engine import Part, predict
from flmm.heads import evaluated, names
from flmm.heads.evaluated import Materials, build_heads
from flmm.heads.sam import SamSegmenter
from flmm.report import labels
from tests.evaluation.conftest import make_sample, write_part
from tests.heads.conftest import make_head

PAGE = Path(__file__).parents[2] / "docs" / "add-a-head.md"


def block(file: str) -> str:
    """The page's code for ``file``, which its first line names."""
    found = re.search(rf"```python\n# {re.escape(file)}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, file
    return found[1]


@pytest.fixture
def peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The page's three steps; the lists are as before afterwards."""
    monkeypatch.setattr(evaluated, "BUILDERS", dict(evaluated.BUILDERS))
    monkeypatch.setattr(names, "HEADS", dict(names.HEADS))
    (tmp_path / "peak.py").write_text(block("flmm/heads/peak.py"))
    spec = importlib.util.spec_from_file_location("peak", tmp_path / "peak.py")
    assert spec and spec.loader
    module = sys.modules["peak"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    exec(block("flmm/heads/evaluated.py"), {**vars(evaluated), "PeakHead": module.PeakHead})
    exec(block("flmm/heads/names.py"), dict(vars(names)))
    yield module
    del sys.modules["peak"]


class Embeddings:
    def lookup(self, archive: str, image: str) -> torch.Tensor:
        return torch.zeros(1, 16, 6, 6)


def test_a_head_by_the_page_is_evaluated_and_has_words(
    peak: ModuleType, sam: SamSegmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        evaluated.BUILDERS, names.TRAINED, lambda materials: make_head(materials.segmenter).eval()
    )
    monkeypatch.setitem(evaluated.BUILDERS, names.UNTRAINED, lambda materials: None)
    heads = build_heads(Materials(tmp_path / "none", sam, torch.device("cpu"), 7, None))
    assert set(heads) == {names.TRAINED, "peak"}  # a builder that gives None leaves its head out
    assert isinstance(heads["peak"], peak.PeakHead)
    manifest = write_part(tmp_path / "part", "refcoco-val", [make_sample(index) for index in range(3)])
    rows = predict([Part("refcoco", "val", manifest)], heads, Embeddings(), ["standard"]).to_pylist()
    mine = [row for row in rows if row["head"] in ("peak", "peak+sam")]
    assert len(mine) == len(rows) / 2 > 0
    coarse = [decode_rle(row["rle"], row["height"], row["width"]) for row in mine if row["head"] == "peak"]
    assert all(0 < mask.mean() < 1 for mask in coarse)
    assert labels.head_label("peak+sam") == "where attention peaks + SAM"
    assert labels.head_rank("peak")[0] < labels.head_rank("unknown")[0]


def test_every_head_has_words_and_every_word_a_head() -> None:
    assert set(evaluated.BUILDERS) == set(names.HEADS)
    assert list(names.labels()) == list(names.short_labels())
    order = [*names.labels()]
    assert (order[0], order[-1]) == (names.PLAIN, names.REFINED)
