"""Write the headline tables of some profiles' results into README.md, between its markers.

python tools/readme.py [PROFILE …]
"""

import pathlib
import re
import sys

from pnpkit.experiment.results.tables import render, table
from pnpkit.experiment.workspace import Workspace

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
        f"Profile `{profile}` ({workspace.profile.description}): {training.grid.n_steps}³ grid, batches of "
        f"{training.batch_size}, {training.coordinates} coordinates, {max(seeds)} of "
        f"{len(workspace.profile.seeds)} seeds, configuration `{results['provenance']['hash']}`."
    )
    return f"{render(shown, 'markdown')}\n\n{note}"


def filled(text: str, content: str) -> str:
    """The README with ``content`` between its markers."""
    return re.sub(r"(<!-- table -->\n).*?(<!-- /table -->)", lambda m: f"{m[1]}{content}\n{m[2]}", text, flags=re.S)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    profiles = sys.argv[1:] or ["paper", "raw-long", "study"]
    readme.write_text(filled(readme.read_text(), "\n\n".join(map(headline, profiles))))
