"""Photographs by archive and file name, read out of COCO's zips without unpacking 120 GB."""

import io
import os
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from flmm.data.archives import Archive, Folder, Tree
from flmm.data.depth import eight_bits
from flmm.data.sample import Sample
from flmm.errors import InputError

# COCO 2014 names carry their archive; 2017 names are bare ids (PNG's split says which; POPE's are val2017).
_COCO_2014 = re.compile(r"COCO_((?:train|val|test)2014)_\d{12}\.jpg")
_COCO_2017 = re.compile(r"\d{12}\.jpg")

# What Pillow's decoders raise on damaged files; several formats raise more than OSError.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_NAME = "photograph"  # key of Image.info that keeps a picture's name with it

# EXIF's orientation: how the stored rows and columns have to be turned to be seen upright.
_TURNS: dict[Any, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def archive_of(file_name: str, where: str) -> str:
    """The archive that holds a COCO photograph, from its file name alone.

    Raises:
        InputError: the name follows no COCO pattern (``where`` says who gave it).
    """
    match = _COCO_2014.fullmatch(file_name)
    if match:
        return match.group(1)
    if _COCO_2017.fullmatch(file_name):
        return "val2017"
    raise InputError(f"{where}: {file_name!r} is not a COCO file name")


def decode_image(data: bytes, where: str, *, upright: bool = False) -> Image.Image:
    """Encoded picture bytes as RGB; ``photograph_name`` gives ``where`` back for later messages.

    Greyscale, palettes and CMYK become RGB, deeper pictures are scaled to 8 bits (``flmm.data.depth``). An EXIF
    orientation is ignored unless ``upright``: COCO's annotations lie on the stored pixels (pycocotools and the
    authors' ``Image.open`` ignore it too).

    Raises:
        InputError: the picture is damaged, too large, or its values do not say what is white (names ``where``).
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = eight_bits(opened, where).convert("RGB")
            turn = _turn(opened) if upright else None
    except DECODE_ERRORS as error:
        raise InputError(f"{where}: not a readable picture ({error})") from error
    image = image if turn is None else image.transpose(turn)
    image.info = {_NAME: where}
    return image


def decode_id_map(data: bytes, where: str) -> np.ndarray:
    """An id-coded PNG (panoptic) as (height, width, 3) uint8 colours.

    Raises:
        InputError: the picture is damaged, or has no three channels of 8 bits: its numbers are not RGB's code.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            mode, colours = opened.mode, np.asarray(opened)
    except DECODE_ERRORS as error:
        raise InputError(f"{where}: not a readable picture ({error})") from error
    if mode not in ("RGB", "RGBA"):
        raise InputError(
            f"{where}: not an RGB id map (id = R + 256 G + 65536 B) but a picture of Pillow's mode {mode!r}"
        )
    return colours[..., :3]


def photograph_name(image: Image.Image) -> str:
    """How messages call a picture: its archive and name where it came from one, and its size."""
    name = image.info.get(_NAME)
    return f"{name + ': ' if name else 'the '}photograph of {image.width} x {image.height} pixels"


def shown_upright(archive: str) -> bool:
    """Whether an archive's annotations lie on photographs turned upright by EXIF: ReasonSeg's, drawn with OpenCV."""
    return archive.startswith("ReasonSeg")


def _turn(opened: Image.Image) -> Image.Transpose | None:
    """What turns a stored picture upright, by its EXIF alone, as OpenCV does; None for nothing or for damaged EXIF.

    Not ``ImageOps.exif_transpose``: it also follows XMP.
    """
    exif = Image.Exif()
    try:
        exif.load(opened.info.get("exif") or b"")
        return _TURNS.get(exif.get(ExifTags.Base.Orientation))
    except DECODE_ERRORS:
        return None


class ImageStore:
    """Pictures of one suite: archive ``train2014`` is ``<raw>/train2014.zip`` or folder ``<raw>/train2014``.

    Names are relative to the archive's folder of the same name, or to the archive where it has no such folder.

    Cheap to make and to send to worker processes: archives open on first use, once per process.
    """

    def __init__(self, raw: Path) -> None:
        self.raw = raw
        self._trees: dict[str, Tree] = {}
        self._process = os.getpid()

    def open(self, archive: str, name: str) -> Image.Image:
        """The picture as RGB, upright where the archive's annotations want it (``shown_upright``).

        Raises:
            InputError: archive, member or picture is absent or damaged (names archive and member).
        """
        tree = self._tree(archive)
        member = _member(tree, archive, name)
        where = f"{tree.where}: {member}"
        image = decode_image(tree.read(member), where, upright=shown_upright(archive))
        image.info[_NAME] = f"{archive}/{name}"
        return image

    def of(self, sample: Sample) -> Image.Image:
        """A sample's picture as RGB, of the size on which its masks lie.

        Raises:
            InputError: as ``open``, or the picture has another size.
        """
        image = self.open(sample.archive, sample.image)
        if image.size != (sample.width, sample.height):
            raise InputError(
                f"{sample.archive}/{sample.image}: {image.width} x {image.height} pixels, but its "
                f"annotation says {sample.width} x {sample.height}"
            )
        return image

    def has(self, archive: str, name: str) -> bool:
        """Whether the picture is there (its bytes are not looked at).

        Raises:
            InputError: the archive is absent or damaged.
        """
        tree = self._tree(archive)
        return tree.has(_member(tree, archive, name))

    def _tree(self, archive: str) -> Tree:
        if self._process != os.getpid():
            # A forked child shares its parent's file positions: it opens its own.
            self._trees, self._process = {}, os.getpid()
        if archive not in self._trees:
            packed = self.raw / f"{archive}.zip"
            if packed.is_file():
                self._trees[archive] = Archive.open(packed)
            elif (self.raw / archive).is_dir():
                self._trees[archive] = Folder(self.raw)
            else:
                raise InputError(
                    f"{packed}: no such file, nor a folder {self.raw / archive}; run `flmm download`"
                )
        return self._trees[archive]

    def __getstate__(self) -> dict[str, Any]:
        return {"raw": self.raw}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["raw"])  # type: ignore[misc]


def _member(tree: Tree, archive: str, name: str) -> str:
    """COCO's members begin with their archive's name; those of other archives (ReasonSeg) do not."""
    member = f"{archive}/{name}"
    return name if not tree.has(member) and tree.has(name) else member
