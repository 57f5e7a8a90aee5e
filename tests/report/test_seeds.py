"""Several heads of one backbone: mean and spread of what each reaches."""

from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

import pytest

from flmm import report
from flmm.errors import InputError
from flmm.params import Params
from flmm.pipeline import paths
from flmm.report.records import gather as gather_backbones
from flmm.report.seeds import gather, seeds
from tests.report.conftest import made_up_records, write

Tree = Callable[..., Path]
BACKBONE = "shapes-llava"


def with_seeds(params: Params, *numbers: int) -> Params:
    return params.model_copy(update={"train": params.train.model_copy(update={"seeds": list(numbers)})})


def repeated(params: Params, seed: int, factor: float) -> None:
    """Another head's records: the first one's, times a factor; of those without the LMM."""
    records = [
        {**record, "value": record["value"] * factor}
        for name in ("res", "png")
        for record in made_up_records(BACKBONE)[name]
    ]
    write(paths.repeated(params, BACKBONE, str(seed)) / "metrics.json", records)


def test_the_table_has_mean_and_deviation_of_the_heads(params: Params, tree: Tree, tmp_path: Path) -> None:
    params = with_seeds(params, 7, 8, 9)
    tree()
    repeated(params, 8, 1.1)
    repeated(params, 9, 1.2)
    found, missing = gather(params)
    table = seeds(params, found)
    assert table is not None and not missing
    assert [row.headings for group in table.groups for row in group] == [
        (BACKBONE, "coarse masks (U-Net)"),
        (BACKBONE, "refined masks (U-Net + SAM)"),
    ]
    assert [column.split()[0] for column in table.columns] == ["RefCOCO", "RefCOCO", "RefCOCO", "PNG"]
    place = ("unet+sam", "refcoco", "val", "standard", "cIoU")
    records, _ = gather_backbones(params)
    (first,) = [r.value for r in records if (r.head, r.benchmark, r.split, r.protocol, r.metric) == place]
    values = [first, first * 1.1, first * 1.2]
    assert table.groups[0][1].cells[0].text == f"{mean(values):.1f} ± {stdev(values):.1f}"
    report.build(params, out=tmp_path / "reports")
    assert (
        "3 heads that differ in their seed alone (7, 8, 9)" in (tmp_path / "reports/index.html").read_text()
    )
    assert (tmp_path / "reports/tables/several-heads.csv").is_file()


def test_one_seed_makes_no_table(params: Params, tree: Tree) -> None:
    tree()
    found, missing = gather(with_seeds(params, 7))
    assert seeds(params, found) is None and not missing


def test_a_head_that_is_not_counted_yet_is_missing(params: Params, tree: Tree) -> None:
    params = with_seeds(params, 7, 8, 9)
    tree()
    repeated(params, 8, 1.1)
    found, missing = gather(params)
    assert missing == [paths.repeated(params, BACKBONE, "9") / "metrics.json"]
    (spread, *_) = found[BACKBONE]
    assert sorted(spread.values) == [7, 8]


def test_a_damaged_file_is_named(params: Params, tree: Tree) -> None:
    params = with_seeds(params, 7, 8)
    tree()
    write(paths.repeated(params, BACKBONE, "8") / "metrics.json", {"not": "records"})
    with pytest.raises(InputError, match=r"repeat/8/metrics\.json"):
        gather(params)
