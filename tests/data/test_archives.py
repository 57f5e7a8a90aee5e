"""Archives and photographs: folder and zip read the same; damaged and hostile ones are refused by name."""

import io
import multiprocessing
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from flmm.data import archives
from flmm.data.archives import Archive, Folder, Tree, find_tree, is_safe_name
from flmm.data.images import ImageStore, archive_of, decode_image
from flmm.errors import InputError
from tests.data.coco_files import picture_bytes, zip_bytes


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_folder_and_a_zip_read_the_same(tmp_path: Path) -> None:
    write(tmp_path / "folder" / "refcoco" / "refs(unc).p", b"refs")
    write(tmp_path / "zips" / "refcoco.zip", zip_bytes({"refcoco/refs(unc).p": b"refs"}))
    for raw in (tmp_path / "folder", tmp_path / "zips"):
        tree = find_tree(raw, "refcoco", "refcoco/refs(unc).p")
        assert tree.read("refcoco/refs(unc).p") == b"refs"
        assert tree.has("refcoco/refs(unc).p") and not tree.has("refcoco/other")
        with pytest.raises(InputError, match="refcoco/other"):
            tree.read("refcoco/other")
    with pytest.raises(InputError, match=r"refcoco\.zip: no such file, nor"):
        find_tree(tmp_path, "refcoco", "refcoco/refs(unc).p")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_zip_inside_a_zip_is_read_without_unpacking(tmp_path: Path, method: int) -> None:
    inner = zip_bytes({"panoptic_val2017/1.png": b"mask"})
    write(tmp_path / "outer.zip", zip_bytes({"annotations/panoptic_val2017.zip": inner}, method))
    write(tmp_path / "packed" / "annotations" / "panoptic_val2017.zip", inner)
    write(tmp_path / "unpacked" / "annotations" / "panoptic_val2017" / "1.png", b"mask")
    trees = [Archive.open(tmp_path / "outer.zip"), Folder(tmp_path / "packed"), Folder(tmp_path / "unpacked")]
    for tree in trees:
        assert tree.inner("annotations/panoptic_val2017").read("panoptic_val2017/1.png") == b"mask"
        with pytest.raises(InputError, match="panoptic_train2017"):
            tree.inner("annotations/panoptic_train2017")
    assert {path.name for path in tmp_path.iterdir()} == {"outer.zip", "packed", "unpacked"}


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "a\\..\\b", "C:evil", ""])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    assert not is_safe_name(name)
    with pytest.raises(InputError, match="unsafe"):
        Folder(tmp_path).read(name)
    if name:
        with pytest.raises(InputError, match=r"evil\.zip: refused, it holds the unsafe name"):
            Archive.open(write(tmp_path / "evil.zip", zip_bytes({"good": b"", name: b""})))


def test_a_link_inside_a_zip_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="unsafe name 'link'"):
        Archive.open(write(tmp_path / "a.zip", buffer.getvalue()))


def test_a_zip_bomb_is_refused_before_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "RATIO_FREE_BYTES", 1 << 20)
    path = write(tmp_path / "bomb.zip", zip_bytes({"bomb": bytes(4 << 20), "bomb.zip": bytes(4 << 20)}))
    tree = Archive.open(path)
    for read in (tree.read, lambda name: tree.inner(name)):
        with pytest.raises(InputError, match=r"bomb\.zip: refused, 'bomb.*' would grow from \d+ to 4194304"):
            read("bomb")


def test_a_truncated_zip_is_named(tmp_path: Path) -> None:
    data = zip_bytes({"train2014/a.jpg": picture_bytes()})
    path = write(tmp_path / "train2014.zip", data[: len(data) // 2])
    with pytest.raises(InputError, match=r"train2014\.zip: not a whole zip file.*download it again"):
        ImageStore(tmp_path).open("train2014", "a.jpg")
    path.write_bytes(data)
    assert ImageStore(tmp_path).open("train2014", "a.jpg").size == (16, 12)


def test_an_encrypted_member_is_named(tmp_path: Path) -> None:
    data = bytearray(zip_bytes({"a": b"secret"}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(InputError, match="member 'a' is damaged"):
        Archive.open(write(tmp_path / "a.zip", bytes(data))).read("a")


GOOD_ZIP = zip_bytes({"train2014/a.jpg": picture_bytes(), "train2014/b.jpg": picture_bytes(mode="L")})


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(
    cut=st.integers(0, len(GOOD_ZIP)),
    flips=st.lists(st.tuples(st.integers(0, len(GOOD_ZIP) - 1), st.integers(1, 255)), max_size=4),
)
def test_a_damaged_zip_gives_the_picture_or_an_input_error(
    tmp_path: Path, cut: int, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(GOOD_ZIP)
    for position, mask in flips:
        data[position] ^= mask
    write(tmp_path / "train2014.zip", bytes(data[:cut] if not flips else data))
    store = ImageStore(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        try:
            assert store.open("train2014", name).mode == "RGB"
        except InputError as error:
            assert "train2014.zip" in str(error)


@pytest.mark.parametrize("packed", [True, False], ids=["zip", "folder"])
@pytest.mark.parametrize(
    ("format_", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "P"), ("PNG", "RGBA")]
)
def test_every_colour_mode_becomes_rgb(tmp_path: Path, format_: str, mode: str, packed: bool) -> None:
    data = picture_bytes(format_, mode)
    if packed:
        write(tmp_path / "train2014.zip", zip_bytes({"train2014/a.jpg": data}))
    else:
        write(tmp_path / "train2014" / "a.jpg", data)
    image = ImageStore(tmp_path).open("train2014", "a.jpg")
    assert image.mode == "RGB" and image.size == (16, 12)
    assert ImageStore(tmp_path).has("train2014", "a.jpg")


def test_an_exif_rotation_is_ignored_because_annotations_lie_on_the_stored_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12)).save(buffer, "JPEG", exif=exif)
    assert decode_image(buffer.getvalue(), "here").size == (16, 12)


@pytest.mark.parametrize("cut", [0, 10, 400])
def test_a_corrupt_photograph_is_named_with_its_archive(tmp_path: Path, cut: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    write(tmp_path / "val2017.zip", zip_bytes({"val2017/000000000001.jpg": buffer.getvalue()[:cut]}))
    with pytest.raises(InputError, match=r"val2017\.zip: val2017/000000000001\.jpg: not a readable picture"):
        ImageStore(tmp_path).open("val2017", "000000000001.jpg")


def test_an_absent_archive_and_an_absent_picture_are_named(tmp_path: Path) -> None:
    (tmp_path / "val2017").mkdir()
    with pytest.raises(InputError, match=r"val2017/a\.jpg: no such file"):
        ImageStore(tmp_path).open("val2017", "a.jpg")
    with pytest.raises(InputError, match=r"train2017\.zip: no such file"):
        ImageStore(tmp_path).open("train2017", "a.jpg")


def open_in_child(store: ImageStore) -> tuple[int, int]:
    return store.open("train2014", "a.jpg").size


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_store_works_in_worker_processes(tmp_path: Path, method: str) -> None:
    write(tmp_path / "train2014.zip", GOOD_ZIP)
    store = ImageStore(tmp_path)
    store.open("train2014", "a.jpg")
    assert pickle.loads(pickle.dumps(store)).open("train2014", "b.jpg").size == (16, 12)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(open_in_child, [store] * 4) == [(16, 12)] * 4


def test_a_file_name_says_which_archive_holds_it() -> None:
    assert archive_of("COCO_val2014_000000310196.jpg", "here") == "val2014"
    assert archive_of("COCO_train2014_000000310196.jpg", "here") == "train2014"
    assert archive_of("000000142238.jpg", "here") == "val2017"
    with pytest.raises(InputError, match=r"here: '\.\./x\.jpg' is not a COCO file name"):
        archive_of("../x.jpg", "here")


LITTER = [
    "__MACOSX/{0}",
    "__MACOSX/{1}/._{2}",
    "{1}/._{2}",
    "{1}/.DS_Store",
    "{1}/Thumbs.db",
    "{1}/THUMBS.DB",
]


@given(chosen=st.lists(st.sampled_from(LITTER), unique=True), packed=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_what_a_desktop_leaves_is_no_data(
    tmp_path_factory: pytest.TempPathFactory, chosen: list[str], packed: bool
) -> None:
    name, folder, file = "val/a.json", "val", "a.json"
    litter = [pattern.format(name, folder, file) for pattern in chosen]
    members = {name: b"{}", "val/__MACOSX.json": b"1", **dict.fromkeys(litter, b"junk")}
    root = tmp_path_factory.mktemp("raw")
    if packed:
        write(root / "x.zip", zip_bytes(members))
        tree: Tree = Archive.open(root / "x.zip")
    else:
        for member, data in members.items():
            write(root / member, data)
        tree = Folder(root)
    assert tree.names("") == ["val/__MACOSX.json", name] == tree.names(".json")
    assert tree.has(name) and not any(tree.has(member) for member in litter)
