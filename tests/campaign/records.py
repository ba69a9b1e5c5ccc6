"""Malformed records: valid JSON of another shape, with a right digest and without one."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pnpkit.experiment import integrity
from pnpkit.experiment.integrity import KEY, sealed, sealed_text_with
from tests.campaign import Outcome
from tests.campaign.damage import judge
from tests.campaign.plant import Plant

DEEP: Any = 1
for _ in range(60):
    DEEP = {"a": [DEEP]}
VALUES: list[Any] = [None, {}, [], "", "text", "1", True, 0, -1, -1.5, 2**70, 1e308, [[]], {"a": None}, [None], DEEP]


def outcomes(plant: Plant, n: int, seed: int) -> Iterator[Outcome]:
    """Of n malformed records, as many of each kind."""
    rng, files = random.Random(seed), plant.files()
    records = [(kind, path) for kind, paths in files.items() for path in paths if _is_record(path, plant)]
    whole = {path: plant.reader(kind, path)() for kind, path in records}
    for i in range(n):
        kind, path = records[i % len(records)]
        yield one(plant, kind, path, whole[path], rng)


def _is_record(path: Path, plant: Plant) -> bool:
    return path.suffix == ".json" and (path.name != "zarr.json" or path.parent == plant.workspace.metrics_path)


def one(plant: Plant, kind: str, path: Path, whole: str, rng: random.Random) -> Outcome:
    """Change a record somewhere, read it, put it back."""
    text = path.read_text(encoding="utf-8")
    document = json.loads(text)
    store = path.name == "zarr.json"
    content = document["attributes"] if store else document
    files = content.pop(KEY, {"files": None})["files"]
    changed, what = _changed(content, rng)
    form = rng.choice(("sealed", "plain"))
    seal = form == "sealed" and files is not None and isinstance(changed, dict)
    if store:
        changed = {**document, "attributes": sealed(changed, files) if seal else changed}
    new = sealed_text_with(changed, files) if seal and not store else json.dumps(changed)
    if rng.random() < 0.05:
        new, what = rng.choice(("NaN", '{"a": Infinity}', "[" * 100_000, "9" * 5000, '"\\ud800"')), "not quite JSON"
    path.write_text(new, encoding="utf-8")
    integrity.say_once.cache_clear()
    verdict, said = judge(plant.reader(kind, path), whole, [path], plant)
    told = integrity.say_once.cache_info().currsize > 0
    path.write_text(text, encoding="utf-8")
    if verdict == "silent" and (seal or files is None):
        verdict = "valid"  # what fits the schema, and its digest, is a record like any other
    elif verdict in ("silent", "harmless") and told:
        verdict = "said"
    return Outcome("record", path.name, verdict, f"{form}: {path}: {what}: {said}")


def _changed(content: Any, rng: random.Random) -> tuple[Any, str]:
    if rng.random() < 0.05:
        value = rng.choice(VALUES)
        return value, f"is {str(value)[:20]}"
    content = copy.deepcopy(content)
    node, at = content, ""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return content, "as it was"
        key = rng.choice(keys)
        at += f".{key}"
        if isinstance(node[key], (dict, list)) and node[key] and rng.random() < 0.7:
            node = node[key]
            continue
        way = rng.choice(("value", "value", "value", "missing", "extra"))
        if way == "missing":
            del node[key]
        elif way == "extra" and isinstance(node, dict):
            node["extra"] = rng.choice(VALUES)
        else:
            node[key] = rng.choice(VALUES)
            way = f"= {str(node[key])[:20]}"
        return content, f"{at} {way}"
