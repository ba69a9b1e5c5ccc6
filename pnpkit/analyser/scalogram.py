"""The network's input: a constant-Q scalogram, log1p-compressed."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pnpkit._checks import plain_modes
from pnpkit._extras import extra
from pnpkit.distances import root
from pnpkit.jtfs.operator import LOUD


class Scalogram(nn.Module):
    r"""Constant-Q scalogram with logarithmic compression.

    .. math:: S(\lambda, n) = \log\Big(1 + \frac{\sqrt{N_\lambda}}{\varepsilon \sum_t w_\lambda(t)}
              \Big|\sum_t x(t)\,w_\lambda(t - nh)\,e^{-2\pi i \lambda (t - nh)/f_s}\Big|\Big)

    with Hann windows :math:`w_\lambda` of :math:`N_\lambda = \lceil Q f_s/\lambda\rceil` samples,
    Q = 1/(2^{1/12} − 1) = 16.8, and reflection at both ends. This is nnAudio's direct transform with atoms of unit sum
    times √N, its default and most likely what the authors ran; librosa normalises alike (``scale=True``). The two
    defaults differ by 2.6 %, in norm, because librosa's Q is 17.3; by 1.2 % once ``filter_scale`` gives librosa our Q;
    and by 0.4 % where librosa's atoms are applied as they are, without its resampling and sparse matrices.

    Args:
        sample_rate: of the waveforms, Hz.
        octaves, bins_per_octave: how many.
        f_min: lowest frequency, Hz.
        hop: samples from frame to frame.
        eps: ε.

    Raises:
        ValueError: if the highest bin lies above Nyquist.

    Source: GRETSI 2023, section 4 (which prints 10 octaves; 6 is what runs at this length); Brown and Puckette, 1992.

    >>> Scalogram(8192)(torch.zeros(2, 32768)).shape
    torch.Size([2, 72, 129])
    """

    def __init__(
        self,
        sample_rate: int,
        octaves: int = 6,
        bins_per_octave: int = 12,
        f_min: float = 32.7,
        hop: int = 256,
        eps: float = 1e-3,
    ) -> None:
        super().__init__()
        n_bins = octaves * bins_per_octave
        top = f_min * 2 ** ((n_bins - 1) / bins_per_octave)
        if top > sample_rate / 2:
            raise ValueError(f"the highest bin, {top:.1f} Hz, is above Nyquist, {sample_rate / 2:g} Hz: fewer octaves?")
        self.eps = eps
        with extra("analyser", "the scalogram"):
            from nnAudio.features.cqt import CQT1992v2  # slow to import

        with plain_modes():
            self.cqt = CQT1992v2(
                sr=sample_rate, hop_length=hop, fmin=f_min, n_bins=n_bins,
                bins_per_octave=bins_per_octave, verbose=False,
            )  # fmt: skip

    @property
    def frequencies(self) -> np.ndarray:
        """Centre frequencies of the bins in Hz, ascending."""
        return np.asarray(self.cqt.frequencies)

    def forward(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch bins frames"]:
        """Scalogram of each waveform, in float32; its gradient is zero where a coefficient is.

        Raises:
            ValueError: if the waveform is no longer than half the longest atom, which reflection needs.
        """
        half = self.cqt.kernel_width // 2
        if x.shape[-1] <= half:
            raise ValueError(
                f"the scalogram's bin at {self.frequencies[0]:g} Hz needs over {half} samples, not {x.shape[-1]}: "
                "a higher f_min? (a recipe's features=ScalogramConfig(…) sets it)"
            )
        flat = x.reshape(-1, x.shape[-1]).float()
        # What is so loud that squares overflow is scaled by a power of two and back, which changes no bit of the rest
        scale = torch.where(flat.detach().abs().amax(-1, keepdim=True) > LOUD, 2.0**-80, 1.0).float()
        with torch.autocast(x.device.type, enabled=False):
            real, imag = self.cqt(flat * scale, output_format="Complex").unbind(-1)
        S = root(real.square() + imag.square()) / scale.unsqueeze(-1)
        return torch.log1p(S / self.eps).reshape(*x.shape[:-1], *S.shape[1:])
