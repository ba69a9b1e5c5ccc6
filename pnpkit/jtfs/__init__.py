"""Joint time–frequency scattering Φ: waveform in, coefficients S out. Nothing here knows of synthesisers."""

from pnpkit.jtfs.descriptor import Phi, log_compress
from pnpkit.jtfs.operator import JTFS

__all__ = ["JTFS", "Phi", "log_compress"]
