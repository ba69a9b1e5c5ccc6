"""A sound in, its parameters out, with how sure one can be; and what one does with them."""

from pnpkit.matching.answer import Match
from pnpkit.matching.atlas import Atlas
from pnpkit.matching.descent import Descent, refine
from pnpkit.matching.match import match
from pnpkit.matching.morph import Morph, morph
from pnpkit.matching.placed import Placed
from pnpkit.matching.recording import Fitted, fitted
from pnpkit.matching.region import Region

__all__ = ["Atlas", "Descent", "Fitted", "Match", "Morph", "Placed", "Region", "fitted", "match", "morph", "refine"]
