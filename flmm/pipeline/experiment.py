"""Where ``dvc exp run --temp`` and ``--queue`` run: a copy of the project in its ``.dvc/tmp``, deleted later."""

from pathlib import Path

COPIES = (".dvc", "tmp", "exps")
# By key, so that a copy finds what the project has, and the other way round; and the locks of the GPUs.
SHARED = ("embed", "extract", "devices")


def project_of_copy(folder: Path) -> Path | None:
    """The project of which DVC made the copy in which ``folder`` is; None where it is no copy."""
    for parent in folder.absolute().parents:
        if parent.parts[-len(COPIES) :] == COPIES:
            return parent.parents[len(COPIES) - 1]
    return None


def share_cache() -> None:
    """In a copy: make ``cache/`` the project's own, so that nothing is extracted again and everything is kept."""
    project = project_of_copy(Path.cwd())
    if project is None:
        return
    for name in SHARED:
        (project / "cache" / name).mkdir(parents=True, exist_ok=True)
        link = Path("cache") / name
        link.parent.mkdir(exist_ok=True)
        if not link.exists():
            link.symlink_to(project / "cache" / name)
