"""What comes in from outside: a small picture or one sentence, and no file stays."""

import io
import re
import struct
import zlib
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from flmm.app.uploads import EXAMPLES, MAX_MEGABYTES, SIDE, examples, read_picture, read_upload
from flmm.errors import InputError


def png(width: int, height: int) -> bytes:
    """A grey PNG that says it is that large, but holds no pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


def half(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((200, 200), 90).convert("RGB").save(stream, kind)
    return stream.getvalue()[: stream.tell() // 2]


def encoded(size: tuple[int, int], kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a picture"),
        (b"dear reader,\n", "not a picture"),
        (b"%PDF-1.7\n", "not a picture"),
        (png(20_000, 15_000), "megapixels"),
        (png(10_000, 8_000), "80 megapixels; at most 50"),
        (half("PNG"), "damaged"),
        (half("JPEG"), "damaged"),
        (encoded((4000, 3)), "4000 x 3 pixels"),
    ],
    ids=["empty", "text", "pdf", "300 megapixels", "80 megapixels", "half a PNG", "half a JPEG", "a line"],
)
def test_what_is_not_a_usable_picture_is_told_in_one_sentence(data: bytes, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        read_picture(data)
    assert len(str(caught.value)) < 150
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(3000, 2000), (900, 1600), (20, 30)])
def test_a_large_picture_is_made_smaller_in_its_proportions(size: tuple[int, int]) -> None:
    picture = read_picture(encoded(size))
    assert picture.mode == "RGB"
    assert max(picture.size) == min(SIDE, max(size))
    assert abs(picture.width / picture.height - size[0] / size[1]) < 0.01


def test_a_photograph_of_a_phone_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    assert read_picture(encoded((60, 40), "JPEG", exif=exif)).size == (40, 60)


def test_the_file_is_gone_whether_it_could_be_read_or_not(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(encoded((60, 40)))
    bad.write_bytes(b"no picture")
    assert read_upload(good, tmp_path).size == (60, 40)
    with pytest.raises(InputError):
        read_upload(bad, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_with_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "large.png"
    with file.open("wb") as opened:
        opened.truncate(MAX_MEGABYTES * 1_000_000 + 1)
    with pytest.raises(InputError, match="larger than"):
        read_upload(file, tmp_path)


def test_a_file_elsewhere_is_neither_read_nor_deleted(tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    private = tmp_path / "private.png"
    private.write_bytes(encoded((60, 40)))
    for path in (private, uploads / ".." / "private.png"):
        with pytest.raises(InputError, match="did not arrive"):
            read_upload(path, uploads)
    assert private.is_file()


def test_examples_are_the_same_at_every_start() -> None:
    first, second = examples(), examples()
    assert len(first) == EXAMPLES
    assert [a.tobytes() for a in first] == [b.tobytes() for b in second]
    assert len({a.tobytes() for a in first}) == EXAMPLES
