"""A SLURM of one node on this machine, from Debian's packages, without an accounting database."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "sinfo")
FOLDER = Path("/etc/slurm")  # where jobs look, too: they do not inherit SLURM_CONF
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
ReturnToService=2
MinJobAge=600
MpiDefault=none
NodeName=node NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=8000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
DEVICES = (
    "NodeName=node Name=gpu File=/dev/null\nNodeName=node Name=gpu File=/dev/zero\n"  # stand for two GPUs
)


def why_not() -> str:
    """Why there can be none here; empty where there can."""
    missing = [
        name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None
    ]
    if missing:
        return f"{', '.join(missing)}: not installed (Debian: apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "only root can start SLURM's daemons"
    return "this machine has a SLURM of its own" if (FOLDER / "slurm.conf").exists() else ""


class Cluster:
    """The daemons, and what they wrote."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="flmm-slurm-"))
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the daemons and wait until the node takes jobs.

        Raises:
            RuntimeError: it does not within five minutes; says what the daemons said.
        """
        for name in ("state", "spool"):
            (self._folder / name).mkdir()
        FOLDER.mkdir(exist_ok=True)
        text = CONFIGURATION.format(folder=self._folder, cpus=os.cpu_count(), host=socket.gethostname())
        (FOLDER / "slurm.conf").write_text(text)
        (FOLDER / "gres.conf").write_text(DEVICES)
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge", "munge")
        subprocess.run(["runuser", "-u", "munge", "--", "/usr/sbin/munged", "--force"], check=False)
        self._daemons = [
            subprocess.Popen(
                [f"/usr/sbin/{name}", "-D", *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            for name, more in (("slurmctld", []), ("slurmd", ["-N", "node"]))
        ]
        deadline = time.monotonic() + 300
        while "idle" not in self._said("sinfo", "--noheader", "--format=%T"):
            if time.monotonic() > deadline:
                raise RuntimeError(self.log())
            time.sleep(0.5)

    def log(self) -> str:
        """What the daemons complained of."""
        return "\n".join(path.read_text()[-2000:] for path in sorted(self._folder.glob("*.log")))

    def stop(self) -> None:
        """Cancel what runs, stop the daemons and remove every file."""
        self._said("scancel", "--user", "root")
        for daemon in self._daemons:
            daemon.kill()
            daemon.wait()
        subprocess.run(["runuser", "-u", "munge", "--", "/usr/sbin/munged", "--stop"], check=False)
        for name in ("slurm.conf", "gres.conf"):
            (FOLDER / name).unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _said(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
