"""The step ``evaluate``, one backbone on one benchmark: predictions and answers, and no number made of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from flmm.benchmarks import Benchmark, benchmark
from flmm.cache.embeddings import EmbeddingStore
from flmm.cache.reader import head_sizes, read_manifest
from flmm.data.images import ImageStore
from flmm.data.question import read_questions
from flmm.data.sample import read_samples
from flmm.device import resolve_device
from flmm.errors import InputError
from flmm.evaluation import qa, reasoning
from flmm.evaluation.engine import Part, predict
from flmm.evaluation.participants import fitting, frozen
from flmm.evaluation.second_look import SecondLook, wanted
from flmm.evaluation.select import read_selection
from flmm.evaluation.tables import ANSWER_SCHEMA, ANSWERS, PREDICTIONS, dataset_and_split
from flmm.files import write_json, write_table
from flmm.heads import names
from flmm.heads.checkpoint import check_fits, load_head
from flmm.heads.evaluated import Materials, build_heads, facts
from flmm.heads.model import GroundingHead, MaskHead
from flmm.heads.segmenter import Segmenter, load_segmenter
from flmm.params import Params


def evaluate(
    params: Params,
    backbone: str,
    benchmark_name: str,
    *,
    head: Path,
    maps: Mapping[str, Path],
    embeddings: Sequence[Path],
    samples: Mapping[str, Path],
    selected: Path | None,
    raw: Path,
    out: Path,
) -> None:
    """Predict masks, or answer questions, and write ``predictions.parquet`` or ``answers.parquet``, and ``facts.json``.

    ``head``: the trained or imported head. ``maps``: manifests by part, for a benchmark whose words are spoken; so are
    ``embeddings``, the manifests of the segmenter's. ``samples``: samples or questions by part, for the others.
    ``selected``: the file of ``select``, or None: then the baseline without training is left out, and the facts say so.

    Raises:
        InputError: an input is absent, damaged or of another backbone.
        StepError: a head's logits are not finite, or a file cannot be written.
    """
    chosen, config = benchmark(benchmark_name), fitting(head, backbone)
    if not (maps if chosen.words == "spoken" else samples):
        made_by = "extract" if chosen.words == "spoken" else "prepare"
        raise InputError(f"{chosen.title}: no part to evaluate; run `flmm {made_by}` for one first")
    device = resolve_device(params.evaluate.device, "evaluate.device")
    segmenter = load_segmenter(params.active.segmenter, raw).to(device)
    if chosen.words == "asked":
        trained = load_head(head, segmenter).to(device).eval()
        _ask(params, backbone, chosen, trained, segmenter, samples, raw, out)
        return
    channels = None if selected is None else read_selection(selected, config.lmm_channels)
    if chosen.words == "spoken":
        parts = spoken_parts(backbone, maps)
        for part in parts:
            where = f"{part.manifest.backbone} in {part.manifest.path}"
            check_fits(head, config, head_sizes(part.manifest), where)
    heads = build_heads(Materials(head, segmenter, device, params.seed, channels))
    thoughts: dict[str, Any] = {}
    if chosen.words == "answered":
        table, thoughts = _answer_then_ground(params, backbone, chosen, heads, segmenter, samples, raw, out)
    elif not embeddings:
        raise InputError(f"{chosen.title}: the segmenter's embeddings are missing; run `flmm embed` first")
    else:
        table = predict(parts, heads, EmbeddingStore(embeddings), chosen.counted(params.evaluate.protocols))
    write_table(out / PREDICTIONS, table)
    write_json(out / "facts.json", facts(table, heads, channels) | thoughts)


def spoken_parts(backbone: str, maps: Mapping[str, Path]) -> list[Part]:
    """The parts in the given order; ``maps``: their manifests.

    Raises:
        InputError: the attention of one is absent, of another part or of another backbone.
    """
    parts = []
    for part, path in maps.items():
        manifest = read_manifest(path)
        if manifest.part != part:
            raise InputError(f"{manifest.path}: of part {manifest.part}, not {part}")
        if manifest.backbone != backbone:
            raise InputError(f"{manifest.path}: of backbone {manifest.backbone}, not {backbone}")
        parts.append(Part(*dataset_and_split(part), manifest))
    return parts


def _answer_then_ground(
    params: Params,
    backbone_name: str,
    chosen: Benchmark,
    heads: Mapping[str, MaskHead],
    segmenter: Segmenter,
    samples: Mapping[str, Path],
    raw: Path,
    out: Path,
) -> tuple[pa.Table, dict[str, Any]]:
    """The predictions, and the facts of the chain of thought, whose tables are written."""
    backbone, images = frozen(params, backbone_name), ImageStore(raw)
    description = f"{chosen.name} {backbone_name}"
    parts = {part: read_samples(path) for part, path in samples.items()}
    table = reasoning.answer_then_ground(
        backbone,
        heads,
        segmenter,
        [sample for some in parts.values() for sample in some],
        images,
        chosen,
        max_new_tokens=params.evaluate.max_new_tokens,
        description=description,
    )
    if not wanted(params, chosen):
        return table, {}
    look = SecondLook(params, backbone, heads[names.TRAINED], segmenter, chosen, out, description)
    return table, {"thoughts": look.at_samples(parts, images)}


def _ask(
    params: Params,
    backbone_name: str,
    chosen: Benchmark,
    head: GroundingHead,
    segmenter: Segmenter,
    samples: Mapping[str, Path],
    raw: Path,
    out: Path,
) -> None:
    parts = {part: read_questions(path) for part, path in samples.items()}
    backbone = frozen(params, backbone_name)
    before, pictures = backbone.weights_hash(), qa.Pictures(ImageStore(raw))
    description = f"{chosen.name} {backbone_name}"
    answered = iter(
        qa.answer_twice(
            backbone,
            qa.AttachedHead(head, segmenter),
            [question for questions in parts.values() for question in questions],
            chosen.prompt,
            pictures,
            max_new_tokens=params.evaluate.max_new_tokens,
            description=description,
        )
    )
    rows = [
        row
        for part, questions in parts.items()
        for row in qa.answer_rows(backbone, part, questions, [next(answered) for _ in questions])
    ]
    write_table(out / ANSWERS, pa.Table.from_pylist(rows, schema=ANSWER_SCHEMA))
    thoughts: dict[str, Any] = {}
    if wanted(params, chosen):
        look = SecondLook(params, backbone, head, segmenter, chosen, out, description)
        thoughts = {"thoughts": look.at_questions(parts, pictures)}
    write_json(out / "facts.json", qa.facts(rows, before, backbone.weights_hash()) | thoughts)
