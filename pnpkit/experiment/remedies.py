"""Where artefacts live, and what to do about one that is absent or damaged: which command makes it again."""

import os
import shlex
from pathlib import Path

GIVEN: dict[str, str] = {}  # a profile's name → what the user called it by, which for one of their own is a file
ATLASES = {"arpeggio": "--profile paper --atlas 1", "drum": "--profile drum --atlas 1"}  # as the package has them


def data_root() -> Path:
    """Folder of artefacts: ``$PNPKIT_DATA``, else ``data/`` of the working folder, or of the one above it if only that
    has one, as a chapter's has."""
    if given := os.environ.get("PNPKIT_DATA"):
        return Path(given).expanduser()
    here, above = Path("data"), Path("..", "data")
    return above if above.is_dir() and not here.is_dir() else here


def makes(path: Path, verb: str = "") -> str:
    """How a message says which command makes an artefact that is absent; "" if nobody knows."""
    _, found = _made_by(path)
    return f": `{found or f'pnpkit {verb}'}` makes it" if found or verb else ""


def remedy(path: Path) -> str:
    """What to do about a damaged artefact: what to move away, and which command makes it again in that very place."""
    if path.parent.parent.name == "checkpoint":
        _, again = _made_by(path.parents[2] / "provenance.json")
        by = f"`{again}`" if again else "the run"
        return f"Delete {path.parent}: {by} then goes on from the checkpoint before it, or from the start"
    away, again = _made_by(path)
    what = "Delete it" if away == path and path.suffix != ".zarr" else f"Move {away} away"  # hours are in a store
    return f"{what}: `{again}` makes it again" if again else "Move it away and make it again"


def _made_by(path: Path) -> tuple[Path, str]:
    """What must be out of the way, and the command that makes an artefact then; "" of what is none."""
    parts = path.absolute().parts
    for depth in range(len(parts) - 1, 1, -1):
        stage, within, root = parts[depth], parts[depth - 1], Path(*parts[: depth - 1])
        of, whole = f"--profile {shlex.quote(GIVEN.get(within, within))}", Path(*parts[: depth + 1])
        if stage in ("runs", "evaluation") and len(parts) > depth + 2:
            away = Path(*parts[: depth + 3]) if len(parts) > depth + 3 else path.parent
            run = f"{of} --loss {parts[depth + 1]} --seed {parts[depth + 2]}"
            if stage == "runs":
                return away, command(f"train {run}", root)
            if len(parts) == depth + 3:  # a reference's folder has no seed below it
                return away, command(f"table {of}", root)
            if path.name == "curve.json":
                return path, command(f"evaluate {run} --curve", root)
            return away, command(f"evaluate {run}", root)
        if stage == "metrics.zarr":
            return whole, command(f"metrics {of}", root)
        if stage == "results.json":
            return path, command(f"table {of}", root)
        if stage.startswith("features-"):
            return path, command(f"run {of}", root)
        if stage.startswith("tangents-"):  # a chunk's record is what says that it need not be computed
            return whole if path.stem == "basis" else path.with_suffix(".json"), "pnpkit train --loss sp-linear …"
        if stage.startswith("atlas-"):  # in the user's cache
            return path, "pnpkit match …"
        if within == "atlases":
            return path, command(f"metrics {ATLASES.get(path.stem, '--profile … --atlas …')}", root)
        if within == "matching":
            return whole, _module(f"studies {stage}", root)
        if stage.startswith("gradients."):
            return path, _module(f"gradients {within}", root)
        if stage == "benchmark.json":
            return path, f"make bench OUT={shlex.quote(str(path))}"
    return path, ""


def _module(arguments: str, root: Path) -> str:
    """What has no verb, and knows of no ``--out``."""
    elsewhere = "" if _is_default(root) else f"PNPKIT_DATA={shlex.quote(str(root))} "
    return f"{elsewhere}python -m pnpkit.experiment.evaluation.{arguments}"


def _is_default(root: Path) -> bool:
    return root.absolute() == data_root().absolute()


def command(verb: str, root: Path) -> str:
    """A command line that works on this folder of artefacts, with ``--out`` where it is not the default one."""
    return f"pnpkit {verb}" + ("" if _is_default(root) else f" --out {shlex.quote(str(root))}")
