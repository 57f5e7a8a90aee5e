"""What ships with the package (tiny models, their segmenter, their trained heads), and what else belongs to a head."""

from pathlib import Path

from flmm.backbones.registry import families, family
from flmm.errors import InputError
from flmm.files import read_json
from flmm.heads.checkpoint import HeadConfig
from flmm.keywords import FILE as KEYWORDS_FILE
from flmm.params import BackboneEntry, Segmenter

MODELS = Path(__file__).parent / "shapes" / "models"
HEADS = Path(__file__).parent / "shapes" / "heads"  # made by the pipeline
HEAD_FILE = "head.safetensors"


def models() -> list[str]:
    """The models that ship with the package."""
    return sorted(path.parent.name for path in MODELS.glob("*/config.json") if _model_type(path.parent))


def head_file(head: str | Path) -> Path:
    """The file of a head: of a model that ships, by name; of a folder; or the file itself.

    Raises:
        InputError: there is none (says what to do).
    """
    if str(head) in models():
        path = HEADS / str(head) / HEAD_FILE
        if not path.is_file():
            raise InputError(
                f"{path}: the head of {head} does not come with this copy of the package; train one (make reproduce) "
                f"and give its folder, results/shapes/{head}/train"
            )
        return path
    path = Path(head)
    if not path.exists():
        known = ", ".join(models())
        raise InputError(
            f"{head}: no such file or folder, and not a model that ships with the package ({known})"
        )
    return path / HEAD_FILE if path.is_dir() else path


def keywords_file(head: Path) -> Path | None:
    """A head's keyword selector: beside its file, as it ships, or in ``../keywords``, as the pipeline writes it."""
    folder = head.parent
    places = (folder / KEYWORDS_FILE, folder.parent / "keywords" / KEYWORDS_FILE)
    return next((path for path in places if path.is_file()), None)


def model_entry(
    path: Path,
    config: HeadConfig,
    model: str | Path | None,
    kind: str | None,
    revision: str | None,
    trust_remote_code: bool,
) -> BackboneEntry:
    """The model that a head was trained for, ``model`` or by default one that ships with the package.

    Raises:
        InputError: none was given and the head's does not ship, or nothing tells the family.
    """
    if model is None:
        if config.backbone not in models():
            raise InputError(
                f"{path}: was trained for {config.backbone}, which does not ship with the package; "
                "say where it is: model=<directory or hub name>"
            )
        model = MODELS / config.backbone
    return BackboneEntry(
        suite="paper",
        family=kind or _family(Path(model)),
        model=str(model),
        revision=revision,
        trust_remote_code=trust_remote_code,
    )


def _family(model: Path) -> str:
    kind = _model_type(model)
    found = [name for name in families() if kind in family(name).model_types]
    if len(found) == 1:
        return found[0]
    why = (
        f"its model_type {kind!r} does not tell its family"
        if kind
        else "there is no config.json to tell its family"
    )
    raise InputError(f"{model}: {why}; say it: family=<one of {', '.join(families())}>")


def _model_type(model: Path) -> str | None:
    config = read_json(model / "config.json") if (model / "config.json").is_file() else {}
    return config.get("model_type") if isinstance(config, dict) else None


def segmenter_entry(path: Path, config: HeadConfig, segmenter: str | Path | None) -> Segmenter:
    """The segmenter that a head was trained with, ``segmenter`` or by default one that ships with the package.

    Raises:
        InputError: none was given, and the head's does not ship.
    """
    if segmenter is None:
        if not (MODELS / config.segmenter).is_dir():
            raise InputError(
                f"{path}: was trained with segmenter {config.segmenter}, which does not ship with the package; "
                "say where it is: segmenter=<directory or file>"
            )
        segmenter = MODELS / config.segmenter
    return Segmenter(name=config.segmenter, checkpoint=str(segmenter))
