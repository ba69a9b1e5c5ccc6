"""The campaign that the suite runs: a fifth of a large one, from a fixed seed. Its kinds are in the files beside."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pnpkit.experiment.precompute import inputs
from pnpkit.experiment.profiles import PROFILES
from tests.campaign import arguments, damage, kills, records
from tests.campaign.plant import NAME, Plant


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    made = Plant(tmp_path_factory.mktemp("plant")).build()
    yield made
    inputs.BLOCK = made.block
    del PROFILES[NAME]


@pytest.mark.slow
def test_real_processes_are_killed_and_gone_on_from(plant: Plant) -> None:
    found = list(kills.real(plant, 6, seed=7))
    assert [o.detail for o in found if o.verdict != "same bits"] == []
    assert sum("of" in o.detail for o in found) >= 3, "half at least were killed while they worked"


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("family", "n"),
    [(damage, 420), (records, 210), (arguments, 210), (kills, 40)],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_no_fault_is_silent(family, n: int, plant: Plant) -> None:  # type: ignore[no-untyped-def]
    found = list(family.outcomes(plant, n, seed=7))
    if family is damage:
        found += damage.exchanged_folders(plant)
    wrong = [f"{o.family}, {o.kind}: {o.verdict}: {o.detail[:400]}" for o in found if not o.fine]
    counts = Counter(o.verdict for o in found)
    assert wrong == [], f"{counts}"
    assert len(found) >= n
    assert counts["noticed"] + counts["same bits"] > 0.7 * n or family is arguments
    assert not list(Path(plant.root).rglob("*.partial*")), "litter"
