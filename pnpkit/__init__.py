"""pnpkit: perceptual–neural–physical sound matching on a Riemannian metric.

θ → g → x → Φ → S: synthesisers in :mod:`pnpkit.synth`, joint time–frequency scattering in :mod:`pnpkit.jtfs`, the
pullback metric of their composition in :mod:`pnpkit.metric`, and the losses it makes in :mod:`pnpkit.losses`; a sound's
parameters, with how sure one can be, in :mod:`pnpkit.matching`. Every public name is found here, and loaded when it is
first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors, which cannot follow the table below
    from pnpkit.analyser.network import Analyser as Analyser
    from pnpkit.audio import read_sound as read_sound
    from pnpkit.distances import ddsp_mss_distance as ddsp_mss_distance, jtfs_distance as jtfs_distance
    from pnpkit.distances import mss_distance as mss_distance
    from pnpkit.experiment.matches import match_file as match_file
    from pnpkit.jtfs import JTFS as JTFS, Phi as Phi, log_compress as log_compress
    from pnpkit.losses import ParameterLoss as ParameterLoss, PNPLoss as PNPLoss, SpectralLoss as SpectralLoss
    from pnpkit.losses import WeightedParameterLoss as WeightedParameterLoss, quadratic_form as quadratic_form
    from pnpkit.matching import Atlas as Atlas, Match as Match, fitted as fitted, match as match
    from pnpkit.matching import morph as morph, refine as refine
    from pnpkit.metric import damp as damp, jacobian as jacobian, mean_metric as mean_metric
    from pnpkit.metric import riemannian_metric as riemannian_metric, unit_trace as unit_trace
    from pnpkit.synth import Arpeggio as Arpeggio, Parameter as Parameter, ParameterSpace as ParameterSpace
    from pnpkit.synth import RectangularDrum as RectangularDrum, Synthesiser as Synthesiser

__version__ = "0.2.0"

_NAMES = {
    "pnpkit.synth": "Arpeggio RectangularDrum Parameter ParameterSpace Synthesiser",
    "pnpkit.jtfs": "JTFS Phi log_compress",
    "pnpkit.metric": "jacobian riemannian_metric mean_metric damp unit_trace",
    "pnpkit.losses": "ParameterLoss WeightedParameterLoss SpectralLoss PNPLoss quadratic_form",
    "pnpkit.distances": "jtfs_distance mss_distance ddsp_mss_distance",
    "pnpkit.matching": "match refine Match Atlas morph fitted",
    "pnpkit.audio": "read_sound",
    "pnpkit.experiment.matches": "match_file",
    "pnpkit.analyser.network": "Analyser",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """A public name, from its module; PEP 562."""
    if name not in _HOME:
        raise AttributeError(f"module 'pnpkit' has no {name!r}; public names: {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
