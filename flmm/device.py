"""Which accelerator and how many threads a step runs on; torch, which takes seconds, is imported only where needed."""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flmm.errors import InputError, StepError

if TYPE_CHECKING:
    import torch

LOCKS = Path("cache/devices")
# What the drivers of NVIDIA (also under Windows) and AMD put there.
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
_POLL = 0.5  # seconds between two looks at the locks
_held: list[int] = []  # open files: a lock lives as long as its process


def resolve_device(name: str, key: str = "device") -> "torch.device":
    """``cpu``, ``cuda``, or ``auto``: the GPU where there is one. ``key``: where the name stands.

    Raises:
        InputError: ``cuda`` was asked for and there is none (names the key).
    """
    import torch

    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    if name == "cuda" and not available:
        raise InputError(no_gpu(key))
    return torch.device(name)


def use_threads(count: int) -> None:
    """Let torch compute on so many threads of the CPU, whatever the environment or the machine's cores say.

    How many take part decides in which order numbers are added, and so the last bits of the result. Only threads within
    one operation matter: nothing here runs several operations at once.
    """
    import torch

    torch.set_num_threads(count)


def hardware(device: "torch.device") -> str:
    """What a step ran on, for people: the name of the GPU, or of the CPU with the number of its cores."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        told = ""
    names = [line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def no_gpu(key: str) -> str:
    """What to say where ``key`` asks for a GPU and there is none."""
    return f"{key}: cuda, but no GPU is available; set it to auto or cpu"


def has_gpu() -> bool:
    """Whether this machine seems to have a GPU; decided without torch, and for the worse case with yes."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not _entries(visible):
        return False
    return shutil.which("nvidia-smi") is not None or any(Path(file).exists() for file in DRIVERS)


def gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; none where nobody can tell."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return _entries(visible)
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return [str(number) for number in range(count)] if listed.returncode == 0 else []


def claim_gpu(device: str) -> str | None:
    """Take one of several GPUs for the life of this process, and hide the others from it; returns its name.

    So two jobs that run at once (``snakemake --resources gpu=2``) do not share one. Where all are taken, it waits.
    Nothing happens for ``device`` ``cpu``, with one GPU or none, in a process that a launcher has given its place
    (LOCAL_RANK), or a second time in the same process.

    Raises:
        StepError: the locks cannot be written.
    """
    if device == "cpu" or "LOCAL_RANK" in os.environ or _held:
        return None
    names = gpus()
    if len(names) < 2:
        return None
    said = False
    while True:
        for name in names:
            if _lock(LOCKS / f"{name.replace('/', '_')}.lock"):
                os.environ["CUDA_VISIBLE_DEVICES"] = name
                return name
        if not said:
            print(f"all {len(names)} GPUs are taken by other steps; waiting for one", file=sys.stderr)
            said = True
        time.sleep(_POLL)


def _lock(path: Path) -> bool:
    """Whether the lock is now ours; it stays so until the process ends, however it ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise StepError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    except OSError as error:
        os.close(file)
        raise StepError(f"cannot lock {path}: {error.strerror or error}") from error
    _held.append(file)
    return True


def _entries(visible: str) -> list[str]:
    """The devices in a value of CUDA_VISIBLE_DEVICES; CUDA ignores everything from the first wrong one on."""
    found: list[str] = []
    for entry in visible.split(","):
        if not entry.strip() or entry.strip().startswith("-"):
            break
        found.append(entry.strip())
    return found
