"""The page: complete, self-contained, harmless with hostile text, honest about what is missing."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flmm import report
from flmm.errors import InputError
from flmm.params import Params
from flmm.pipeline import paths
from flmm.report.labels import format_value
from tests.report.conftest import made_up_records, write

Tree = Callable[..., Path]


class Reader(HTMLParser):
    """Collects table cells, attributes that load something, tags and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.loads: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.loads += [
            value or ""
            for name, value in attrs
            if name in {"src", "href", "srcset", "data", "action", "poster"}
        ]
        self._in_cell = tag == "td"
        if self._in_cell:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag != "td"

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell:
            self.cells[-1] += data.strip()


def build(params: Params, tree: Tree, tmp_path: Path, **changes: Any) -> tuple[str, Reader]:
    tree(**changes)
    report.build(params, out=tmp_path / "reports")
    page = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    return page, Reader(page)


def test_every_record_is_a_cell_of_the_page(params: Params, tree: Tree, tmp_path: Path) -> None:
    _, page = build(params, tree, tmp_path)
    for records in made_up_records("shapes-llava").values():
        for record in records:
            assert format_value(record["value"], record["metric"], record["benchmark"]) in page.cells, record


def test_the_page_loads_nothing_from_anywhere(params: Params, tree: Tree, tmp_path: Path) -> None:
    text, page = build(params, tree, tmp_path)
    beside = "runs.html"  # written by `track`, which comes later
    loads = [target for target in page.loads if target != beside]
    assert loads and all(target.startswith(("#", "data:", "tables/")) for target in loads)
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"} - {beside}
    for link in links:  # to places of the page, and to files beside it
        assert (
            f'id="{link[1:]}"' in text
            if (link or "").startswith("#")
            else (tmp_path / "reports" / (link or "")).is_file()
        )
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    assert "url(" not in text and "@import" not in text


def test_the_published_figures_are_labelled_and_stand_under_the_papers_protocol_only(
    params: Params, tree: Tree, tmp_path: Path
) -> None:
    _, page = build(params, tree, tmp_path)
    for figure in ("75.7", "76.1", "66.5", "65.7", "50.8", "63.4", "63.7", "64.9"):
        assert page.cells.count(figure) >= 1
    paper = page.text.index("Masks, protocol “paper”")
    assert "published" not in page.text[page.text.index("Masks, protocol “standard”") : paper]
    assert "another data set" in page.text[paper:]


def test_the_facts_of_the_run_are_stated(params: Params, tree: Tree, tmp_path: Path) -> None:
    _, page = build(params, tree, tmp_path)
    assert (
        "4 of 4 checks hold" in page.text
        and page.text.count("holds") >= 4
        and "1200 of 1200 answers" in page.text
    )
    assert "target: mask without pixels (3)" in page.text
    assert {"575,200", "9,100"} <= set(page.cells)
    assert page.cells.count("41") == 2 and "37" in page.cells


def test_unequal_answers_and_changed_weights_are_called_failures(
    params: Params, tree: Tree, tmp_path: Path
) -> None:
    tree()
    path = paths.evaluated(params, "shapes-llava", "pope") / "facts.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    changed = {**facts, "answers_equal": 1199, "weights_hash_after": "b" * 64}
    path.write_text(json.dumps(changed), encoding="utf-8")
    report.build(params, out=tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count('class="fails"') == 2 and "1199 of 1200" in page


def test_a_head_from_elsewhere_has_an_origin_and_no_curves(
    params: Params, tree: Tree, tmp_path: Path
) -> None:
    tree()
    trained = paths.trained(params, "shapes-llava")
    (trained / "curves.jsonl").unlink()
    origin = {"file": "https://hub.example/<frozen>.pth", "sha256": "c" * 64}
    (trained / "summary.json").write_text(json.dumps({"imported": origin}))
    for name in params.active.rivals:
        write(paths.rival(params, name) / "metrics.json", [])
    why = {"left_out": {"localization": "no training part was extracted"}}
    for name in ("res", "png"):
        (paths.evaluated(params, "shapes-llava", name) / "facts.json").write_text(json.dumps(why))
    report.build(params, out=tmp_path)
    page = Reader((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert origin["file"] in page.text and "c" * 12 in page.text and "No head was trained here." in page.text
    assert page.text.count("no training part was extracted (shapes-llava).") == 1
    assert "Not everything has run" not in page.text and "curves.jsonl" not in page.text
    (trained / "summary.json").write_text(json.dumps({"imported": {}}))
    with pytest.raises(InputError, match=r"summary\.json: imported: no file and sha256"):
        report.build(params, out=tmp_path)


def test_which_words_are_grounded_has_a_table_and_reasons(params: Params, tree: Tree, tmp_path: Path) -> None:
    _, page = build(params, tree, tmp_path)
    assert {"91.2", "81.5", "86.1", "61.0", "51.0", "55.6"} <= set(page.cells)
    assert "noun chunks (spaCy): left out, because spaCy is not installed." in page.text
    assert "Published: F1 82.8 for the keyword selector and 57.8 for spaCy" in page.text
    path = paths.keywords(params, "shapes-llava") / "scores.json"
    path.write_text('{"scores": {"linear": 3}}')
    with pytest.raises(InputError, match=r"scores\.json: not what `flmm keywords` writes"):
        report.build(params, out=tmp_path)
    path.unlink()
    report.build(params, out=tmp_path)
    assert str(path) in Reader((tmp_path / "index.html").read_text(encoding="utf-8")).text
    params.evaluate.benchmarks.remove("png")  # the selector is counted on PNG
    report.build(params, out=tmp_path)
    assert 'id="words"' not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_without_any_result_the_page_says_what_is_missing(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report.build(params, out=tmp_path)
    page = Reader((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert "Not everything has run" in page.text
    for name in ("count/metrics.json", "pope/facts.json", "curves.jsonl", "refcoco-train.json"):
        assert name in page.text
    assert json.loads((tmp_path / "metrics.json").read_text()) == []


def test_a_phrase_cannot_inject_markup(params: Params, tree: Tree, tmp_path: Path) -> None:
    text, page = build(
        params, tree, tmp_path, phrase='<script>alert(1)</script>"><img src=http://evil.example/x>'
    )
    assert "<script" not in text and "evil.example/x>" not in text
    assert all(target.startswith(("#", "data:", "tables/", "runs.html")) for target in page.loads)


def test_the_gallery_keeps_to_its_limit_and_shows_failures(
    params: Params, tree: Tree, tmp_path: Path
) -> None:
    text, page = build(params, tree, tmp_path)
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == params.report.gallery == 5
    assert all(picture["alt"] and picture["width"] == "1054" for picture in pictures)
    kinds = [len(re.findall(f'<span class="{kind}"', text)) for kind in ("worst", "median", "best")]
    assert sum(kinds) == 5 and max(kinds) - min(kinds) <= 1
    assert "worst: rank 1 of 400" in page.text and "best: rank 400 of 400" in page.text


def test_every_table_has_a_caption_and_every_chart_a_description(
    params: Params, tree: Tree, tmp_path: Path
) -> None:
    _, page = build(params, tree, tmp_path)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption")
    charts = [attributes for _, attributes in page.tags if attributes.get("role") == "img"]
    assert len(charts) == 2 + 7 and all(chart["aria-label"] for chart in charts)


def test_an_overlay_outside_its_folder_is_refused(params: Params, tree: Tree, tmp_path: Path) -> None:
    tree()
    path = paths.overlays(params, "shapes-llava", "res") / "overlays.json"
    entries = json.loads(path.read_text())
    entries[0]["file"] = "../../train/secret.png"
    path.write_text(json.dumps(entries))
    with pytest.raises(InputError, match="lies outside"):
        report.build(params, out=tmp_path)


def test_whole_conversations_are_shown_and_told(params: Params, tree: Tree, tmp_path: Path) -> None:
    tree()
    folder = paths.overlays(params, "shapes-llava", "res")
    Image.new("RGB", (530, 330)).save(folder / "conversation-00.png")
    entry = {"file": "conversation-00.png", "rank": 1, "of": 30, "text": "What <color>?", "answer": "red & blue",
             "sample": "s7", "dataset": "gcg", "split": "val", "score": 0.417}  # fmt: skip
    (folder / "conversations.json").write_text(json.dumps([entry]))
    report.build(params, out=tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "What &lt;color&gt;?" in page and "red &amp; blue" in page
    assert "rank 1 of 30" in page and "41.7 refined" in page
    (folder / "conversations.json").write_text(json.dumps([entry | {"file": "../../../secret.png"}]))
    with pytest.raises(InputError, match="lies outside"):
        report.build(params, out=tmp_path)


def test_building_twice_gives_the_same_bytes(params: Params, tree: Tree, tmp_path: Path) -> None:
    first, _ = build(params, tree, tmp_path)
    second, _ = build(params, tree, tmp_path)
    assert first == second
