"""Damage to raw bytes: any kind of artefact, any file of it, any place."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.campaign import Outcome
from tests.campaign.plant import Plant

LARGE = 2**20  # bytes; such a file is changed in place


def outcomes(plant: Plant, n: int, seed: int) -> Iterator[Outcome]:
    """Of n damages, as many of each kind of artefact."""
    rng, files = random.Random(seed), plant.files()
    whole = {path: plant.reader(kind, path)() for kind, paths in files.items() for path in paths}
    for i in range(n):
        kind = list(files)[i % len(files)]
        path = rng.choice(files[kind])
        mine = [other for other in files[kind] if (other != path and other.name == path.name) or other.suffix == ""]
        yield one(plant, kind, path, whole[path], rng, [other for other in mine if other != path])


def one(plant: Plant, kind: str, path: Path, whole: str, rng: random.Random, others: list[Path]) -> Outcome:
    """Damage a file, read it, put it back."""
    content, what = path.read_bytes(), rng.choice(list(WAYS))
    other = rng.choice(others) if others else None
    if what == "exchanged":
        if other is None:
            what = "bit flipped"
        else:
            theirs = other.read_bytes()
            path.write_bytes(theirs)
            other.write_bytes(content)
            result = judge(plant.reader(kind, path), whole, [path, other], plant)
            path.write_bytes(content)
            other.write_bytes(theirs)
            return Outcome("damage", kind, result[0], f"{what}: {path} and {other}: {result[1]}")
    damaged = WAYS[what](content, rng)
    if damaged == content:
        return Outcome("damage", kind, "harmless", f"{what}: {path}: the same bytes")
    path.unlink() if what == "deleted" else path.write_bytes(damaged)
    verdict, said = judge(plant.reader(kind, path), whole, [path], plant)
    path.write_bytes(content)
    return Outcome("damage", kind, verdict, f"{what}: {path}: {said}")


def judge(read: Callable[[], str], whole: str | None, paths: list[Path], plant: Plant) -> tuple[str, str]:
    """Verdict on a reading."""
    try:
        found = read()
    except (ValueError, OSError, RuntimeError) as error:
        said = str(error)
        # A store and a checkpoint are named as a whole
        names = [str(p) for p in paths] + [str(plant.workspace.metrics_path)] * ("metrics.zarr" in str(paths[0]))
        names += [str(plant.newest)] * (plant.newest in paths[0].parents)
        names += [str(plant.features)] * ("features-" in paths[0].name) + [str(paths[0].parent)] * (
            paths[0].name in ("provenance.json", "config.json", "summary.json")
        )
        if not any(name in said for name in names):
            return "unnamed", said
        return ("noticed" if len(said.splitlines()) == 1 else "not one line"), said
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"
    return ("harmless" if found == whole else "silent"), ""


def _flip(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return b"x"
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def _digit(content: bytes, rng: random.Random, prefix: bool = False) -> bytes:
    """Another digit in the place of one, or before one: what a typing error does to a table."""
    if len(content) > LARGE:
        return _flip(content, rng)
    places = [i for i, c in enumerate(content) if 48 <= c <= 57]
    if not places:
        return _flip(content, rng)
    place, new = rng.choice(places), bytes([rng.randrange(49, 58)])
    return content[:place] + new + content[place + (not prefix) :]


def _cut(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + content[start + rng.randrange(1, 100) :]


def _lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    if len(lines) < 3 or len(content) > LARGE:
        return _flip(content, rng)
    i, j = rng.sample(range(1, len(lines)), 2)
    lines[i], lines[j] = lines[j], lines[i]
    return b"".join(lines)


def _last_line(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(lines[:-1]) if len(content) < LARGE else content[:-1]


def _zeros(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return (content[:start] + bytes(64) + content[start + 64 :])[: len(content)]


WAYS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bit flipped": _flip,
    "digit changed": _digit,
    "digit put before": lambda content, rng: _digit(content, rng, prefix=True),
    "truncated": lambda content, rng: content[: rng.randrange(len(content) + 1)],
    "cut out": _cut,
    "zeroed": _zeros,
    "garbage at the end": lambda content, rng: content + rng.randbytes(rng.randrange(1, 20)),
    "lines exchanged": _lines,
    "last line lost": _last_line,
    "emptied": lambda content, rng: b"",
    "deleted": lambda content, rng: b"",
    "exchanged": _flip,  # with a file of the same name; see one()
}


def exchanged_folders(plant: Plant) -> Iterator[Outcome]:
    """Folders of two losses exchanged, whole: each is in order, and in the other's place."""
    for kind, place in (("run", plant.workspace.run_folder), ("evaluation", plant.workspace.evaluation_folder)):
        a, b, away = place("p", 0), place("pnp", 0), plant.root / "away"
        for first, second in ((a, away), (b, a), (away, b)):
            shutil.move(first, second)
        verdict, said = judge(plant.reader(kind, a / "x"), None, [a], plant)
        for first, second in ((a, away), (b, a), (away, b)):
            shutil.move(first, second)
        yield Outcome("damage", kind, verdict, f"folders exchanged: {said}")
