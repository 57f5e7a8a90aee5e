"""``flmm extract``: let a frozen LMM speak the answers of one part; keep its attention, shard by shard."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.progress import Progress, TaskID

from flmm import backbones
from flmm.ahead import ahead
from flmm.backbones.base import Backbone, Observation
from flmm.cache.reader import STEP, read_manifest
from flmm.cache.schema import SCHEMA_VERSION, Formats, Manifest, Shard, shard_version
from flmm.cache.shards import ShardFile
from flmm.cache.writer import Row, describe_shard, phrase_rows, write_shard
from flmm.data.images import ImageStore
from flmm.data.sample import Sample, read_samples
from flmm.device import resolve_device
from flmm.errors import InputError
from flmm.params import Params
from flmm.progress import progress_bar
from flmm.protocols import GROUNDING_PROMPT, Answer, Protocol, answers, training_answers
from flmm.selection import Selection

# What an answer is filed under: its protocol (`both`: paper and standard speak the same words) and its draw.
Filed = tuple[Answer, str, int]
AHEAD = 2  # photographs that wait for the model, and samples that wait to be written: a few tens of MB each
EVALUATION_PROTOCOLS: tuple[Protocol, ...] = ("paper", "standard")


def extract(
    params: Params,
    backbone_name: str,
    part: str,
    samples_path: Path,
    raw: Path,
    out: Path,
    key: str,
    selection: Selection | None = None,
) -> Manifest:
    """Write ``out/shard-00000.parquet`` … and, last, ``out/manifest.json``; what is whole is kept as it is.

    A ``*-train`` part is spoken ``params.extract.train_draws`` times with random sentences; every other part
    under both evaluation protocols. Each shard appears whole or not at all, and a run
    after a kill keeps the shards that are whole. ``key`` addresses the content of ``out``: everything that
    it depends on. ``selection``: the attention heads and layers to keep (``flmm.pilot``); None: all.

    Raises:
        InputError: no samples; an unusable photograph or model; an answer that does not fit the model.
        StepError: the disk is full, or a value is not finite.
    """
    if (whole := _whole(out, key)) is not None:
        return whole
    samples = read_samples(samples_path)
    if not samples:
        raise InputError(f"{samples_path}: holds no sample")
    entry = params.catalogue[backbone_name]
    settings = params.extract
    device = str(resolve_device(settings.device, "extract.device"))
    backbone = backbones.load(entry, dtype=settings.dtype, device=device)
    _tidy(out, ".*.tmp*")
    speaker = _Speaker(params, part, backbone, ImageStore(raw), selection)
    numbers = range(-(-len(samples) // settings.samples_per_shard))
    shards = _shards(speaker, samples, numbers, out, f"extract {backbone_name} {part}")
    manifest = Manifest(
        key=key,
        backbone=backbone_name,
        part=part,
        revision=entry.revision,
        processor_hash=backbone.processor_hash(),
        params=_content_params(params),
        formats=Formats(settings.attention, settings.hidden),
        channels=_channels([out / shard.file for shard in shards if shard.rows]),
        shards=tuple(shards),
        folder=out,
        selection=selection,
    )
    manifest.write()
    _drop_others(out, manifest)
    return manifest


def extract_share(
    params: Params,
    backbone_name: str,
    part: str,
    samples_path: Path,
    raw: Path,
    out: Path,
    key: str,
    selection: Selection | None = None,
    *,
    share: int,
) -> None:
    """Write every ``extract.jobs``-th shard, from number ``share`` on; ``extract`` then finds them whole.

    Any number of shares may be at work in ``out`` at once. No manifest is written.

    Raises:
        InputError, StepError: as ``extract``; no such share.
    """
    settings, jobs = params.extract, params.extract.jobs
    if share >= jobs:
        raise InputError(
            f"--share {share}: params.yaml: extract.jobs is {jobs}, so that the last share is {jobs - 1}"
        )
    samples = read_samples(samples_path)
    numbers = range(share, -(-len(samples) // settings.samples_per_shard), jobs)
    if not numbers or _whole(out, key) is not None:
        return
    device = str(resolve_device(settings.device, "extract.device"))
    backbone = backbones.load(params.catalogue[backbone_name], dtype=settings.dtype, device=device)
    for number in numbers:
        _tidy(out, f".{_name(number)}.*.tmp*")
    speaker = _Speaker(params, part, backbone, ImageStore(raw), selection)
    _shards(speaker, samples, numbers, out, f"extract {backbone_name} {part}, share {share}")


def _name(number: int) -> str:
    return f"shard-{number:05d}.parquet"


def _shards(
    speaker: "_Speaker", samples: Sequence[Sample], numbers: range, out: Path, description: str
) -> list[Shard]:
    """The shards of these numbers, those that an earlier run left whole kept."""
    shards: list[Shard] = []
    size = speaker.samples_per_shard
    with progress_bar() as progress:
        task = progress.add_task(
            description, total=sum(len(samples[n * size : (n + 1) * size]) for n in numbers)
        )
        for number in numbers:
            path, batch = out / _name(number), samples[number * size : (number + 1) * size]
            spoken = [answer.answer_id for sample in batch for answer, _, _ in speaker.filed(sample)]
            shard = _finished(path, spoken)
            if shard is not None:
                progress.advance(task, len(batch))
            else:
                shard = write_shard(path, _advancing(speaker.rows(batch), progress, task))
            shards.append(shard)
    return shards


def _whole(out: Path, key: str) -> Manifest | None:
    """What an earlier run of the same key wrote; how many rows its shards have does not matter."""
    try:
        found = read_manifest(out)
    except InputError:
        return None
    return found if found.key == key else None


def _drop_others(out: Path, manifest: Manifest) -> None:
    """Remove the shards of a run that was killed and had other sizes of shards."""
    listed = {shard.file for shard in manifest.shards}
    for path in out.glob("shard-*.parquet"):
        if path.name not in listed:
            path.unlink()


def _tidy(out: Path, pattern: str) -> None:
    """Remove the temporary files that a kill left behind of shards that no other job writes."""
    for stale in out.glob(pattern):
        stale.unlink()


class _Speaker:
    """Turns samples into cache rows."""

    def __init__(
        self,
        params: Params,
        part: str,
        backbone: Backbone,
        images: ImageStore,
        selection: Selection | None,
    ) -> None:
        self.samples_per_shard = params.extract.samples_per_shard
        self._draws = params.extract.train_draws if part.endswith("-train") else 0
        self._seed = params.seed
        self._formats = Formats(params.extract.attention, params.extract.hidden)
        self._backbone = backbone
        self._images = images
        self._selection = selection

    def filed(self, sample: Sample) -> list[Filed]:
        """The answers of a sample and what they are filed under; those without a phrase are left out."""
        if self._draws:
            said = training_answers(sample, self._draws, self._seed)
            return [(answer, "train", draw) for answer, draw in said]
        spoken = {"paper": answers(sample, "paper"), "standard": answers(sample, "standard")}
        # A narrative of nouns is one answer for both.
        if spoken["paper"] == spoken["standard"]:
            spoken = {"both": spoken["paper"]}
        found = [(answer, protocol, 0) for protocol in spoken for answer in spoken[protocol]]
        return [filed for filed in found if any(piece.target >= 0 for piece in filed[0].pieces)]

    def rows(self, samples: Sequence[Sample]) -> Iterator[list[list[Row]]]:
        """Per sample, the rows of each of its answers.

        Photographs are read in a thread, and the model speaks in another one, so that a GPU waits neither for them nor
        for the shard that is written from these rows.
        """
        for sample, filed, observations in ahead(self._spoken(samples), AHEAD):
            yield [
                phrase_rows(sample, answer, observation, protocol, draw, self._formats)
                for (answer, protocol, draw), observation in zip(filed, observations, strict=True)
            ]

    def _spoken(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, list[Filed], list[Observation]]]:
        """Each sample's answers and what was seen of them; all answers of an image share one computed prompt."""
        pictures = ((sample, self._images.of(sample)) for sample in samples)
        for sample, image in ahead(pictures, AHEAD):
            filed = self.filed(sample)
            observed = self._backbone.observe(image, [answer for answer, _, _ in filed], GROUNDING_PROMPT)
            if self._selection is not None:
                observed = [observation.kept(self._selection) for observation in observed]
            yield sample, filed, observed


def _advancing(samples: Iterator[list[list[Row]]], progress: Progress, task: TaskID) -> Iterator[list[Row]]:
    for rows_of_answers in samples:
        yield from rows_of_answers
        progress.advance(task)


def _finished(path: Path, answer_ids: list[str]) -> Shard | None:
    """The shard of an earlier run, if it is whole and holds exactly these answers."""
    if not path.is_file():
        return None
    try:
        shard = ShardFile(path, STEP)
        if shard_version(shard.schema) != SCHEMA_VERSION:
            return None
        shard.check()
        found = shard.column("answer_id")
        return describe_shard(path) if list(dict.fromkeys(found)) == answer_ids else None
    except InputError:
        return None


# Where it was computed and how it is kept decides nothing; which heads and layers are kept stands in ``selection``.
_ELSEWHERE = {"device", "samples_per_shard", "jobs", "heads", "layers", "keep_training_maps"}


def _content_params(params: Params) -> dict[str, Any]:
    """The values that decide a shard's content; where it was computed does not."""
    return {
        **params.extract.model_dump(exclude=_ELSEWHERE),
        "seed": params.seed,
        "prompt": GROUNDING_PROMPT,
    }


def _channels(paths: Sequence[Path]) -> int:
    """Channels of all grids together, read from the first row that there is."""
    if not paths:
        return 0
    grids = next(pq.ParquetFile(paths[0]).iter_batches(batch_size=1, columns=["grids"]))["grids"][0].as_py()
    return sum(grid["channels"] for grid in grids)
