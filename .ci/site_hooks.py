"""Hooks of mkdocs.yml: what reads well on a git host becomes a site that warns of nothing.

Links from docs/ to files of the repository have no page in the site: the file's path is shown in their place.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from pymdownx.slugs import slugify

DOCS = "docs"
ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>\.\./[^)\s#]+)(?:#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Anchors of headings as git hosts make them: lower case, a hyphen for each space."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that leave docs/ become the names of the files that they lead to."""
    return without_links_outside(markdown, page.file.src_uri)


def without_links_outside(markdown: str, page: str) -> str:
    """The page (``page``: its path inside docs/) with such links as paths in the repository.

    Raises:
        FileNotFoundError: there is no such file.
    """

    def path_of(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(DOCS, posixpath.dirname(page), found["target"]))
        if path.startswith(f"{DOCS}/"):
            return found[0]  # of docs/reference to docs/: MkDocs checks it
        if not (ROOT / path).exists():
            raise FileNotFoundError(f"{DOCS}/{page}: links to {path}, which is not there")
        text = found["text"]
        return f"`{path}`" if posixpath.basename(text.strip("`")) in path else f"{text} (`{path}`)"

    return _LINK.sub(path_of, markdown)
