"""``python -m tests.campaign --n 5000``: a large campaign, and the table of its counts."""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.campaign import Outcome
from tests.campaign.plant import Plant
from tests.campaign.run import SHARES, campaign


def table(outcomes: list[Outcome]) -> str:
    """Counts by family, kind and verdict."""
    counts = Counter((o.family, o.kind, o.verdict) for o in outcomes)
    lines = ["| family | kind | verdict | count |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(key)} | {count} |" for key, count in sorted(counts.items())])


def main() -> int:
    """Run it; 1 if a fault was not met as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=5000, help="faults in all")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plant = Plant(Path(folder)).build()
        found = list(campaign(plant, {k: round(v * args.n) for k, v in SHARES.items()}, args.seed))
    print(table(found))
    wrong = [o for o in found if not o.fine]
    for outcome in wrong[:200]:
        print(f"{outcome.family}, {outcome.kind}: {outcome.verdict}: {outcome.detail[:600]}")
    print(f"{len(found)} faults, {len(wrong)} not met as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
