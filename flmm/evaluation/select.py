"""The step ``select``: the attention heads of the baseline that needs no training, chosen on a pilot of phrases.

Its words are training phrases; their masks are not looked at. Where nothing is trained, and so no training part is
extracted, the step is left out, and the baseline with it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from flmm.backbones.base import HeadInput
from flmm.cache.reader import read_answers, read_manifest
from flmm.errors import InputError
from flmm.files import read_json, write_json
from flmm.heads.localization import select_heads
from flmm.params import Params


def select(params: Params, manifests: Sequence[Path], out: Path) -> None:
    """Write ``out/heads.json``: ``channels``, best first, and on how many ``phrases`` they were chosen.

    ``manifests``: of the training parts of one backbone, read in their order until there are enough phrases.

    Raises:
        InputError: there is no phrase, or a manifest or shard is absent or damaged.
    """
    settings, seen = params.select, 0
    parts = [read_manifest(path) for path in manifests]

    def pilot() -> Iterator[HeadInput]:
        nonlocal seen
        for manifest in parts:
            for answer in read_answers(manifest):
                seen += len(answer.phrases)
                yield answer.head_input()

    channels = select_heads(pilot(), heads=settings.heads, phrases=settings.phrases)
    if parts[0].selection is not None:  # chosen among those that are kept; written by the LMM's own numbers
        channels = [parts[0].selection.channel(place) for place in channels]
    print(f"localization heads: channels {', '.join(map(str, channels))}")
    write_json(out / "heads.json", {"channels": channels, "phrases": min(seen, settings.phrases)})


def read_selection(path: Path, channels: int) -> list[int]:
    """The channels that ``select`` chose, for a backbone of ``channels`` channels.

    Raises:
        InputError: the file is absent or damaged, or a channel is not one of the backbone's.
    """
    found = read_json(path)
    chosen = found.get("channels") if isinstance(found, dict) else None
    if not isinstance(chosen, list) or not chosen or not all(type(channel) is int for channel in chosen):
        raise InputError(f"{path}: holds no list of channels; run select again")
    if not all(0 <= channel < channels for channel in chosen):
        raise InputError(
            f"{path}: channels {', '.join(map(str, chosen))}, but the backbone has {channels}; run select again"
        )
    return chosen
