"""RefCOCO, RefCOCO+ and RefCOCOg: REFER's ``refs(<author>).p`` with ``instances.json``.

One sample per image and split, as mmdet's ``datasets/refcoco.py``, which the authors train and test with:
splits match exactly, sentences are the lower-cased ``raw`` ones, and refs of a split that share an annotation
collapse to the last, at the place of the first.
"""

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from flmm.data.archives import find_tree
from flmm.data.coco import Instances
from flmm.data.images import archive_of
from flmm.data.pickles import load_json_or_plain
from flmm.data.readers import (
    EMPTY_SENTENCE,
    EVALUATION_IMAGE,
    NO_TARGET,
    NO_WORDS,
    SHARED_ANNOTATION,
    ZERO_AREA,
    Files,
    GroundingReader,
)
from flmm.data.sample import Sample, Target
from flmm.data.upstream import Id, index, parse_python
from flmm.errors import InputError
from flmm.params import Dataset

TRAIN = "train"  # the split that the authors draw training sentences from


@dataclass(frozen=True, slots=True)
class _Sentence:
    raw: str


@dataclass(frozen=True, slots=True)
class _Ref:
    ref_id: Id
    ann_id: Id
    image_id: Id
    split: str
    sentences: list[_Sentence]


_REFS = TypeAdapter(list[_Ref])


def _refs(data: bytes, where: str) -> list[_Ref]:
    """The refs of a pickle, or of the same list as JSON.

    Raises:
        InputError: see ``load_plain``; malformed records; gRefCOCO's, whose refs name several annotations or none.
    """
    value = load_json_or_plain(data, where)
    several = (ref for ref in value if isinstance(ref, dict)) if isinstance(value, list) else ()
    for ref in several:
        if isinstance(ref.get("ann_id"), list):
            raise InputError(
                f"{where}: ref {str(ref.get('ref_id'))[:20]} names a list of annotations, as gRefCOCO does; "
                "expressions for several objects or for none are not read here, only RefCOCO, RefCOCO+ and RefCOCOg"
            )
    return parse_python(_REFS, value, where)


class RefCOCO(GroundingReader):
    """One REFER dataset: ``<raw>/<name>.zip`` or the folder ``<raw>/<name>``."""

    def __init__(self, raw: Path, name: str, refs: str) -> None:
        """Read ``<name>/<refs>`` and ``<name>/instances.json``.

        Raises:
            InputError: a file is absent, damaged, malformed or a pickle that wants to run code.
        """
        member = f"{name}/{refs}"
        tree = find_tree(raw, name, member)
        self.name = name
        self.where = f"{tree.where}: {member}"
        records = _refs(tree.read(member), self.where)
        index(records, "ref", self.where, key="ref_id")
        self._instances = Instances(tree, f"{name}/instances.json", {ref.ann_id for ref in records})
        # Per split and image, its refs in upstream order.
        self._splits: dict[str, dict[int, list[_Ref]]] = {}
        for ref in records:
            self._splits.setdefault(ref.split, {}).setdefault(ref.image_id, []).append(ref)

    def image_ids(self, split: str) -> list[int]:
        return list(self._split(split))

    def samples(self, split: str, exclude: Set[int], skipped: Counter[str]) -> Iterator[Sample]:
        for image_id, refs in self._split(split).items():
            if image_id in exclude:
                skipped[EVALUATION_IMAGE] += 1
                continue
            targets = tuple(self._targets(refs, split, skipped))
            if not targets:
                skipped[NO_TARGET] += 1
                continue
            image = self._instances.image(image_id)
            yield Sample(
                sample_id=f"{self.name}-{split}-{image_id:012d}",
                dataset=self.name,
                split=split,
                image_id=image_id,
                archive=archive_of(image.file_name, self._instances.where),
                image=image.file_name,
                height=image.height,
                width=image.width,
                targets=targets,
                narrative=(),
            )

    def _split(self, split: str) -> dict[int, list[_Ref]]:
        if split not in self._splits:
            known = ", ".join(sorted(self._splits)) or "none"
            raise InputError(f"{self.where}: has no split {split!r}; its splits: {known}")
        return self._splits[split]

    def _targets(self, refs: list[_Ref], split: str, skipped: Counter[str]) -> Iterator[Target]:
        by_annotation: dict[int, list[_Ref]] = {}
        for ref in refs:
            by_annotation.setdefault(ref.ann_id, []).append(ref)
        for annotation_id, sharing in by_annotation.items():
            # The last ref speaks for the object: in training alone, else (`paper`) with its first sentence, and the
            # others' sentences follow.
            if split == TRAIN:
                skipped[SHARED_ANNOTATION] += sum(len(ref.sentences) for ref in sharing[:-1])
                sharing = sharing[-1:]
            raw = [sentence.raw for ref in (sharing[-1], *sharing[:-1]) for sentence in ref.sentences]
            sentences = tuple(text for text in (sentence.lower() for sentence in raw) if text.strip())
            skipped[EMPTY_SENTENCE] += len(raw) - len(sentences)
            target = self._target(annotation_id, sharing[-1], sentences, skipped)
            if target is not None:
                yield target

    def _target(
        self, annotation_id: int, ref: _Ref, sentences: tuple[str, ...], skipped: Counter[str]
    ) -> Target | None:
        annotation = self._instances.annotation(annotation_id)
        if annotation.image_id != ref.image_id:
            raise InputError(
                f"{self.where}: ref {ref.ref_id} is about image {ref.image_id}, "
                f"but its annotation {annotation_id} is of image {annotation.image_id}"
            )
        rle = self._instances.rle(annotation, skipped)
        if rle is None or not sentences:
            skipped[ZERO_AREA if rle is None else NO_WORDS] += 1
            return None
        category = self._instances.category(annotation.category_id)
        return Target(str(annotation_id), sentences, rle, category.name, category.isthing, is_plural=False)


def files(name: str, dataset: Dataset, split: str) -> Files:
    """REFER's archive; all photographs are of COCO's train2014."""
    return Files((f"{name}.zip",), ("train2014.zip",))


def open_reader(raw: Path, name: str, dataset: Dataset) -> RefCOCO:
    """Read one dataset's annotations.

    Raises:
        InputError: params.yaml does not say which expressions, or a file is absent or malformed.
    """
    if dataset.refs is None:
        raise InputError(
            f"params.yaml: datasets.{name}.refs: the reader refcoco needs a file such as refs(unc).p"
        )
    return RefCOCO(raw, name, dataset.refs)
