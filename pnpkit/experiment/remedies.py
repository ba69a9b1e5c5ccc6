"""Where artefacts live, and what to do about one that is absent or damaged: which command makes it again."""

import os
import shlex
from pathlib import Path


def data_root() -> Path:
    """Folder of artefacts: ``$PNPKIT_DATA``, else ``data/`` of the working folder, or of the one above it if only that
    has one, as a chapter's has."""
    if given := os.environ.get("PNPKIT_DATA"):
        return Path(given).expanduser()
    here, above = Path("data"), Path("..", "data")
    return above if above.is_dir() and not here.is_dir() else here


def makes(path: Path, verb: str = "") -> str:
    """How a message says which command makes an artefact that is absent; "" if nobody knows."""
    found = remedy(path).partition("`")[2].partition("`")[0] or (f"pnpkit {verb}" if verb else "")
    return f": `{found}` makes it" if found else ""


def remedy(path: Path) -> str:
    """What to do about a damaged artefact: what to move away, and which command makes it again in that very place."""
    parts = path.absolute().parts
    if path.parent.parent.name == "checkpoint":
        again = remedy(path.parents[2] / "provenance.json").partition("`")[2].partition("`")[0]
        by = f": `{again}`" if again else ": the run"
        return f"Delete {path.parent}{by} then goes on from the checkpoint before it, or from the start"
    for depth in range(len(parts) - 1, 1, -1):
        stage, profile, root = parts[depth], parts[depth - 1], Path(*parts[: depth - 1])
        if stage in ("runs", "evaluation") and len(parts) > depth + 2:
            folder = Path(*parts[: depth + 3]) if len(parts) > depth + 3 else path.parent
            name = f"--loss {parts[depth + 1]} --seed {parts[depth + 2]}"
            if stage == "runs":
                return f"Move {folder} away: `{command(f'train --profile {profile} {name}', root)}` makes it again"
            if len(parts) == depth + 3:  # a reference's folder has no seed below it
                return f"Move {path.parent} away: `{command(f'table --profile {profile}', root)}` makes it again"
            curve = " --curve" if path.name == "curve.json" else ""
            away = path if curve else folder
            verb = command(f"evaluate --profile {profile} {name}{curve}", root)
            return f"Move {away} away: `{verb}` makes it again"
        if stage == "metrics.zarr":
            store = Path(*parts[: depth + 1])
            return f"Move {store} away: `{command(f'metrics --profile {profile}', root)}` makes it again"
        if stage == "results.json":
            return f"Delete it: `{command(f'table --profile {profile}', root)}` makes it again"
        if stage.startswith("features-"):
            return f"Delete it: `{command(f'run --profile {profile}', root)}` makes it again"
    return "Move it away and make it again"


def command(verb: str, root: Path) -> str:
    """A command line that works on this folder of artefacts, with ``--out`` where it is not the default one."""
    elsewhere = root.absolute() != data_root().absolute()
    return f"pnpkit {verb}" + (f" --out {shlex.quote(str(root))}" if elsewhere else "")
