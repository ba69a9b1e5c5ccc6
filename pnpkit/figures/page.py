"""What a page shows in one line and keeps in full: provenance, and tables that few will read."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pnpkit.experiment.results.tables import render


@dataclass(frozen=True, eq=False)
class Captioned:
    """A table and what it shows: with its caption on a page, as text elsewhere."""

    frame: pd.DataFrame
    caption: str

    def __repr__(self) -> str:
        return f"{self.caption}\n{self.frame.to_string()}"

    def _repr_html_(self) -> str:
        return render(self.frame, "html", self.caption)


@dataclass(frozen=True, eq=False)
class Folded:
    """A line of text that unfolds: on a page by a click, in print and without a browser it stands in full.

    Args:
        line: what is seen at once.
        details: lines, or a table.
    """

    line: str
    details: Sequence[str] | pd.DataFrame

    def __repr__(self) -> str:
        if isinstance(self.details, pd.DataFrame):
            return f"{self.line}\n{self.details.to_string()}"
        return "\n".join([self.line, *self.details])

    def _repr_html_(self) -> str:
        if isinstance(self.details, pd.DataFrame):
            named = f'<table aria-label="{html.escape(self.line)}"'  # the eye reads the line above
            head, rows = self.details.to_html(border=0).replace("<table", named, 1).split("</thead>")
            heads = [re.sub(r"<th(?=[ >])", f'<th scope="{s}"', part) for s, part in (("col", head), ("row", rows))]
            body = "</thead>".join(heads)
        else:
            body = "<br>".join(map(html.escape, self.details))
        return f'<details class="folded"><summary>{html.escape(self.line)}</summary>{body}</details>'
