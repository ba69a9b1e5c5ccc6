"""``python -m tests.campaign --n 5000 --out data/campaign.json``: a large campaign, and its counts, kept."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pnpkit.experiment.artefacts import read_json, write_record
from tests.campaign import FINE
from tests.campaign.plant import Plant
from tests.campaign.run import SHARES, campaign

ROUND = 125  # faults after which the counts are kept; each round has a seed of its own


def main() -> int:
    """Run it, or go on with it; 1 if a fault was not met as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=5000, help="faults in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no round after so many")
    parser.add_argument("--out", type=Path, help="JSON file of the counts; one that is there is gone on with")
    args = parser.parse_args()
    begin, commit = time.monotonic(), _commit()
    record: dict[str, Any] = {"seed": args.seed, "commit": commit, "rounds": 0, "faults": 0, "counts": []}
    if args.out and args.out.exists():
        record = read_json(args.out)
        if (record["seed"], record["commit"]) != (args.seed, commit):
            parser.error(f"{args.out} is of seed {record['seed']} at {record['commit']}: choose another --out")
    counts = Counter({tuple(row[:3]): row[3] for row in record["counts"]})
    with tempfile.TemporaryDirectory() as folder:
        plant = Plant(Path(folder)).build()
        while record["faults"] < args.n and time.monotonic() - begin < 60 * args.minutes:
            found = list(
                campaign(plant, {k: round(v * ROUND) for k, v in SHARES.items()}, args.seed + record["rounds"])
            )
            for outcome in found:
                counts[outcome.family, outcome.kind, outcome.verdict] += 1
                if not outcome.fine:
                    print(f"{outcome.family}, {outcome.kind}: {outcome.verdict}: {outcome.detail[:600]}", flush=True)
            record |= {"rounds": record["rounds"] + 1, "faults": record["faults"] + len(found)}
            record |= {
                "date": datetime.now(UTC).strftime("%Y-%m-%d"),
                "counts": [[*k, n] for k, n in sorted(counts.items())],
            }
            print(f"{record['faults']} faults after {time.monotonic() - begin:.0f} s", flush=True)
            if args.out:
                write_record(args.out, record)
    for key, count in sorted(counts.items()):
        print(*key, count, sep="\t")
    wrong = sum(count for (_, _, verdict), count in counts.items() if verdict not in FINE)
    print(f"{record['faults']} faults, {wrong} not met as they should be")
    return 1 if wrong else 0


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip()[:10] or "unknown"


if __name__ == "__main__":
    sys.exit(main())
