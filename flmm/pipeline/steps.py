"""The step graph, once: which steps the params ask for, and what each of them reads.

Everything else follows from it: Snakemake's inputs (``state``), the cache addresses and the identity of results
(``keys``), DVC's stages (tests/workflow checks dvc.yaml), what ``flmm plan`` counts.
"""

from functools import cached_property

from flmm.benchmarks import Benchmark, benchmark, names
from flmm.data import datasets
from flmm.data.readers import Files
from flmm.errors import InputError
from flmm.params import Params
from flmm.pipeline import paths
from flmm.pipeline.reads import READS, downloads
from flmm.pipeline.step import NARRATIVES, REPORT, TRACK, VOLATILE, Step


class Graph:
    """The steps of a run with these params.

    Raises:
        InputError: an unknown benchmark or reader, a benchmark without data, a source that the suite lacks.
    """

    def __init__(self, params: Params) -> None:
        self.params = params
        for name in params.evaluate.benchmarks:
            if not self.parts_of(name):
                raise InputError(
                    f"params.yaml: evaluate.benchmarks: suite {params.suite} has no dataset for {name!r} "
                    f"(reader {benchmark(name).reader})"
                )
        self._refuse_published_heads_on_a_selection()
        for part in self.parts:
            for source in {*self.files_of(part).annotations, *self.files_of(part).pictures}:
                if source not in params.sources:
                    raise InputError(
                        f"params.yaml: suites.{params.suite}.sources lacks {source}, of which {part} is made"
                    )

    def _refuse_published_heads_on_a_selection(self) -> None:
        for name in self.params.backbones:
            if name not in self.trained and self.pilot(name):
                raise InputError(
                    f"params.yaml: extract.heads and extract.layers: the published head of {name} takes every head and "
                    "layer; write all for both, or take this backbone out"
                )

    # What there is: parts, benchmarks, heads.

    @cached_property
    def benchmarks(self) -> dict[str, Benchmark]:
        """The benchmarks that run, by name."""
        return {name: benchmark(name) for name in self.params.evaluate.benchmarks}

    def parts_of(self, name: str) -> list[str]:
        """The parts that a benchmark evaluates: every split of its reader's datasets but the training ones."""
        reader = benchmark(name).reader
        return [part for part, (dataset, split) in self._all_parts.items()
                if self.params.active.datasets[dataset].reader == reader and split != paths.TRAIN]  # fmt: skip

    @cached_property
    def trained(self) -> list[str]:
        """The backbones whose heads are trained; the others' are imported."""
        return [name for name in self.params.backbones if self.params.catalogue[name].head is None]

    @cached_property
    def training_parts(self) -> list[str]:
        """The parts that heads are trained on; none where every head is imported."""
        if not self.trained:
            return []
        spoken = {entry.reader for entry in map(benchmark, names()) if entry.words == "spoken"}
        return [part for part, (dataset, split) in self._all_parts.items()
                if split == paths.TRAIN and self.params.active.datasets[dataset].reader in spoken]  # fmt: skip

    @cached_property
    def leaking_parts(self) -> list[str]:
        """The evaluation parts of the datasets that heads are trained on: training leaves their photographs out.

        Whether they are evaluated does not matter, so that the list of benchmarks decides nothing about training.
        """
        trained = {self.place(part)[0] for part in self.training_parts}
        return [
            part
            for part, (name, split) in self._all_parts.items()
            if name in trained and split != paths.TRAIN
        ]

    @cached_property
    def parts(self) -> list[str]:
        """Every part that is prepared."""
        evaluated = {part for name in self.benchmarks for part in self.parts_of(name)}
        wanted = {*evaluated, *self.training_parts, *self.leaking_parts}
        return [part for part in self._all_parts if part in wanted]

    def extracted_parts(self, backbone: str) -> list[str]:
        """The parts of which a backbone's attention is cached."""
        spoken = {part for name, entry in self.benchmarks.items() if entry.words == "spoken"
                  for part in self.parts_of(name)}  # fmt: skip
        cached = backbone in self.trained and not self.params.train.online
        training = self.training_parts if cached else []
        return [part for part in self.parts if part in spoken or part in training]

    @cached_property
    def archives(self) -> list[str]:
        """The archives whose images are embedded."""
        parts = {part for backbone in self.params.backbones for part in self.extracted_parts(backbone)}
        return sorted({name for part in parts for name in self.files_of(part).pictures})

    @cached_property
    def sources(self) -> list[str]:
        """The upstream files that these steps need."""
        files = {
            name
            for part in self.parts
            for name in (*self.files_of(part).annotations, *self._pictures_needed(part))
        }
        segmenter = self.params.active.segmenter.checkpoint
        heads = {self.params.head_source(backbone) for backbone in self.params.backbones}
        return [name for name in self.params.sources if name in files | heads or name == segmenter]

    def place(self, part: str) -> tuple[str, str]:
        """The dataset and the split of a part.

        Raises:
            InputError: the suite has no such part.
        """
        if part not in self._all_parts:
            raise InputError(
                f"unknown part {part!r}; suite {self.params.suite} has: {', '.join(self._all_parts)}"
            )
        return self._all_parts[part]

    def files_of(self, part: str) -> Files:
        """The upstream files of a part."""
        name, split = self.place(part)
        return datasets.files(name, self.params.active.datasets[name], split)

    def is_generated(self, source: str) -> bool:
        """Whether the suite's generator writes a source."""
        url = self.params.sources[source].url or ""
        return self.params.active.generate is not None and url.startswith(f"file:{paths.mirror()}/")

    def _pictures_needed(self, part: str) -> tuple[str, ...]:
        """None for a part that is prepared only because training leaves its photographs out."""
        evaluated = any(part in self.parts_of(name) for name in self.benchmarks)
        return self.files_of(part).pictures if evaluated or part in self.training_parts else ()

    @cached_property
    def _all_parts(self) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        for name, dataset in self.params.active.datasets.items():
            for split in dataset.splits:
                if f"{name}-{split}" in found:
                    raise InputError(f"params.yaml: datasets: the part {name}-{split} is there twice")
                found[f"{name}-{split}"] = (name, split)
        return found

    # The steps, and what each reads.

    @cached_property
    def results(self) -> list[Step]:
        """Every step whose results are kept, in the order of the pipeline."""
        found = [Step("digest", item=source) for source in self.sources]
        found += [Step("prepare", item=part) for part in self.parts]
        found += [Step("embed", item=archive) for archive in self.archives]
        for name in self.params.backbones:
            found += self.pilot(name)
            found += [Step("extract", name, part) for part in self.extracted_parts(name)]
            found += [self.head(name), *self.selection(name), *self.keywords(name)]
            found += [Step("evaluate", name, item) for item in self.benchmarks]
            found += [Step("count", name), *self.drawn(name), *self.repeats(name)]
        return [*found, *self.rivals, REPORT, TRACK]

    @cached_property
    def _asked(self) -> frozenset[Step]:
        return frozenset(self.results)

    def pilot(self, backbone: str) -> list[Step]:
        """The choice of what the cache keeps of a backbone, where that is not all."""
        extract = self.params.extract
        return [] if extract.heads == extract.layers == "all" else [Step("pilot", backbone)]

    def readers_of_training_maps(self, backbone: str) -> list[Step]:
        """The steps that read the attention of a backbone's training parts, where it is cached."""
        if backbone not in self.trained or self.params.train.online:
            return []
        return [self.head(backbone), *self.selection(backbone), *self.repeats(backbone)]

    def head(self, backbone: str) -> Step:
        """The step that a backbone's head comes from."""
        return Step("train" if backbone in self.trained else "import", backbone)

    def selection(self, backbone: str) -> list[Step]:
        """The choice of localization heads, where training phrases are cached and there are masks to predict."""
        masks = any(entry.words != "asked" for entry in self.benchmarks.values())
        cached = backbone in self.trained and not self.params.train.online
        return [Step("select", backbone)] if cached and masks else []

    def narratives(self, *, training: bool) -> list[str]:
        """The parts whose narratives the keyword selector is fitted on (``training``) or counted on."""
        evaluated = [part for name in self.benchmarks for part in self.parts_of(name)]
        datasets_of = self.params.active.datasets
        return [
            part
            for part in (self.training_parts if training else dict.fromkeys(evaluated))
            if datasets_of[self.place(part)[0]].reader == NARRATIVES
        ]

    def keywords(self, backbone: str) -> list[Step]:
        """The keyword selector, where there are narratives to fit it on and narratives that are evaluated."""
        both = self.narratives(training=True) and self.narratives(training=False)
        return [Step("keywords", backbone)] if both else []

    def drawn(self, backbone: str) -> list[Step]:
        """The pictures of the benchmarks with masks."""
        return [
            Step("overlays", backbone, name)
            for name, entry in self.benchmarks.items()
            if entry.words != "asked"
        ]

    @cached_property
    def given_parts(self) -> list[str]:
        """The parts whose words are given, so that only the head decides their masks."""
        given = [name for name, entry in self.benchmarks.items() if entry.words == "spoken"]
        return [part for name in given for part in self.parts_of(name)]

    def repeats(self, backbone: str) -> list[Step]:
        """The trained head once more for each further seed, where there are given words to count its masks on."""
        seeds = self.params.train.seeds[1:] if backbone in self.trained and self.given_parts else []
        return [Step("repeat", backbone, str(seed)) for seed in seeds]

    @cached_property
    def rivals(self) -> list[Step]:
        """The rivals of the backbones that run, of those that have a part to be evaluated on."""
        return [
            Step("rival", item=name)
            for name, entry in self.params.active.rivals.items()
            if entry.frozen in self.params.backbones and self.rival_parts(name)
        ]

    def rival_parts(self, name: str) -> list[str]:
        """The parts that a rival is evaluated on.

        Raises:
            InputError: its entry names a part that the suite lacks.
        """
        wanted = self.params.active.rivals[name].parts
        for part in wanted:
            self.place(part)
        return [part for each in self.benchmarks for part in self.parts_of(each) if part in wanted]

    def reads(self, step: Step) -> list[Step]:
        """The steps whose files a step reads.

        Raises:
            InputError: the params ask for no such step.
        """
        if step.name not in VOLATILE and step not in self._asked:
            others = [str(found) for found in self.results if found.name == step.name]
            raise InputError(
                f"params.yaml asks for no `{step}`; it asks for: {', '.join(others) or 'none of these'}"
            )
        return list(dict.fromkeys(READS[step.name](self, step)))

    def embedded_parts(self, archive: str) -> list[str]:
        """The parts whose photographs of an archive are embedded."""
        parts = {part for backbone in self.params.backbones for part in self.extracted_parts(backbone)}
        return [part for part in self.parts if part in parts and archive in self.files_of(part).pictures]

    @cached_property
    def asked_parts(self) -> list[str]:
        """The parts of questions without masks; counting asks them which questions are about one picture."""
        asked = [name for name, entry in self.benchmarks.items() if entry.words == "asked"]
        return [part for name in asked for part in self.parts_of(name)]

    def segmenter_source(self) -> list[Step]:
        """The download of the segmenter, where it is one."""
        checkpoint = self.params.active.segmenter.checkpoint
        return downloads([checkpoint]) if checkpoint in self.params.sources else []
