"""Which steps have to run: the keys that results were made with against the keys that params and code ask for.

Every result carries its key, so this needs no file's date and no memory of earlier runs, and it is the same after
``git checkout``, ``dvc pull`` or a deleted ``.snakemake``. A step runs when its results are absent or of another key;
what is big and can be made again (archives, attention shards, embeddings) is made only for a step that runs and
reads it.
"""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from flmm.data.download import read_arrived
from flmm.errors import InputError
from flmm.files import read_json
from flmm.params import Params
from flmm.pipeline import paths
from flmm.pipeline.hashes import Hashes
from flmm.pipeline.keys import Keys, is_remote, local_path
from flmm.pipeline.outputs import outputs, record, recorded, shards_are_there
from flmm.pipeline.step import TRACK, VOLATILE, Step
from flmm.pipeline.steps import Graph
from flmm.tracking.uri import tracking_uri

# A file that is newer than any result: Snakemake's one reason to make again what is there (workflow/rules/common.smk).
CHANGED = Path(".snakemake/changed")


class State:
    """What is here of a run with these params; ``forced``: steps that run although their results are current."""

    def __init__(self, params: Params, forced: Iterable[str] = (), *, in_turn: bool = False) -> None:
        """``in_turn``: where training shards are not kept, one backbone's are made when those before are gone."""
        self.graph = Graph(params)
        self.keys = Keys(self.graph, Hashes())
        self._forced = frozenset(forced)
        self._in_turn = in_turn and not params.extract.keep_training_maps

    @cached_property
    def running(self) -> frozenset[Step]:
        """The steps that have to run."""
        waiting = [step for step in self.graph.results if self.is_stale(step)]
        found: set[Step] = set()
        while waiting:
            step = waiting.pop()
            if step not in found:
                found.add(step)
                # What MLflow is told is in the small files: it needs no archive, no map and no embedding.
                missing = self.is_stale if step == TRACK else lambda read: not self.is_available(read)
                waiting += filter(missing, self.graph.reads(step))
        self.keys.hashes.save()
        return frozenset(found)

    def is_stale(self, step: Step) -> bool:
        """Whether a step's results are absent, not whole, or of other params, code or data."""
        if step not in self._stale:
            self._stale[step] = self._is_stale(step)
        return self._stale[step]

    def is_available(self, step: Step) -> bool:
        """Whether what another step reads of this one is here."""
        if step.name == "download":
            return self._is_downloaded(step.item)
        if self.is_stale(step):
            return False
        key, params = self.keys.key(step), self.graph.params
        if step.name == "extract":
            return shards_are_there(
                paths.extract_shards(step.backbone, str(key), step.item) / "manifest.json"
            )
        if step.name == "embed":
            store = str(self.keys.store(step.item))
            name = params.active.segmenter.name
            return shards_are_there(paths.embed_shards(name, store, step.item) / "manifest.json")
        return True

    def inputs(self, step: Step) -> list[str]:
        """The files for which Snakemake waits before the step, and its sign to run; none where it does not run."""
        if step not in self.running:
            return []
        waits = [*self.graph.reads(step), *self._before(step)]
        return [str(CHANGED), *(str(record(self.graph, each)) for each in waits)]

    def _before(self, step: Step) -> list[Step]:
        """The steps of another backbone that have to be done before a training part is extracted."""
        trained = self.graph.trained
        if not self._in_turn or step.name != "extract" or step.item not in self.graph.training_parts:
            return []
        place = trained.index(step.backbone) if step.backbone in trained else 0
        found = [each for name in trained[:place] for each in self.graph.readers_of_training_maps(name)]
        return [each for each in found if each in self.running]

    @cached_property
    def _stale(self) -> dict[Step, bool]:
        return {}

    def _is_stale(self, step: Step) -> bool:
        files = outputs(self.graph, step)
        if not self._forced.isdisjoint(("all", rule_of(step), *map(str, files))):
            return True
        if any(self.is_stale(read) for read in self.graph.reads(step) if self._is_forced_upstream(read)):
            return True
        key = self.keys.key(step)
        if step == TRACK and not self._is_told():
            return True
        if step.name == "digest" and not self._tells_its_origin(step.item):
            return True
        return key is None or recorded(self.graph, step) != key or not all(path.is_file() for path in files)

    def _is_told(self) -> bool:
        """Whether the present MLflow store is the one that was told last."""
        try:
            told = read_json(paths.reports() / "tracking.json")
        except InputError:
            return False
        return isinstance(told, dict) and told.get("uri") == tracking_uri()

    def _tells_its_origin(self, source: str) -> bool:
        try:
            return read_arrived(paths.digest(self.graph.params, source)).origin == self.keys.origin(source)
        except InputError:
            return False

    def _is_forced_upstream(self, step: Step) -> bool:
        return bool(self._forced) and step.name not in VOLATILE

    def _is_downloaded(self, source: str) -> bool:
        path = paths.raw(self.graph.params) / source
        if not path.is_file():
            return False
        entry = self.graph.params.sources[source]
        if entry.url is None or entry.sha256:
            return self.keys.identity(source) == self.keys.hashes.file(path)
        arrived = self.keys.arrived(source)
        if arrived is None or arrived.origin != self.keys.origin(source):
            return False
        if is_remote(entry.url):
            return True
        # A link follows its file; whether it is the file that params.yaml names is to be seen.
        return (
            self.keys.identity(source) == arrived.sha256
            and path.resolve() == local_path(source, entry.url or "").resolve()
        )


def rule_of(step: Step) -> str:
    """The Snakemake rule that runs a step: its name, where that is no word of Python."""
    return "import_head" if step.name == "import" else step.name
