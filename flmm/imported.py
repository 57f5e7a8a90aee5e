"""The ``import`` step: a published head takes the place of a trained one."""

from pathlib import Path

from flmm.backbones.registry import family
from flmm.contract.facts import facts
from flmm.errors import InputError
from flmm.files import sha256_file, write_json
from flmm.heads.published import import_checkpoint, read_sizes, recorded_config
from flmm.heads.segmenter import load_segmenter
from flmm.params import BackboneEntry, Params


def import_head(params: Params, backbone: str, file: Path, raw: Path, out: Path) -> None:
    """Write ``head.safetensors`` and ``summary.json``, which says where the head is from, to ``out``.

    Raises:
        InputError: the file is unreadable, unsafe, incomplete or of another backbone (names keys and numbers).
        StepError: the disk is full or not writable.
    """
    entry = params.catalogue[backbone]
    check_fit(entry, file)
    segmenter = params.active.segmenter
    config = import_checkpoint(
        file,
        out / "head.safetensors",
        backbone=backbone,
        segmenter=segmenter.name,
        sam=load_segmenter(segmenter, raw),
        upsample=params.train.head.upsample,
        grids=grids_by_layer(entry),
    )
    url = entry.head.url if entry.head else str(file)
    write_json(
        out / "summary.json",
        {"imported": {"file": url, "sha256": sha256_file(file)}, "channels": config.channels},
    )


def check_fit(entry: BackboneEntry, file: Path) -> None:
    """Refuse a head whose channels or layers are not those of the backbone, where its configuration is known.

    Raises:
        InputError: names both numbers; or the file is unreadable, unsafe or not a head's.
    """
    mine, found = read_sizes(file), facts(entry)
    if (recorded := recorded_config(file)) is not None and recorded.selection is not None:
        raise InputError(
            f"{file}: trained on a selection of attention heads and layers; only a head of all of them is imported"
        )
    if found is None:
        return
    for what, has, wanted in (
        ("attention channels", mine.channels, found.channels),
        ("layers", mine.layers, found.layers),
        ("hidden width", mine.hidden_width, found.width),
    ):
        if has != wanted:
            raise InputError(
                f"{file}: a head for {has} {what}, but {entry.model} has {wanted}: it is of another backbone"
            )


def grids_by_layer(entry: BackboneEntry) -> int:
    """How many grids' maps the authors' heads of this family take side by side, layer by layer; else 1.

    Raises:
        InputError: the model's configuration would tell, and is not on this machine.
    """
    if not family(entry.family).published_by_layer:
        return 1
    found = facts(entry)
    if found is None:
        raise InputError(
            f"{entry.model}: its configuration is not on this machine, and it tells the order of a head's "
            "channels; load the model once (flmm backbones check)"
        )
    return len(found.grids)
