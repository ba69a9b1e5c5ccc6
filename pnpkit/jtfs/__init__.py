"""Joint time–frequency scattering Φ: waveform in, coefficients S out. Nothing here knows of synthesisers."""

from pnpkit.jtfs.operator import JTFS, Phi, log_compress

__all__ = ["JTFS", "Phi", "log_compress"]
