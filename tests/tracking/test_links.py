"""The page of links: every run that was told, at the address of its store, and no password."""

import json
import re
from pathlib import Path

import pytest

from flmm.params import Params
from flmm.tracking.links import write_links
from flmm.tracking.track import track
from tests.tracking.test_tracking import BACKBONE, empty_store, params  # noqa: F401


def test_every_run_that_was_told_has_its_link(params: Params) -> None:  # noqa: F811
    track(params, reports=Path("reports"))
    told = json.loads(Path("reports/tracking.json").read_text())
    page = Path("reports/runs.html").read_text(encoding="utf-8")
    links = re.findall(r'<a href="(http://127\.0\.0\.1:5000/#/experiments/[^"]+/runs/[^"]+)">(\w+)</a>', page)
    place = f"http://127.0.0.1:5000/#/experiments/{told['experiment']}/runs/"
    expected = {(f"{place}{run}", step) for step, run in (told["runs"][BACKBONE] | told["shared"]).items()}
    assert set(links) == expected and len(links) == len(expected)
    assert f"mlflow ui --backend-store-uri {told['uri']}" in page
    assert "Fine-tuned" not in page  # there is none


@pytest.mark.parametrize(
    ("uri", "link", "command"),
    [
        ("https://me:secret@mlflow.example/base/", "https://mlflow.example/base/#/experiments/3/runs/r1", None),
        ("sqlite:///mlflow.db", "http://127.0.0.1:5000/#/experiments/3/runs/r1", "sqlite:///mlflow.db"),
        ("postgresql://me:secret@db/mlflow", "http://127.0.0.1:5000/#/experiments/3/runs/r1", "MLFLOW_TRACKING_URI"),
    ],
)  # fmt: skip
def test_the_address_is_the_store_s(tmp_path: Path, uri: str, link: str, command: str | None) -> None:
    write_links(uri, "3", {"a <backbone>": {"train": "r1"}}, tmp_path)
    page = (tmp_path / "runs.html").read_text(encoding="utf-8")
    assert f'<a href="{link}">train</a>' in page and "a &lt;backbone&gt;" in page
    assert ("mlflow ui" in page) == (command is not None) and (command or "") in page
    assert "secret" not in page
