"""Pictures as people have them: every depth is scaled or refused in words, EXIF turns only what it should turn."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from flmm.data.images import ImageStore, decode_id_map, decode_image, photograph_name
from flmm.errors import InputError
from tests.data.coco_files import zip_bytes

# Shares of white, in blocks of 16 pixels that JPEG does not blur.
LEVELS = np.kron([[0.0, 0.25, 0.5], [0.75, 1.0, 0.5]], np.ones((16, 16)))
GREY = Image.fromarray((LEVELS * 255).round().astype(np.uint8))


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


def of_mode(mode: str) -> Image.Image:
    """The grey levels as a picture of one of Pillow's modes."""
    if mode == "1":
        return Image.fromarray(LEVELS > 0.4)
    if mode.startswith("I;16"):
        kind = {"I;16B": ">u2", "I;16L": "<u2"}.get(mode, "=u2")
        values = (LEVELS * 65535).round().astype(kind)
        return Image.frombytes(mode, GREY.size, values.tobytes())
    if mode == "I":
        return Image.fromarray((LEVELS * 65535).round().astype(np.int32))
    if mode == "F":
        return Image.fromarray(LEVELS.astype(np.float32))
    if mode in ("LA", "PA"):
        return GREY.convert("LA").convert(mode)
    if mode == "P":
        return GREY.convert("RGB").quantize(8)
    if mode == "LAB":
        profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
        return ImageCms.profileToProfile(GREY.convert("RGB"), *profiles, outputMode="LAB")
    return GREY.convert("RGB").convert(mode)


# What Pillow can write: every mode that one of these formats gives back when it is opened.
WRITABLE = [
    ("PNG", "1"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "P"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "I;16"),
    ("TIFF", "LAB"), ("TIFF", "1"), ("TIFF", "L"), ("TIFF", "LA"), ("TIFF", "P"), ("TIFF", "PA"), ("TIFF", "RGB"),
    ("TIFF", "RGBA"), ("TIFF", "RGBX"), ("TIFF", "CMYK"), ("TIFF", "YCbCr"), ("TIFF", "I;16"), ("TIFF", "I;16B"),
    ("TIFF", "I"), ("TIFF", "F"), ("JPEG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("JPEG", "YCbCr"),
    ("PPM", "1"), ("PPM", "L"), ("PPM", "I"), ("PPM", "I;16"), ("PPM", "F"), ("BMP", "RGB"), ("GIF", "P"),
    ("TGA", "LA"), ("WEBP", "RGB"), ("JPEG2000", "L"), ("JPEG2000", "I;16"), ("SGI", "L"), ("IM", "F"),
]  # fmt: skip


@pytest.mark.parametrize(("format_", "mode"), WRITABLE)
def test_every_mode_is_scaled_to_eight_bits_or_refused_in_words(format_: str, mode: str) -> None:
    data = encoded(of_mode(mode), format_)
    try:
        found = np.asarray(decode_image(data, "here")).astype(int)
    except InputError as error:
        assert (format_, mode) == ("TIFF", "I"), error  # 32-bit integers say nothing about white
        assert "here: a picture of 32-bit integers from 0 to 65535" in str(error)
        return
    expected = (LEVELS > 0.4) * 255 if mode == "1" else np.asarray(GREY).astype(int)
    lossy = 3 if format_ in ("JPEG", "WEBP") else 1
    assert np.abs(found - expected[..., None]).max() <= lossy


@given(values=st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=6, max_size=6))
def test_floats_are_scaled_from_0_to_1_and_else_refused(values: list[float]) -> None:
    levels = np.array(values, dtype=np.float32).reshape(2, 3)
    data = encoded(Image.fromarray(levels), "TIFF")
    if np.isfinite(levels).all() and levels.min() >= 0 and levels.max() <= 1:
        assert np.abs(np.asarray(decode_image(data, "here"))[..., 0] / 255 - levels).max() < 0.003
    else:
        with pytest.raises(InputError, match=r"here: a picture of floats from .* does not say what is white"):
            decode_image(data, "here")


@given(values=st.lists(st.integers(0, 65535), min_size=6, max_size=6))
def test_sixteen_bits_lose_nothing_but_depth(values: list[int]) -> None:
    levels = np.array(values, dtype=np.uint16).reshape(2, 3)
    for format_ in ("PNG", "TIFF"):
        found = np.asarray(decode_image(encoded(Image.fromarray(levels), format_), "here"))
        assert np.abs(found[..., 0].astype(float) * 257 - levels).max() <= 129


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored rows and columns as EXIF wants them shown; beside each: where row 0 and column 0 are seen."""
    return {
        1: pixels,  # row 0 is the top, column 0 the left side
        2: pixels[:, ::-1],  # top, right
        3: pixels[::-1, ::-1],  # bottom, right
        4: pixels[::-1],  # bottom, left
        5: pixels.transpose(1, 0, 2),  # left, top
        6: pixels.transpose(1, 0, 2)[:, ::-1],  # right, top
        7: pixels.transpose(1, 0, 2)[::-1, ::-1],  # right, bottom
        8: pixels.transpose(1, 0, 2)[::-1],  # left, bottom
    }.get(orientation, pixels)


@pytest.mark.parametrize("archive", ["ReasonSeg_val", "cot", "train2014"])
@given(
    pixels=st.binary(min_size=18, max_size=18),
    orientation=st.integers(0, 12),
    name=st.sampled_from(["a.jpg", "a.png"]),
)
def test_exif_turns_reasonseg_photographs_and_no_others(
    tmp_path_factory: pytest.TempPathFactory, archive: str, pixels: bytes, orientation: int, name: str
) -> None:
    stored = np.frombuffer(pixels, dtype=np.uint8).reshape(2, 3, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    format_ = {"a.jpg": "JPEG", "a.png": "PNG"}[name]
    data = encoded(Image.fromarray(stored), format_, exif=exif)
    raw = tmp_path_factory.mktemp("raw")
    (raw / f"{archive}.zip").write_bytes(zip_bytes({f"{archive}/{name}": data}))
    found = ImageStore(raw).open(archive, name)
    plain = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(
        np.asarray(found), turned(plain, orientation) if archive.startswith("ReasonSeg") else plain
    )
    assert photograph_name(found).startswith(
        f"{archive}/{name}: photograph of {found.width} x {found.height}"
    )


@given(junk=st.binary(max_size=40))
def test_damaged_exif_is_no_orientation(junk: bytes) -> None:
    data = encoded(GREY.convert("RGB"), "PNG", exif=b"Exif\0\0" + junk)
    assert decode_image(data, "here", upright=True).size in (GREY.size, GREY.size[::-1])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16"])
def test_an_id_map_has_three_channels(mode: str) -> None:
    with pytest.raises(InputError, match=r"here: not an RGB id map .* mode '"):
        decode_id_map(encoded(of_mode(mode), "PNG"), "here")


def test_an_id_map_may_have_alpha() -> None:
    colours = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert np.array_equal(decode_id_map(encoded(Image.fromarray(colours), "PNG"), "here"), colours[..., :3])


def test_a_photograph_without_a_name_is_called_by_its_size() -> None:
    assert photograph_name(Image.new("RGB", (4, 3))) == "the photograph of 4 x 3 pixels"


def test_a_store_is_deterministic_across_folder_and_zip(tmp_path: Path) -> None:
    data = encoded(of_mode("I;16"), "PNG")
    (tmp_path / "cot").mkdir()
    (tmp_path / "cot" / "a.png").write_bytes(data)
    assert np.array_equal(
        np.asarray(ImageStore(tmp_path).open("cot", "a.png")), np.asarray(decode_image(data, "x"))
    )
