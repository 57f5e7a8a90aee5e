"""The typed ``params.yaml``: read once, checked whole, before any step starts. No default lives here."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from flmm.benchmarks import names
from flmm.by_suite import with_values_of_the_suite
from flmm.errors import InputError
from flmm.rivals.entry import Rival
from flmm.sections import AllOrSome, Device, Dtype, PositiveInt, Section, Thoughts
from flmm.training_section import Head as Head  # of the section `train`; others take both from here
from flmm.training_section import Train as Train


class Download(Section):
    retries: Annotated[int, Field(ge=0)]
    timeout: PositiveInt


class Prepare(Section):
    exclude_evaluation_images: bool
    exclude: list[str]


class Extract(Section):
    train_draws: PositiveInt
    samples_per_shard: PositiveInt
    attention: Literal["log8", "float16"]
    hidden: Literal["log8", "float16"]
    heads: AllOrSome
    layers: AllOrSome
    keep_training_maps: bool
    jobs: PositiveInt
    dtype: Dtype
    device: Device


class Pilot(Section):
    images: PositiveInt


class Embed(Section):
    images_per_shard: PositiveInt
    dtype: Dtype
    device: Device


class Select(Section):
    """The baseline without training: how many attention heads, chosen on how many training phrases."""

    heads: PositiveInt
    phrases: PositiveInt


class Keywords(Section):
    """The keyword selector: how many narratives it is fitted and counted on, and how."""

    narratives: PositiveInt
    evaluation_narratives: PositiveInt
    threshold: Annotated[float, Field(gt=0, lt=1)]
    steps: PositiveInt
    weight_decay: Annotated[float, Field(ge=0)]


class Evaluate(Section):
    """What is evaluated. ``protocols``: how spoken words are counted (docs/protocols.md)."""

    benchmarks: list[str]
    protocols: list[Literal["paper", "standard"]]
    max_new_tokens: PositiveInt
    description_tokens: PositiveInt
    device: Device
    thoughts: Thoughts

    @field_validator("benchmarks")
    @classmethod
    def _have_a_file(cls, benchmarks: list[str]) -> list[str]:
        unknown = [name for name in benchmarks if name not in names()]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: there are {', '.join(names())}")
        return benchmarks


class Count(Section):
    """``text_model``: a directory or a hub name that transformers loads, to tell how alike two phrases are."""

    text_model: str | None


class Overlays(Section):
    pictures: Annotated[int, Field(ge=0)]


class Report(Section):
    title: str
    gallery: Annotated[int, Field(ge=0)]


class Generate(Section):
    train_images: PositiveInt
    evaluation_images: PositiveInt


class Segmenter(Section):
    """The SAM behind the refiner: a directory (config.json + model.safetensors) or a downloaded ``.pth``."""

    name: str
    checkpoint: str


class Source(Section):
    """One upstream file: where it comes from and what it must be. ``url`` empty: the user has to supply it.

    ``md5`` is checked, too, where a publisher tells it.
    """

    url: str | None
    bytes: PositiveInt | None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None


class Dataset(Section):
    """One dataset: the reader of its files (a module of ``flmm/data``) and its splits; a part is one split.

    ``refs``: RefCOCO's alone, which file of referring expressions. ``first``: how many of each split's samples are
    kept, the first ones; empty: all.
    """

    reader: str
    splits: list[str]
    refs: str | None = None
    first: PositiveInt | None = None


class Suite(Section):
    """``generate``: how many scenes, where a suite makes its data itself."""

    generate: Generate | None
    segmenter: Segmenter
    sources: dict[str, Source]
    datasets: dict[str, Dataset]
    rivals: dict[str, Rival]
    extract: dict[str, Any]
    train: dict[str, Any]
    keywords: dict[str, Any]


class PublishedHead(Section):
    """A head from elsewhere, which is imported instead of training one."""

    url: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class BackboneEntry(Section):
    """One frozen LMM: its family's file under ``flmm/backbones`` and where its weights are."""

    suite: Literal["shapes", "paper"]
    family: str
    model: str
    revision: str | None
    trust_remote_code: bool
    head: PublishedHead | None = None


class Params(Section):
    """The whole file; ``extract``, ``train`` and ``keywords`` hold the active suite's own values, too."""

    suite: Literal["shapes", "paper"]
    backbones: Annotated[list[str], Field(min_length=1)]
    seed: int
    download: Download
    prepare: Prepare
    extract: Extract
    pilot: Pilot
    embed: Embed
    train: Train
    select: Select
    keywords: Keywords
    evaluate: Evaluate
    count: Count
    overlays: Overlays
    report: Report
    suites: dict[Literal["shapes", "paper"], Suite]
    catalogue: dict[str, BackboneEntry]

    @model_validator(mode="after")
    def _backbones_belong_to_the_suite(self) -> "Params":
        known = sorted(name for name, entry in self.catalogue.items() if entry.suite == self.suite)
        for name in self.backbones:
            if name not in known:
                raise ValueError(
                    f"backbones: {name!r} is not a backbone of suite {self.suite!r}; known: {', '.join(known)}"
                )
        if len(set(self.backbones)) != len(self.backbones):
            raise ValueError("backbones: a name is listed twice")
        return self

    @property
    def active(self) -> Suite:
        """The suite that runs."""
        return self.suites[self.suite]

    def head_source(self, backbone: str) -> str | None:
        """The name under which a backbone's published head is downloaded; None where a head is trained."""
        head = self.catalogue[backbone].head
        return None if head is None else f"{backbone}-head{PurePosixPath(head.url).suffix}"

    @property
    def sources(self) -> dict[str, Source]:
        """Every upstream file that the suite knows, the published heads of its backbones included."""
        heads = {
            name: Source(url=entry.url, bytes=None, sha256=entry.sha256)
            for backbone in self.backbones
            if (name := self.head_source(backbone)) and (entry := self.catalogue[backbone].head)
        }
        return {**self.active.sources, **heads}


def load_params(
    path: Path = Path("params.yaml"), *, suite: str | None = None, backbones: list[str] | None = None
) -> Params:
    """Read and check params.yaml; ``suite`` and ``backbones`` stand for those in the file.

    Another suite than the file's runs all its backbones of the catalogue, unless they are named.

    Raises:
        InputError: one line that names the file, the key and what is wrong with its value.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; run from the project's directory") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path}: expected a mapping of sections")
    if suite is not None and suite != raw.get("suite"):
        known = raw.get("catalogue")
        entries = known.items() if isinstance(known, dict) else ()
        raw = {
            **raw,
            "suite": suite,
            "backbones": [name for name, entry in entries if _suite(entry) == suite],
        }
    if backbones is not None:
        raw = {**raw, "backbones": backbones}
    return parse_params(raw, path)


def _suite(entry: Any) -> Any:
    return entry.get("suite") if isinstance(entry, dict) else None


def parse_params(raw: dict[str, Any], path: Path = Path("params.yaml")) -> Params:
    """Check an already parsed mapping; see ``load_params``."""
    try:
        return Params.model_validate(with_values_of_the_suite(raw, path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        given = "" if first["type"] in {"missing", "value_error"} else f", got {first['input']!r}"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise InputError(f"{path}: {key + ': ' if key else ''}{message}{given}{more}") from error
