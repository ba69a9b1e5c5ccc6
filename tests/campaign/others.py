"""Artefacts that belong to no profile, or to no table of one: made by the real code from toy data, and read by it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from pnpkit.experiment.artefacts import config_hash, read_record
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.evaluation.gradients import AGREEMENT, read_agreement, write_agreement
from pnpkit.experiment.evaluation.gradients import TABLE as GRADIENTS
from pnpkit.experiment.evaluation.study import RECORD, ROWS, Study, pursue, read_study
from pnpkit.experiment.match_table import Table
from pnpkit.experiment.precompute.atlases import ATLAS_RECORD, AtlasConfig, store_atlas
from pnpkit.experiment.precompute.tangents import TangentConfig, compute_tangents
from pnpkit.matching import Atlas, Match
from pnpkit.synth import Arpeggio
from tools import execute

GRID = GridConfig(n_steps=6)
TANGENTS = TangentConfig(GRID, "", every=60, components=2, chunk=2)
MADE_FROM = "0" * 64  # of the notebook


@dataclass
class Others:
    """Their folder.

    Args:
        root: of artefacts.
        profile: the folder of one.
    """

    root: Path
    profile: Path

    def __post_init__(self) -> None:
        self.atlas, self.study = self.root / "atlases" / "arpeggio.npz", self.root / "matching" / "squares"
        self.tangents = self.profile / f"tangents-{config_hash(TANGENTS)}"
        reports = self.root / "reports"
        self.match, self.matches, self.notebook = (reports / n for n in ("a.npz", "matches.csv", "chapter.ipynb"))

    def build(self) -> None:
        """Make everything."""
        store_atlas(self.atlas, AtlasConfig(GRID, every=30, components=4))
        self._tangents()
        pursue(Study("squares", {"power": 2}, tuple(range(9)), squares), self.study.parent)
        agreement = pd.DataFrame({"cosine": [0.9, 0.8], "size": [1.1, 1.0], "loss": [1.0, 2.0]})
        write_agreement(self.profile, agreement, {"epochs": [1]}, 1.0)
        self.match.parent.mkdir()
        answer().save(self.match)
        table = Table(self.matches, Arpeggio.parameters)
        table.begin(())
        for name in ("a.wav", "b.wav", "c.wav"):
            table.add(dict.fromkeys(table.columns, "1.5") | {"file": name})
        notebook: dict[str, Any] = {"cells": [{"outputs": [{"text": "1.23"}]}], "metadata": {"language_info": {}}}
        marks = {"made_from": MADE_FROM, "artefacts": {}, "content": execute.content_hash(notebook)}
        notebook["metadata"]["pnpkit"] = marks
        self.notebook.write_text(json.dumps(notebook))

    def files(self) -> dict[str, list[Path]]:
        """The files of each kind."""
        return {
            "atlas": [self.atlas, self.atlas.with_suffix(".json")],
            "study": [self.study / name for name in (RECORD, ROWS)],
            "gradients": [self.profile / name for name in (AGREEMENT, GRADIENTS)],
            "tangents": sorted(path for path in self.tangents.iterdir() if path.suffix in (".npz", ".json")),
            "match": [self.match],
            "matches": [self.matches],
            "notebook": [self.notebook],
        }

    def readers(self) -> dict[str, Callable[[], Any]]:
        """What reads each kind."""
        return {
            "atlas": lambda: (
                read_record(self.atlas.with_suffix(".json"), ATLAS_RECORD)["config"],
                vars(Atlas.load(self.atlas)),
            ),
            "study": lambda: read_study(self.study),
            "gradients": lambda: read_agreement(self.profile),
            "tangents": self._tangents,
            "match": lambda: vars(Match.load(self.match)),
            # The user's own: read for which sounds are done, and carried on; its numbers are nobody's input
            "matches": lambda: Table(self.matches, Arpeggio.parameters).begin(()),
            "notebook": self._notebook,
        }

    def _tangents(self) -> Any:
        found = compute_tangents(self.tangents, TANGENTS)  # computed again where a record is gone
        return found.theta, found.values, found.J

    def _notebook(self) -> Any:
        if reason := execute.out_of_date(self.notebook, MADE_FROM):
            raise ValueError(f"{self.notebook}: {reason}")
        return json.loads(self.notebook.read_text())["cells"]


def squares(item: int) -> list[dict[str, Any]]:
    """What the toy study measures."""
    return [{"square": item * item}]


def answer() -> Match:
    """One that no descent gave."""
    numbers = dict.fromkeys(("level", "delay", "noise", "usual", "norm", "rival_distance", "explained", "seconds"), 1.0)
    history = pd.DataFrame({"start": [0, 0], "step": [0, 1], "distance": [2.0, 1.0]})
    return Match(
        torch.tensor([740.0, 8.7, 1.7]), **numbers, region=None, distance=1.0, rival=None, converged=True, finish="phi",
        resynthesis=torch.linspace(-1, 1, 64), jacobians=9, history=history, space=Arpeggio.parameters,
    )  # fmt: skip
