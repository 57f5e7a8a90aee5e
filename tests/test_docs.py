"""The documentation: references as the code is, and a site without warnings that loads nothing from elsewhere."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

PROJECT = Path(__file__).parents[1]
# What a browser fetches by itself when it shows a page; links that people click (<a>) may lead anywhere.
FETCHED = re.compile(r"<(?!a\b)[a-z][^>]*?\s(?:src|href|srcset|data|poster)=[\"']?((?:https?:)?//[^\"'\s>]*)")


def script(name: str) -> ModuleType:
    """A module of .ci."""
    spec = importlib.util.spec_from_file_location(f"ci_{name}", PROJECT / ".ci" / f"{name}.py")
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_references_are_what_the_code_says() -> None:
    for path, text in script("reference").pages().items():
        assert path.read_text() == text, f"{path.relative_to(PROJECT)} is out of date: run .ci/reference.py"


def test_the_reference_has_every_key_that_params_yaml_has() -> None:
    page = (PROJECT / "docs/reference/params.md").read_text()
    named = {tuple(key.split(".")) for key in re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)}

    def keys(value: object, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
        if not isinstance(value, dict):
            return {path}
        return {key for name, inner in value.items() for key in keys(inner, (*path, name))}

    def general(key: tuple[str, ...]) -> tuple[str, ...]:
        if key[0] == "suites" and key[2] in ("extract", "train", "keywords"):
            return key[2:]
        at = {
            "suites": (1, 3) if key[2:3] and key[2] in ("sources", "datasets", "rivals") else (1,),
            "catalogue": (1,),
        }
        return tuple("<name>" if i in at.get(key[0], ()) else part for i, part in enumerate(key))

    raw = yaml.safe_load((PROJECT / "params.yaml").read_text())
    empty = {("suites", "<name>", "rivals")}  # an entry-less section has no keys
    assert {general(key) for key in keys(raw)} - empty <= named


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("MkDocs is not installed (make docs installs it)")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(out)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_the_site_has_every_page_and_a_local_search(site: Path) -> None:
    pages = {
        path.relative_to(PROJECT / "docs").with_suffix(".html") for path in (PROJECT / "docs").rglob("*.md")
    }
    assert all((site / page).is_file() for page in pages)
    assert (site / "search" / "search_index.json").is_file()


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not FETCHED.findall(text), page
        assert "mermaid" not in text  # the theme would fetch its library
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text()), style


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        ('<script src="https://example.org/a.js">', True),
        ('<link rel="stylesheet" href="//example.org/a.css">', True),
        ("<img alt=x src=http://example.org/a.png>", True),
        ('<a href="https://example.org">', False),
        ('<img src="images/a.png">', False),
    ],
)
def test_what_counts_as_loaded_from_elsewhere(tag: str, found: bool) -> None:
    assert bool(FETCHED.search(tag)) is found


def test_links_to_the_repositorys_files_become_their_paths() -> None:
    if importlib.util.find_spec("pymdownx") is None:
        pytest.skip("the site's extensions are not installed (make docs installs them)")
    outside = script("site_hooks").without_links_outside
    assert (
        outside("see [`llava.py`](../flmm/backbones/llava.py).", "a.md") == "see `flmm/backbones/llava.py`."
    )
    assert outside("[the readme](../README.md#layout)", "a.md") == "the readme (`README.md`)"
    kept = "[data](data.md) ![x](images/app.png) [up](../data.md)"
    assert outside(kept, "reference/a.md") == kept
    with pytest.raises(FileNotFoundError, match=r"docs/a\.md: links to flmm/gone\.py"):
        outside("[x](../flmm/gone.py)", "a.md")


def test_pages_read_alike_on_a_git_host_and_in_the_site() -> None:
    """The site's Markdown needs four spaces inside a list, and a free line before one; git hosts do not mind them."""
    for page in (PROJECT / "docs").rglob("*.md"):
        in_code, before = False, ""
        for number, line in enumerate(page.read_text().splitlines(), start=1):
            where = f"{page.relative_to(PROJECT)}:{number}"
            fence, item = line.lstrip().startswith("```"), re.match(r" *(?:[-*]|\d+\.) ", line)
            if fence or (item and not in_code):
                indent = len(line) - len(line.lstrip())
                assert indent % 4 == 0 or in_code, f"{where}: indent by four spaces"
            if item and not in_code and line[0] != " " and before.strip():
                assert before[0] == " " or re.match(r"(?:[-*]|\d+\.) ", before), (
                    f"{where}: no free line before it"
                )
            in_code ^= fence
            before = line
