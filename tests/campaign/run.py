"""All families of faults, one after the other."""

from collections.abc import Iterator, Mapping

from tests.campaign import Outcome, arguments, damage, kills, records
from tests.campaign.plant import Plant

SHARES = {"damage": 0.46, "record": 0.24, "arguments": 0.222, "kill": 0.07, "process": 0.008}


def campaign(plant: Plant, counts: Mapping[str, int], seed: int) -> Iterator[Outcome]:
    """So many of each family."""
    yield from damage.outcomes(plant, counts.get("damage", 0), seed)
    if counts.get("damage"):
        yield from damage.exchanged_folders(plant)
    yield from records.outcomes(plant, counts.get("record", 0), seed)
    yield from arguments.outcomes(plant, counts.get("arguments", 0), seed)
    yield from kills.outcomes(plant, counts.get("kill", 0), seed)
    yield from kills.real(plant, counts.get("process", 0), seed)
