"""Write what README.md shows of the results: its figure, its table of matching, and the tables of data/RESULTS.md.

python tools/readme.py
"""

import pathlib
import re

import matplotlib.pyplot as plt

from pnpkit.experiment.results.matching import continued, descents
from pnpkit.experiment.results.tables import render, table
from pnpkit.experiment.workspace import Workspace
from pnpkit.figures.front import plot_headline
from pnpkit.figures.plotting import STYLE

PROFILES = ("paper", "raw-long", "study")
BEGIN, END = "<!-- matching, written by tools/readme.py -->", "<!-- end -->"
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


def tables() -> str:
    """All of data/RESULTS.md."""
    head = (
        "# Results\n\nMean distances on the test fold, ± standard deviation over seeds, beside the paper's Table 1. "
        "Chapter 7 has the verdict on each claim, chapter 12 the smaller studies, chapters 6, 8 and 9 the reasons. "
        "Written by `tools/readme.py` from `results.json`.\n\n"
    )
    return head + "\n\n".join(map(headline, PROFILES)) + "\n"


def matched() -> str:
    """The table of matching, of README.md."""
    columns = {
        "JTFS, 0": "distance there",
        "JTFS, 2": "after 2 steps",
        "JTFS, 8": "after 8 steps",
        "below 1": "below 1",
    }
    steps = continued(descents(ROOT / "data" / "matching"))
    return render(steps[[*columns, "seconds"]].rename(columns=columns), "markdown")


def readme() -> str:
    """README.md with that table in its place."""
    text = (ROOT / "README.md").read_text()
    return re.sub(f"(?<={BEGIN}\n).*?(?=\n{END})", lambda _: f"\n{matched()}\n", text, flags=re.S)


if __name__ == "__main__":
    (ROOT / "README.md").write_text(readme())
    (ROOT / "data" / "RESULTS.md").write_text(tables())
    plt.style.use(STYLE)
    figure = plot_headline(Workspace.open("paper", ROOT / "data").results())
    figure.savefig(ROOT / "book" / "_static" / "headline.png")
