"""The probe: what a network says of some test items after each epoch, a table that grows while the run goes on."""

from pathlib import Path

from pnpkit.experiment.artefacts import digest
from pnpkit.experiment.remedies import remedy


def probe_digest(path: Path, epoch: int) -> str:
    """Digest of what a probe says up to an epoch; "" if there is none. A run that goes on only adds to it.

    Raises:
        ValueError: if a line does not begin with the number of an epoch; names it.
    """
    return digest(probe_up_to(path.read_bytes(), epoch, path)) if path.exists() else ""


def probe_up_to(content: bytes, epoch: int, path: Path) -> bytes:
    """The header and the lines up to an epoch, which each line begins with."""
    header, *lines = content.splitlines(keepends=True) or [b""]
    try:
        kept = [line for line in lines if int(line.split(b",", 1)[0]) <= epoch]
    except ValueError as error:
        raise ValueError(f"{path} has a line without an epoch ({error}). {remedy(path)}") from error
    return b"".join([header, *kept])
