"""Reading photographs out of a zip against unpacking it first: seconds for one pass in random order.

    python benchmarks/zip_reading.py [--images 1000] [--rounds 5]

The three ways take turns on generated photographs of COCO's size; quote the ratios, not the seconds.
"""

import argparse
import io
import random
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table

from flmm.data.images import ImageStore


def photographs(folder: Path, count: int) -> list[str]:
    """`val2017.zip` with COCO's layout: 640 x 480 JPEGs, stored, as COCO's zips have them."""
    names = [f"{number:012d}.jpg" for number in range(count)]
    with zipfile.ZipFile(folder / "val2017.zip", "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            buffer = io.BytesIO()
            Image.effect_noise((80, 60), 80).convert("RGB").resize((640, 480)).save(
                buffer, "JPEG", quality=92
            )
            archive.writestr(f"val2017/{name}", buffer.getvalue())
    return names


def main() -> None:
    """Print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        zipped, unpacked = Path(name) / "zipped", Path(name) / "unpacked"
        zipped.mkdir()
        names = photographs(zipped, options.images)
        with zipfile.ZipFile(zipped / "val2017.zip") as archive:
            archive.extractall(unpacked)

        def read(folder: Path) -> Callable[[], None]:
            def once() -> None:
                store = ImageStore(folder)
                for image in random.Random(1).sample(names, len(names)):
                    store.open("val2017", image)

            return once

        def unpack() -> None:
            with zipfile.ZipFile(zipped / "val2017.zip") as archive:
                archive.extractall(Path(name) / "again")

        ways = {"from the zip": read(zipped), "from files": read(unpacked), "unpacking alone": unpack}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, run in ways.items():
                began = time.perf_counter()
                run()
                seconds[way].append(time.perf_counter() - began)
    table = Table("way", "median, s", "ratio to files")
    base = statistics.median(seconds["from files"])
    for way, values in seconds.items():
        table.add_row(way, f"{statistics.median(values):.2f}", f"{statistics.median(values) / base:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
