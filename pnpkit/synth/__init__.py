"""Synthesisers g: parameters θ in, waveform x out. One file a synthesiser; nothing here knows of Φ."""

from pnpkit.synth.arpeggio import Arpeggio
from pnpkit.synth.drum import RectangularDrum
from pnpkit.synth.parameters import Parameter, ParameterSpace, Synthesiser

__all__ = ["Arpeggio", "Parameter", "ParameterSpace", "RectangularDrum", "Synthesiser"]
