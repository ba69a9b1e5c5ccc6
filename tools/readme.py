"""Write the headline table of a profile's results into README.md, between its markers.

python tools/readme.py [PROFILE]
"""

import pathlib
import re
import sys

from pnpkit.table import render, table
from pnpkit.workspace import Workspace

ROOT = pathlib.Path(__file__).resolve().parents[1]
COLUMNS = ["epochs", "MSS", "MSS, paper", "JTFS", "JTFS, paper", "JTFS ÷ P", "JTFS ÷ P, paper"]


def headline(profile: str) -> str:
    """The table as Markdown, with a line that says where its numbers come from."""
    workspace = Workspace.open(profile, ROOT / "data")
    results, training = workspace.results(), workspace.profile.training
    everything = table(results)
    seeds = {len(row["seeds"]) for row in results["rows"]["last"].values() if row is not None}
    shown = everything[[column for column in COLUMNS if column in everything]]
    note = (
        f"Profile `{profile}`: {training.grid.n_steps}³ grid, batches of {training.batch_size}, "
        f"{training.coordinates} coordinates, {max(seeds)} seeds, configuration "
        f"`{results['provenance']['hash']}`. Distances on the test fold, ± standard deviation over seeds, beside the "
        "paper's Table 1. Verdicts on each claim are in chapter 7."
    )
    return f"{render(shown, 'markdown')}\n\n{note}"


def filled(text: str, content: str) -> str:
    """The README with ``content`` between its markers."""
    return re.sub(r"(<!-- table -->\n).*?(<!-- /table -->)", lambda m: f"{m[1]}{content}\n{m[2]}", text, flags=re.S)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text(), headline(sys.argv[1] if len(sys.argv) > 1 else "laptop")))
