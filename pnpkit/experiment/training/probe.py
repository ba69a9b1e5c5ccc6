"""The probe: what a network says of some test items after each epoch, a table that grows while the run goes on."""

from pathlib import Path

from pnpkit.experiment.artefacts import digest
from pnpkit.experiment.files import read_bytes
from pnpkit.experiment.remedies import remedy


def probe_digest(path: Path, epoch: int) -> str:
    """Digest of the header and the lines up to an epoch, to which a run that goes on only adds; "" without a probe.

    Raises:
        ValueError: if a line does not begin with the number of an epoch; names it.
    """
    if not path.exists():
        return ""
    header, *lines = read_bytes(path).splitlines(keepends=True) or [b""]
    try:
        kept = [line for line in lines if int(line.split(b",", 1)[0]) <= epoch]
    except ValueError as error:
        raise ValueError(f"{path} has a line without an epoch ({error}). {remedy(path)}") from error
    return digest(b"".join([header, *kept]))
