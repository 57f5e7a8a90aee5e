"""The table of what fine-tuning costs: masks and answers of the frozen and of the fine-tuned LMM."""

from collections.abc import Callable
from pathlib import Path

from flmm import report
from flmm.params import Params
from flmm.pipeline import paths
from flmm.report.records import gather as gather_backbones
from flmm.report.rivals import gather, rivals
from tests.report.conftest import RIVAL

Tree = Callable[..., Path]


def test_frozen_and_fine_tuned_stand_side_by_side(params: Params, tree: Tree, tmp_path: Path) -> None:
    tree()
    found, missing = gather(params)
    records, _ = gather_backbones(params)
    table = rivals(params, records, found)
    assert table is not None and not missing
    assert len(table.columns) == 3  # the main metric of each place
    ((frozen, tuned),) = table.groups
    assert (frozen.headings, tuned.headings) == (("shapes-llava, frozen",), (f"{RIVAL}, fine-tuned",))
    assert [cell.text for cell in tuned.cells] == ["41.2", "0.512", "0.000"]
    place = ("unet+sam", "refcoco", "val", "standard", "cIoU")
    (mine,) = [r for r in records if (r.head, r.benchmark, r.split, r.protocol, r.metric) == place]
    assert frozen.cells[0].text == f"{mine.value:.1f}"
    assert all(cell.kind == "value" for cell in frozen.cells)
    report.build(params, out=tmp_path / "reports")
    assert "What fine-tuning costs" in (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    written = (tmp_path / "reports" / "tables" / "what-fine-tuning-costs.csv").read_text(encoding="utf-8")
    assert f'"{RIVAL}, fine-tuned",41.2' in written


def test_a_rival_that_has_not_run_is_missing_and_not_made_up(params: Params, tree: Tree) -> None:
    tree()
    (paths.rival(params, RIVAL) / "metrics.json").unlink()
    found, missing = gather(params)
    assert rivals(params, [], found) is None
    assert missing == [paths.rival(params, RIVAL) / "metrics.json"]
