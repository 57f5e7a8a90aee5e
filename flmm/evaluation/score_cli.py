"""`flmm score`: files in, a table and a file of records out."""

from pathlib import Path
from typing import cast, get_args

from rich.console import Console
from rich.table import Table

from flmm.data.sample import read_samples
from flmm.errors import InputError
from flmm.evaluation.score import score, template
from flmm.files import write_json
from flmm.protocols import Protocol


def run(
    samples_path: Path,
    predictions: Path | None,
    protocol: str,
    system: str,
    out: Path | None,
    template_path: Path | None,
) -> None:
    """Score ``predictions``, or write what has to be predicted to ``template_path``.

    Raises:
        InputError: neither is given, an unknown protocol, or a file that cannot be used.
    """
    known = [name for name in get_args(Protocol) if name != "train"]
    if protocol not in known:
        raise InputError(f"--protocol {protocol}: there are {' and '.join(known)}")
    chosen = cast(Protocol, protocol)
    samples = read_samples(samples_path)
    if template_path is not None:
        write_json(template_path, template(samples, chosen))
        return
    if predictions is None:
        raise InputError("predictions are missing: flmm score SAMPLES PREDICTIONS (or --template FILE)")
    found = score(samples, predictions, chosen, system)
    table = Table("benchmark", "split", "protocol", "metric", "value")
    for record in found.records:
        values = (record["benchmark"], record["split"], record["protocol"], record["metric"])
        table.add_row(*values, f"{record['value']:.2f}")
    Console().print(table)
    print(
        f"{found.units} units, {found.missing} without a prediction or not filled in (counted as empty masks)"
    )
    if out is not None:
        write_json(out, found.records)
