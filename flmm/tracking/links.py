"""The page of links to the runs, beside the report page: only who told MLflow knows where they are."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, StrictUndefined

from flmm.files import write_text
from flmm.pipeline import paths

LOCAL = "http://127.0.0.1:5000"  # where `mlflow ui` answers
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>MLflow runs</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.6 system-ui, "Liberation Sans", Arial, sans-serif; max-width: 44rem; margin: 2rem auto;
  padding: 0 1.1rem; }
code { overflow-wrap: anywhere; }
dt { margin-top: 1rem; font-weight: 600; }
dd { margin: 0; display: flex; flex-wrap: wrap; gap: 0 1.2rem; }
</style>
</head>
<body>
<h1>MLflow runs</h1>
<p><a href="index.html">The report</a> · <a href="{{ server }}/#/experiments/{{ experiment }}">the experiment</a></p>
{% if command %}<p>The runs are in a store without a server: the links lead somewhere while this runs in the project:
<br><code>{{ command }}</code></p>
{% endif %}
<dl>
{% for name, runs in groups.items() %}
<dt>{{ name }}</dt>
<dd>{% for step, run in runs.items() %}
<a href="{{ server }}/#/experiments/{{ experiment }}/runs/{{ run }}">{{ step }}</a>
{% endfor %}</dd>
{% endfor %}
</dl>
</body>
</html>
"""


def write_links(uri: str, experiment: str, groups: Mapping[str, Mapping[str, str]], reports: Path) -> None:
    """Write ``runs.html``; ``groups``: run ids by what a link is called, by heading; ``experiment``: its id.

    Raises:
        StepError: the file cannot be written.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    server, command = _place(uri)
    shown = {name: runs for name, runs in groups.items() if runs}
    page = environment.from_string(_PAGE).render(
        server=server, command=command, experiment=experiment, groups=shown
    )
    write_text(reports / paths.runs().name, page)


def _place(uri: str) -> tuple[str, str]:
    """The address that the links begin with, and the command that makes it answer, where it is no server's."""
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https"):
        host = parts.netloc.rpartition("@")[2]  # a password stays in the environment
        return f"{parts.scheme}://{host}{parts.path}".rstrip("/"), ""
    store = uri if parts.scheme == "sqlite" else '"$MLFLOW_TRACKING_URI"'  # another may hold a password
    return LOCAL, f"mlflow ui --backend-store-uri {store}"
