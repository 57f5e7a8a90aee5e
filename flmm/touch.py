"""``snakemake --touch --forceall`` without its pause of 0.1 s per job. Run as ``python -m flmm.touch``."""

import snakemake.executors.touch as touch
from snakemake.cli import main

if __name__ == "__main__":
    touch.Executor.SLEEPING_TIME = 0.0
    main(["--touch", "--forceall", "--quiet", "host", "progress", "rules", "reason"])
