"""The ``evaluate`` step, one backbone on one benchmark: ``flmm evaluate --backbone B --benchmark res``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from flmm.pipeline import paths
from flmm.backbones import load
from flmm.cache.embeddings import EmbeddingStore
from flmm.cache.reader import head_sizes, read_answers, read_manifest
from flmm.data.images import ImageStore
from flmm.data.question import read_questions
from flmm.data.sample import read_samples
from flmm.device import resolve_device
from flmm.errors import InputError
from flmm.evaluation import mmbench, pope, qa, reasoning
from flmm.evaluation.answers import answer_records
from flmm.evaluation.engine import Part, predict
from flmm.evaluation.overlays import write_overlays
from flmm.evaluation.predictions import grounding_records
from flmm.files import write_json, write_table
from flmm.heads.checkpoint import check_fits, load_head, read_config
from flmm.heads.evaluated import Materials, build_heads
from flmm.heads.localization import select_heads
from flmm.heads.model import MaskHead
from flmm.heads.segmenter import Segmenter, load_segmenter
from flmm.params import Params


def evaluate(
    params: Params,
    backbone_name: str,
    benchmark: str,
    *,
    head_path: Path,
    extract_manifests: Sequence[Path],
    embed_manifest: Path,
    raw: Path,
    out: Path,
) -> None:
    """Evaluate a trained head (``res``, ``png``; on the LMM's own words ``reasonseg``, ``viscot``) or its frozen LMM's
    answers (``pope``, ``mmbench``).

    Writes ``metrics.json`` (flat records, last of all) with, for grounding, ``predictions.parquet``,
    ``overlays/*.png`` and ``overlays.json``, else ``answers.parquet`` and ``facts.json``.
    ``extract_manifests``: at least those of the benchmark's evaluation parts and of its training parts, on which
    the localization heads are chosen; the question benchmarks use neither them nor ``embed_manifest``.

    Raises:
        InputError: an input is absent, damaged or of another backbone.
        StepError: a head's logits are not finite, or a file cannot be written.
    """
    config = read_config(head_path)
    if config.backbone != backbone_name:
        raise InputError(f"{head_path}: trained for backbone {config.backbone}, not {backbone_name}")
    device = resolve_device(params.evaluate.device)
    segmenter = load_segmenter(params.active.segmenter, raw).to(device)
    if benchmark not in {**paths.GROUNDED, **paths.REASONED}:
        head = load_head(head_path, segmenter).to(device).eval()
        _questions(params, backbone_name, benchmark, qa.AttachedHead(head, segmenter), raw, out)
        return
    grounded = benchmark in paths.GROUNDED
    parts = _parts(params, backbone_name, paths.GROUNDED[benchmark], extract_manifests) if grounded else []
    for part in parts:
        where = f"{part.manifest.backbone} in {part.manifest.path}"
        check_fits(head_path, config, head_sizes(part.manifest), where)
    channels = _pilot_channels(params, extract_manifests)
    heads = build_heads(Materials(head_path, segmenter, device, params.seed, channels))
    if not grounded:
        table = _reasoning(params, backbone_name, benchmark, heads, segmenter, raw)
        _write(params, backbone_name, table, [reasoning.PROTOCOL], reasoning.PROTOCOL, raw, out)
        return
    table = predict(parts, heads, EmbeddingStore(embed_manifest), params.evaluate.protocols)
    # One protocol's rows, or the same phrase would be shown twice.
    shown = "standard" if "standard" in params.evaluate.protocols else "paper"
    _write(params, backbone_name, table, params.evaluate.protocols, shown, raw, out)


def _pilot_channels(params: Params, manifests: Sequence[Path]) -> list[int]:
    """The attention heads of the baseline without training, chosen on the first training phrases."""
    train = [manifest for manifest in map(read_manifest, manifests) if manifest.part.endswith("-train")]
    said = (answer.head_input() for manifest in train for answer in read_answers(manifest))
    settings = params.evaluate.localization
    channels = select_heads(said, heads=settings.heads, phrases=settings.phrases)
    print(f"localization heads: channels {', '.join(map(str, channels))}")
    return channels


def _parts(params: Params, backbone: str, reader: str, manifests: Sequence[Path]) -> list[Part]:
    """Every evaluation part of the benchmark, in the order of params.yaml.

    Raises:
        InputError: the attention of a part is absent, or of another backbone.
    """
    given = {manifest.part: manifest for manifest in map(read_manifest, manifests)}
    parts = []
    for name, dataset in params.active.datasets.items():
        for split in dataset.splits if dataset.reader == reader else []:
            if split == "train":
                continue
            if f"{name}-{split}" not in given:
                raise InputError(f"no attention of {name}-{split}; run `flmm extract` for it first")
            manifest = given[f"{name}-{split}"]
            if manifest.backbone != backbone:
                raise InputError(f"{manifest.path}: of backbone {manifest.backbone}, not {backbone}")
            parts.append(Part(name, split, manifest))
    return parts


def _reasoning(
    params: Params,
    backbone: str,
    benchmark: str,
    heads: Mapping[str, MaskHead],
    segmenter: Segmenter,
    raw: Path,
) -> pa.Table:
    parts = paths.benchmark_parts(params, benchmark)
    samples = [sample for part in parts for sample in read_samples(paths.samples(params, part))]
    device = resolve_device(params.evaluate.device)
    return reasoning.answer_then_ground(
        load(params.catalogue[backbone], dtype=params.extract.dtype, device=str(device)),
        heads,
        segmenter,
        samples,
        ImageStore(raw),
        max_new_tokens=params.evaluate.max_new_tokens,
        description=f"{benchmark} {backbone}",
    )


def _write(
    params: Params,
    backbone: str,
    table: pa.Table,
    protocols: Sequence[str],
    shown: str,
    raw: Path,
    out: Path,
) -> None:
    write_table(out / "predictions.parquet", table)
    write_overlays(table, ImageStore(raw), out, count=params.evaluate.overlays, protocol=shown)
    readers = {name: dataset.reader for name, dataset in params.active.datasets.items()}
    records = grounding_records(
        table, suite=params.suite, backbone=backbone, readers=readers, protocols=protocols
    )
    write_json(out / "metrics.json", records)


def _questions(
    params: Params, backbone_name: str, benchmark: str, attached: qa.AttachedHead, raw: Path, out: Path
) -> None:
    module = {"pope": pope, "mmbench": mmbench}[benchmark]
    parts = {
        part.removeprefix(f"{benchmark}-"): read_questions(paths.samples(params, part))
        for part in paths.question_parts(params)
        if part.startswith(f"{benchmark}-")
    }
    device = resolve_device(params.evaluate.device)
    backbone = load(params.catalogue[backbone_name], dtype=params.extract.dtype, device=str(device))
    before = backbone.weights_hash()
    answered = qa.answer_twice(
        backbone,
        attached,
        [question for questions in parts.values() for question in questions],
        module.prompt,
        qa.Pictures(ImageStore(raw)),
        max_new_tokens=params.evaluate.max_new_tokens,
        description=f"{benchmark} {backbone_name}",
    )
    rest = iter(answered)
    rows = [
        row
        for split, questions in parts.items()
        for row in qa.answer_rows(backbone, split, questions, [next(rest) for _ in questions])
    ]
    table = pa.Table.from_pylist(rows, schema=qa.ANSWER_SCHEMA)
    write_table(out / "answers.parquet", table)
    write_json(out / "facts.json", qa.facts(rows, before, backbone.weights_hash()))
    records = answer_records(table, suite=params.suite, backbone=backbone_name, benchmark=benchmark)
    write_json(out / "metrics.json", records)
