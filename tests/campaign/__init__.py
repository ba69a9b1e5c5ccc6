"""A campaign of faults, drawn from a seed: damaged files, malformed records, argument lists, kills.

    python -m tests.campaign --n 5000 --seed 1

Each fault has a verdict. *noticed*: one line that names what is damaged. *same bits*: after a kill and going on.
*harmless*: what is read is what was written, though bytes changed: white space in JSON, an exchange of equal files, a
curve that is computed again. *said*: read, after one line that digests are missing. *valid*: a record that was changed
and sealed again, or was never sealed, and that is a record like any other. *clean exit*: arguments that were taken. All
else is a failure: *silent*, *traceback*, *unnamed*, *not one line*, *lost*.
"""

from dataclasses import dataclass

FINE = ("noticed", "harmless", "said", "valid", "same bits", "clean exit")


@dataclass(frozen=True)
class Outcome:
    """What came of one fault."""

    family: str  # damage, record, arguments, kill
    kind: str  # of artefact, or verb
    verdict: str
    detail: str

    @property
    def fine(self) -> bool:
        return self.verdict in FINE
