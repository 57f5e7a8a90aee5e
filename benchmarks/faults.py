"""Every fault that the download and the readers are made for, tried many times: what came out, and what was lost.

    python benchmarks/faults.py [--tries 20]

Downloads come from a loopback server that misbehaves in the way named; readers get seeded random damage. A line tells
how often the right file was there in the end, how often the user was told what is wrong, and how often anything else
happened: a wrong file kept, a half-written file, an error that is no sentence.
"""

import argparse
import hashlib
import io
import pickle
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import tenacity
from PIL import Image
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from flmm.data import transfer
from flmm.data.archives import Archive
from flmm.data.download import download
from flmm.data.images import decode_image
from flmm.data.pickles import load_plain
from flmm.errors import InputError, StepError
from flmm.params import Download, Source
from tests.data import loopback
from tests.data.coco_files import zip_bytes

CONTENT = random.Random(5).randbytes(300_000)
SETTINGS = Download(retries=2, timeout=1)
RIGHT, TOLD, LOST = "right file", "told", "lost"
LINES: dict[str, tuple[loopback.Answer, ...]] = {
    "connection cut, then good": (loopback.cut,),
    "cut five times": (loopback.cut,) * 5,
    "stalled": (loopback.stall,),
    "cut, then the range is ignored": (loopback.cut, loopback.ignore_range),
    "cut, then another range": (loopback.cut, loopback.wrong_range),
    "too large a length announced": (loopback.announce_more,),
    "too small a length announced": (loopback.announce_less,),
    "busy (503, 429)": (loopback.status(503), loopback.status(429)),
    "a byte corrupted, cut, resumed": (loopback.corrupt_then_cut,),
    "a byte corrupted": (loopback.corrupt,),
    "not there (404)": (loopback.status(404),) * 4,
    "endless": (loopback.endless,),
    "compressed on the way": (loopback.compressed,),
    "dead line": (loopback.cut, *[loopback.status(500)] * 3),
}


def fetched(faults: tuple[loopback.Answer, ...], folder: Path, _: int) -> tuple[str, str]:
    """One download through faults, then one without, as the user's next run."""
    path = folder / "data.bin"
    said = ""
    with loopback.serving(CONTENT, *faults) as server:
        source = Source(url=server.url, bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
        try:
            download("data.bin", source, path, SETTINGS)
        except (InputError, StepError) as error:
            said = str(error).split(": ", 2)[-1]
            if path.exists():
                return LOST, "a file that was refused was kept"
            server.faults.clear()
            download("data.bin", source, path, SETTINGS)
    whole = path.read_bytes() == CONTENT and {p.name for p in folder.iterdir()} == {
        "data.bin",
        "data.bin.json",
    }
    return (TOLD if said else RIGHT, said) if whole else (LOST, "another file")


def damaged(content: bytes, read: Callable[[Path], object], folder: Path, number: int) -> tuple[str, str]:
    """A reader on a file cut short, or with a few bytes changed, at seeded random places."""
    chance = random.Random(number)
    data = bytearray(content)
    if number % 2:
        del data[chance.randrange(len(data)) :]
    else:
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
    path = folder / "file"
    path.write_bytes(bytes(data))
    try:
        read(path)
    except InputError as error:
        return TOLD, str(error).split(": ", 1)[-1]
    return RIGHT, ""  # readable all the same: damage in padding, in pixels, in a string


def _members(path: Path) -> None:
    archive = Archive.open(path)
    try:
        for number in range(8):
            archive.read(f"f{number}.json")
    finally:
        archive.close()


def readers() -> dict[str, tuple[bytes, Callable[[Path], object]]]:
    """Whole files and what reads them."""
    picture = io.BytesIO()
    Image.effect_noise((64, 48), 60).convert("RGB").save(picture, "JPEG")
    return {
        "photograph cut or changed": (
            picture.getvalue(),
            lambda path: decode_image(path.read_bytes(), "photo"),
        ),
        "pickle cut or changed": (
            pickle.dumps([{"ref_id": i, "sentences": [{"sent": "a dog"}]} for i in range(50)], protocol=2),
            lambda path: load_plain(path.read_bytes(), "refs"),
        ),
        "zip cut or changed": (zip_bytes({f"f{i}.json": b"[1, 2, 3]" * 40 for i in range(8)}), _members),
    }


def main() -> None:
    """Try everything and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=20)
    tries = parser.parse_args().tries
    transfer.BACKOFF = tenacity.wait_none()
    rows: dict[str, tuple[Counter[str], str]] = {}
    cases: dict[str, Callable[[Path, int], tuple[str, str]]] = {
        name: lambda folder, n, faults=faults: fetched(faults, folder, n) for name, faults in LINES.items()
    }
    for name, (content, read) in readers().items():
        cases[name] = lambda folder, n, content=content, read=read: damaged(content, read, folder, n)
    for name, case in cases.items():
        counts: Counter[str] = Counter()
        message = ""
        for number in range(tries):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    outcome, said = case(Path(folder), number)
                except Exception as error:  # what this script is there to find
                    outcome, said = LOST, f"{type(error).__name__}: {error}"
            counts[outcome] += 1
            message = said or message
        rows[name] = (counts, message.replace("|", "/"))
    table = Table("fault", "tries", "right at once", "told, right next time", "lost", "what was said (last)")
    for name, (counts, message) in rows.items():
        table.add_row(name, str(tries), *(str(counts[kind]) for kind in (RIGHT, TOLD, LOST)), message[:110])
    Console(width=220).print(table)
    for name, (counts, message) in rows.items():
        print(f"| {name} | {tries} | {counts[RIGHT]} | {counts[TOLD]} | {counts[LOST]} | {message[:110]} |")
    sys.exit(any(counts[LOST] for counts, _ in rows.values()))


if __name__ == "__main__":
    main()
