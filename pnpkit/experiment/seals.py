"""Digests for a folder of artefacts, and a check of all of it.

python -m pnpkit.experiment.seals seal data/laptop data/paper   # give records of before digests theirs
python -m pnpkit.experiment.seals check data                    # read everything, name what is damaged
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from pnpkit.experiment.artefacts import read_record, write_record
from pnpkit.experiment.evaluation.curve import CURVE
from pnpkit.experiment.evaluation.folder import ITEMS, SUMMARY
from pnpkit.experiment.evaluation.gradients import AGREEMENT, TABLE
from pnpkit.experiment.evaluation.study import RECORD, ROWS, STUDY
from pnpkit.experiment.files import read_bytes
from pnpkit.experiment.integrity import KEY
from pnpkit.experiment.precompute.atlases import ATLAS_RECORD
from pnpkit.experiment.precompute.metric_store import seal_store, verify_store
from pnpkit.experiment.results.keep import RESULTS, items_of
from pnpkit.experiment.training.run_folder import RUN_FILES, RUN_PROVENANCE

RECORDS: list[tuple[str, Any, Any]] = [  # path from the right, the files it speaks of, and schema of each kind
    ("provenance.json", lambda path, _: [name for name in RUN_FILES if name != path.name], RUN_PROVENANCE),
    ("summary.json", lambda path, _: ITEMS.values(), SUMMARY),
    ("curve.json", lambda path, _: (), CURVE),
    (RECORD, lambda path, _: [ROWS], STUDY),
    (AGREEMENT, lambda path, _: [TABLE], dict),
    ("atlases/*.json", lambda path, _: [path.with_suffix(".npz").name], ATLAS_RECORD),
    ("benchmark.json", lambda *_: (), dict),
    ("campaign.json", lambda *_: (), dict),
    ("results.json", lambda path, content: items_of(path.parent, content), RESULTS),
]


def seal_all(folder: Path, again: bool = False) -> list[Path]:
    """Give every record below a folder that has none its digests: what is there now is from then on what is meant.

    Runs come first, then evaluations, then results. No number changes.

    Args:
        folder: of artefacts.
        again: whether to give new ones to those that have some.

    Returns:
        The records that were written.
    """
    written = []
    for name, files, _ in RECORDS:
        for path in _found(folder, name):
            content = json.loads(read_bytes(path))
            if KEY in content and not again:
                continue
            write_record(path, {k: v for k, v in content.items() if k != KEY}, files(path, content))
            written.append(path)
    stores = [folder] if folder.suffix == ".zarr" else sorted(folder.rglob("metrics.zarr"))
    return written + [store for store in stores if seal_store(store, again)]


def check_all(folder: Path) -> list[str]:
    """What is wrong with the records below a folder, and with the files they speak of."""

    checks: list[tuple[str, Any]] = [(name, partial(read_record, schema=schema)) for name, _, schema in RECORDS]
    found = []
    for name, check in [*checks, ("metrics.zarr", verify_store)]:
        for path in _found(folder, name):
            try:
                check(path)
            except (ValueError, OSError) as error:
                found.append(str(error))
    return found


def _found(folder: Path, name: str) -> list[Path]:
    return sorted(p for p in folder.rglob(name.rpartition("/")[2]) if p.absolute().match(name))


def main(argv: list[str] | None = None) -> int:
    """Seal or check folders of artefacts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("verb", choices=("seal", "check"))
    parser.add_argument("--again", action="store_true", help="seal also what is sealed: what is there is what is meant")
    parser.add_argument("folders", nargs="+", type=Path)
    args = parser.parse_args(argv)
    absent = [str(folder) for folder in args.folders if not folder.is_dir()]
    if absent:
        print(f"no such folder: {', '.join(absent)}", file=sys.stderr)
        return 2
    if args.verb == "seal":
        print(f"{sum(len(seal_all(folder, args.again)) for folder in args.folders)} records sealed")
        return 0
    wrong = [line for folder in args.folders for line in check_all(folder)]
    print("\n".join(wrong) or "every record and every file it speaks of is as it was written")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
