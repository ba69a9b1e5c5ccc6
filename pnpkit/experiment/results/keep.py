"""``results.json``: what may replace it, and what it is read against."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pnpkit._extras import say_once
from pnpkit.experiment.artefacts import PROVENANCE, config_dict, read_record, read_with_digests, write_record
from pnpkit.experiment.config import Profile
from pnpkit.experiment.evaluation.folder import DISTANCE, MEDIAN
from pnpkit.experiment.evaluation.items import DISTANCES
from pnpkit.experiment.files import unless_read_only
from pnpkit.experiment.integrity import Damaged, sha256_of_file, verify_files
from pnpkit.experiment.profiles import PROFILES
from pnpkit.experiment.remedies import remedy
from pnpkit.experiment.results.claims import PAPER, Claim
from pnpkit.experiment.schema import BadRecord, check

FILE = "results.json"


# What :func:`pnpkit.experiment.results.rows.build_results` gives, and one quantity of a row of it
RESULTS: dict[Any, Any] = {
    "parameters": [str], "rows": {...: {...: dict | None}}, "references": {...: dict}, "comparisons": {...: dict},
    "claims": {...: [Claim]}, "paper": {"source": str, "rows": {...: dict}}, "runs": {...: dict},
    "provenance": PROVENANCE,
}  # fmt: skip
OVER_SEEDS = {"values": [float | None], "mean": float | None, "sd": float | None}


def read_results(folder: Path) -> dict[str, Any]:
    """``results.json`` of a profile's folder, after checking it and those items of it that are there.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is not what was written, or of items that have changed since; names the file.
    """
    path = folder / FILE
    results, digests = read_with_digests(path, "table")
    check(results, RESULTS, path)
    verify_files(path, digests, only=())  # which says if there are none
    for name, digest in (digests or {}).items():
        # What was made elsewhere is not always shipped
        if (file := folder / name).is_file() and sha256_of_file(file) != digest:
            read_record(file.parent / "summary.json", only=[file.name])  # should it be the items that are damaged
            raise Damaged(f"{path} is of other items than {file} holds now. {remedy(path)}")
    errors = [f"{kind}_{name}" for name in results["parameters"] for kind in ("error", "percent")]
    row = {"config": {"epochs": int, ...: Any}, "seeds": [int], "items": int, "left_out": int, "outside": int, ...: Any}
    row |= dict.fromkeys((*DISTANCES, "hours", *errors), OVER_SEEDS)
    for weights, rows in results["rows"].items():
        runs = {loss: of for loss, of in rows.items() if of is not None}
        check(runs, {...: row}, path, f"rows.{weights}")
    reference = dict.fromkeys(DISTANCES, DISTANCE) | dict.fromkeys(errors, MEDIAN) | {...: Any}
    check(results["references"], {...: reference}, path, "references")
    if results["paper"]["rows"] not in ({}, config_dict(PAPER)):
        raise BadRecord(f"{path}: paper.rows are not what the paper prints. {remedy(path)}")
    if missing := results["rows"].keys() ^ results["claims"].keys():
        raise BadRecord(f"{path}: rows and claims are not of the same weights ({sorted(missing)}). {remedy(path)}")
    return results


def write_results(folder: Path, results: dict[str, Any], fewer: bool = False) -> bool:
    """Keep results, unless the numbers there are the same; says whether the file was written.

    A folder that cannot be written to is said, and left.

    Args:
        folder: of the profile, which must be there.
        results: to keep.
        fewer: whether they may have fewer rows or seeds than those there.

    Raises:
        ValueError: if they have fewer, and must not; names what would be lost.
    """
    path = folder / FILE
    if path.exists():
        try:
            before = read_record(path, RESULTS, only=())
        except ValueError as error:
            say_once(f"{error}; it is made again now")
        else:
            if _numbers(before) == _numbers(results):
                return False
            lost = sorted(before["runs"].keys() - results["runs"].keys())
            if lost and not fewer:
                some = ", ".join(lost[:3]) + (", …" if len(lost) > 3 else "")
                raise ValueError(
                    f"{path} has {len(lost)} runs more than are there now ({some}): is a disk missing? `--fewer` "
                    "replaces it all the same"
                )
    kept = False
    with unless_read_only(f"{path} cannot be written: the table is not kept"):
        write_record(path, results, items_of(folder, results))
        kept = True
    return kept


def items_of(folder: Path, results: Mapping[str, Any]) -> list[str]:
    """The items that results are of, in this folder or in those of the profiles that it shares runs with."""
    homes, names = [Path(".")], [f"evaluation/{run}/items.csv" for run in results["runs"]]
    profile: Profile | None = PROFILES.get(folder.name)
    while profile is not None and profile.shares:
        homes.append(Path("..") / profile.shares)
        profile = PROFILES.get(profile.shares)
    found = [next((h / name for h in homes if (folder / h / name).is_file()), None) for name in names]
    return [path.as_posix() for path in found if path is not None]


def _numbers(results: Mapping[str, Any]) -> dict[str, Any]:
    """Results without when and where they were made, and without the losses that have none."""
    numbers = {key: value for key, value in config_dict(results).items() if key not in ("provenance", "runs")}
    rows = {weights: {k: row for k, row in of.items() if row is not None} for weights, of in numbers["rows"].items()}
    return numbers | {"rows": rows}
