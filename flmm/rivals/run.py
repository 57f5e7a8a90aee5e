"""The step ``rival``: a fine-tuned LMM's masks and answers, counted by the code of `flmm score`.

A rival of this project's own recipe predicts first; of any other the files are there already. From then on both are
treated alike.
"""

from collections.abc import Mapping
from pathlib import Path

from flmm.benchmarks import Benchmark, of_dataset
from flmm.data.images import ImageStore
from flmm.data.question import read_questions
from flmm.data.sample import read_samples
from flmm.device import resolve_device
from flmm.errors import InputError
from flmm.evaluation.records import Record
from flmm.evaluation.score import score
from flmm.evaluation.score_answers import score_answers
from flmm.evaluation.tables import dataset_and_split
from flmm.files import write_json
from flmm.params import Params
from flmm.rivals.entry import Rival

HEAD = "fine-tuned"  # what stands for a head in a rival's records: it has none
METRICS = "metrics.json"


def rival(params: Params, name: str, parts: Mapping[str, Path], *, raw: Path, out: Path) -> None:
    """Write ``out/metrics.json``, and the predictions of each part where the rival is a model.

    ``parts``: of each the file of `prepare`.

    Raises:
        InputError: the model or a file of predictions is absent, damaged or does not fit.
    """
    entry = params.active.rivals[name]
    benchmarks = {part: _benchmark(part) for part in parts}
    folder = out if entry.model is not None else Path(entry.folder)
    files = {part: folder / file_name(part, benchmarks[part]) for part in parts}
    if entry.model is not None:
        _predict(params, entry, parts, benchmarks, files, raw)
    records = [
        record.model_copy(update={"suite": params.suite, "backbone": name, "head": HEAD})
        for part, path in parts.items()
        for record in _count(part, path, files[part], benchmarks[part], name)
    ]
    write_json(out / METRICS, [record.model_dump() for record in records])


def file_name(part: str, benchmark: Benchmark) -> str:
    """The file of one part's predictions."""
    return f"{part}.jsonl" if benchmark.words == "asked" else f"{part}.json"


def _benchmark(part: str) -> Benchmark:
    found = of_dataset(dataset_and_split(part)[0])
    if found is None:
        raise InputError(f"{part}: no benchmark counts this data set")
    return found


def _predict(
    params: Params,
    entry: Rival,
    parts: Mapping[str, Path],
    benchmarks: Mapping[str, Benchmark],
    files: Mapping[str, Path],
    raw: Path,
) -> None:
    from flmm.heads.sam import SamSegmenter
    from flmm.heads.segmenter import load_segmenter
    from flmm.rivals.predict import SegModel, write_answers, write_masks

    device = resolve_device(params.evaluate.device, "evaluate.device")
    segmenter = load_segmenter(params.active.segmenter, raw).to(device)
    if not isinstance(segmenter, SamSegmenter):
        raise InputError(f"{params.active.segmenter.checkpoint}: a rival's mask decoder is SAM's")
    folder = Path(entry.folder)
    model = SegModel.load(folder, segmenter, dtype=params.extract.dtype, device=str(device))
    store, longest = ImageStore(raw), params.evaluate.max_new_tokens
    asked = {files[part]: read_questions(path) for part, path in parts.items() if _is_asked(benchmarks[part])}
    for part, path in parts.items():
        if not _is_asked(benchmarks[part]):
            write_masks(model, read_samples(path), store, files[part], longest)
    write_answers(model, asked, {files[part]: each for part, each in benchmarks.items()}, store, longest)


def _is_asked(benchmark: Benchmark) -> bool:
    return benchmark.words == "asked"


def _count(part: str, path: Path, predictions: Path, benchmark: Benchmark, name: str) -> list[Record]:
    if not predictions.is_file():
        raise InputError(f"{predictions}: no such file; docs/rivals.md says how to get it")
    if _is_asked(benchmark):
        dataset, split = dataset_and_split(part)
        return score_answers(
            read_questions(path), predictions, name, benchmark, dataset=dataset, split=split
        ).records
    return score(read_samples(path), predictions, "standard", name, benchmark).records
