"""The joint time–frequency scattering operator."""

import math
from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.autograd import forward_ad

from pnpkit._checks import require_finite, require_floating, require_whole, somewhere
from pnpkit.jtfs.autograd import PushForward, Scatter
from pnpkit.jtfs.design import Sizes, averaging, banks, group_bands, modulations, one_quality, path_table
from pnpkit.jtfs.frequential import FrequentialBank
from pnpkit.jtfs.modulus import modulus
from pnpkit.jtfs.stages import Envelopes, LowPass, SecondOrder, fit, rfft_back

LOUD = 2.0**40  # peak above which squares, summed, come near the end of float32: such a sound is scaled, and S back
LOUDEST = 2.0**100  # beyond, S itself may not fit


class JTFS(nn.Module):
    r"""Joint time–frequency scattering of a waveform: S, 16 018 coefficients for the authors' settings.

    .. math:: S_1[\lambda](t) = |x * \psi_\lambda| * \phi_T, \qquad
              S_2[\lambda, \mu, \ell, \pm](t) = \big| |x * \psi_\lambda| * \psi_\mu(t) *
              \psi_{\ell,\pm}(\log_2\lambda) \big| * \phi_T

    The waveform is zero-padded to twice its length. Every path keeps a frame every T samples, and is multiplied by √T:
    an envelope of 1 gives √T far from the ends, half of it at either; √N if T is None. S0, of all the padded sound, is
    :math:`|\sum x| \sqrt{T}/(2N)`, or :math:`|\sum x|/(2\sqrt{N})`.

    A modulus does not see a phase ramp, so each band is cut out of the spectrum, moved to zero frequency and inverted
    at a few times its bandwidth; the second order needs only the low bins of each first-order envelope. No full-rate
    inverse transform is ever computed. Forward mode (``torch.func.jvp``, ``jacfwd``) carries all directions through
    together, see :mod:`pnpkit.jtfs.modulus`; reverse mode computes the second-order planes again, tile by tile.

    Args:
        J: log2 of the largest temporal scale, in samples.
        Q: wavelets an octave in time; the second order has one, and (Q, 1) says the same.
        J_fr: log2 of the largest scale along log-frequency, in rows.
        Q_fr: wavelets an octave along log-frequency.
        F: scale in rows of the frequential low-pass.
        T: averaging scale in samples, a power of two; None averages over the sound and leaves one frame.
        n_samples: length of the waveform, 4 or more. N is the next power of two: a waveform in between is followed by
            zeros, and has the paths, frames and norms of one of N samples.
        global_second_order: average second-order paths over the whole padded time whatever T, times √T, as the
            authors' operator does; a constant envelope of 1 then gives √T/2.
        coarse_quirk: reproduce a quirk of the authors' operator. It kept copies of each second-order filter at
            several sampling rates, and energy-normalised the full-rate copy in three passes but the others in the
            last pass only; so bands with j ≥ 1, which met a subsampled copy, came out weaker by about 0.787.

    Raises:
        ValueError: if a size is no whole number or out of range (the message names it).

    Source: Andén, Lostanlen, Mallat, IEEE TSP 2019; settings of GRETSI 2023.

    >>> jtfs = JTFS.reference(2**15)
    >>> jtfs(torch.zeros(2, 2**15)).shape
    torch.Size([2, 16018])
    """

    sizes: Sizes
    paths: pd.DataFrame  # see design.path_table
    first: Sequence[Envelopes]  # and second: lists to readers and to mypy, ModuleLists to torch
    second: Sequence[SecondOrder]

    def __init__(
        self,
        J: int,
        Q: int | tuple[int, int],
        *,
        J_fr: int = 6,
        Q_fr: int = 1,
        F: int = 2,
        T: int | None,
        n_samples: int,
        global_second_order: bool = False,
        coarse_quirk: bool = False,
    ) -> None:
        super().__init__()
        self.n_samples, self.T = require_whole("n_samples", n_samples, 4), T
        N = 1 << (self.n_samples - 1).bit_length()
        self.sizes = sizes = Sizes(J, one_quality(Q), J_fr, Q_fr, F, T, N, global_second_order, coarse_quirk)
        self.length, self.frames = sizes.length, sizes.frames
        found, fr = banks(sizes), FrequentialBank(J_fr, Q_fr, F)
        self.low_pass = low = LowPass(averaging(found, sizes), T, N)
        bands = group_bands([w.spectrum for w in found.first], self.length)
        self.first = nn.ModuleList(Envelopes(b, self.length) for b in bands)  # type: ignore[assignment]
        in_time = low if sizes.second_in_time else None
        self.second = nn.ModuleList(  # type: ignore[assignment]
            SecondOrder(b, fr.filters(len(b.starts)), in_time, low.mean_gain)
            for b in modulations(found, sizes, len(low.bins) if sizes.second_in_time else 0)
        )
        # Bands without second order are heard by their neighbours, but have no joint path
        self.joint_rows = max(found.rows) or len(found.first)
        self.joint = nn.ModuleList(fr.filters(len(found.first), self.joint_rows))
        self.paths = path_table(found, self.joint_rows, fr, sizes)

    @classmethod
    def reference(cls, n_samples: int) -> "JTFS":
        """The authors' operator: J = 13, Q = 12, J_fr = 6, Q_fr = 1, F = 2, T = 2^13, their quirks included."""
        return cls(13, 12, T=2**13, n_samples=n_samples, global_second_order=True, coarse_quirk=True)

    @property
    def n_coefficients(self) -> int:
        """Number of coefficients of S."""
        return int((self.paths.rows * self.paths.frames).sum())

    def forward(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch k"]:
        """Scattering coefficients S of each waveform, in the dtype and on the device of the module.

        Raises:
            NotImplementedError: if it is traced, to be exported.
            ValueError: if the waveform is not floating-point, not finite, beyond 10³⁰, or of another length than
                ``n_samples``.
        """
        if torch.compiler.is_exporting() or torch.jit.is_tracing():  # type: ignore[attr-defined]
            raise NotImplementedError(
                "JTFS cannot be traced or exported: on the CPU it runs loops that PyTorch does not see. "
                "Export what comes before and after it; under torch.compile the graph breaks here by itself"
            )
        return self._forward(x)

    @_disable_dynamo  # the public torch.compiler.disable takes a second to import what it disables
    def _forward(self, x: Tensor) -> Tensor:
        """The scattering of x, outside compiled graphs."""
        require_floating("x", x)
        if x.ndim == 0 or x.shape[-1] != self.n_samples:
            raise ValueError(f"x has shape {tuple(x.shape)}; its last dimension must be n_samples = {self.n_samples}")
        if somewhere(~(x.abs() <= LOUDEST)):
            require_finite("x", x)
            raise ValueError(f"x must be at most {LOUDEST:.2g} anywhere (full scale is 1), not {x.abs().max():.2g}")
        if x.numel() == 0:  # which FFTs do not take
            return x.to(self.low_pass.bins).new_zeros(*x.shape[:-1], self.n_coefficients)
        flat = x.reshape(-1, self.n_samples).to(self.low_pass.bins)
        value, tangent = forward_ad.unpack_dual(flat)
        if tangent is None:
            S = Scatter.apply(self, flat, torch.is_grad_enabled() and flat.requires_grad)[0]
        else:
            S, slope = PushForward.apply(self, value, tangent.unsqueeze(0))
            S = forward_ad.make_dual(S, slope.squeeze(0))
        return S.reshape(*x.shape[:-1], S.shape[-1])  # also of one waveform, which has no batch to unflatten

    def scatter(
        self, x: Float[Tensor, "parts items n"], kept: list[Tensor] | None = None
    ) -> Float[Tensor, "parts items k"]:
        """Coefficients of a jet: waveforms (part 0) and their derivatives along directions (the other parts).

        What :meth:`pull_back` needs of the way there is appended to ``kept``: that of a scaled waveform serves as well,
        as the gradient of a homogeneous function does not depend on the level.
        """
        peaks = x[0].abs().amax(-1, keepdim=True)
        if bool((peaks > LOUD).any()):
            ones = torch.ones_like(peaks)
            level = torch.where(peaks > LOUD, ones.ldexp(torch.frexp(peaks).exponent), ones)  # powers of two are exact
            return self.scatter(x / level, kept) * level
        spectrum = torch.fft.rfft(x, n=self.length)
        envelopes, second, ways = [], [], []
        for stage in self.first:
            bands = stage.bands(spectrum)
            envelopes.append(stage.of_bands(bands))
            ways += [bands] if kept is not None else []
        mean, low = spectrum[..., :1], torch.cat([fit(e, len(self.low_pass.bins)) for e in envelopes], 2)
        for scale in self.second:
            plane = scale.place(envelopes)  # filtered in time
            second.append(scale(plane))
            ways += [plane] if kept is not None else []
        if kept is not None:
            kept += [mean.clone(), low, *ways]
        blocks = self._averaged(mean, low)
        return torch.cat(blocks + [block for kind in zip(*second, strict=True) for block in kind], -1)

    def _averaged(self, mean: Tensor, low: Tensor) -> list[Tensor]:
        """Paths without a wavelet in time: S0, S1 and φ_t, from the mean and the lowest bins of the envelopes."""
        # The authors kept the sign of the mean, which log1p cannot take below −ε; Φ and M of their sounds are the same
        s0 = modulus(mean) * (self.low_pass.gain / self.length)
        s1 = self.low_pass(low)
        blocks, psis = [s0, s1.flatten(2)], []
        for rows in self.joint:
            re, im, low = (p.unflatten(2, (-1, s1.shape[2]))[:, :, :, : self.joint_rows] for p in rows(s1))
            blocks.append(low.flatten(2))
            psis.append(modulus(torch.complex(re, im)).flatten(2) * math.sqrt(2))  # one spin serves for both
        return blocks + psis

    def pull_back(self, gradient: Float[Tensor, "1 items k"], kept: Sequence[Tensor]) -> Float[Tensor, "1 items n"]:
        """Gradient with respect to waveforms from that of their coefficients: the adjoint of :meth:`scatter`."""
        mean, low, *ways = kept
        bands, planes = ways[: len(self.first)], ways[len(self.first) :]
        with torch.enable_grad():
            leaves = [mean.detach().requires_grad_(), low.detach().requires_grad_()]
            averaged = torch.cat(self._averaged(*leaves), -1)
        averages, kinds = gradient.tensor_split((averaged.shape[-1],), -1)
        mean, low = torch.autograd.grad(averaged, leaves, averages)
        lowest = low.split([z.shape[2] for z in bands], 2)
        envelopes = [fit(low, z.shape[-1] // 2 + 1).contiguous() for low, z in zip(lowest, bands, strict=True)]
        sizes = [size for kind in zip(*(scale.sizes for scale in self.second), strict=True) for size in kind]
        blocks = kinds.split(sizes, -1)
        for n, (scale, plane) in enumerate(zip(self.second, planes, strict=True)):
            scale.pull_back(plane, blocks[n :: len(planes)], envelopes)
        spectrum = fit(mean, self.length // 2 + 1)
        for stage, z, envelope in zip(self.first, bands, envelopes, strict=True):
            stage.pull_back(z, envelope, spectrum)
        return rfft_back(spectrum, self.length, "forward")[..., : self.n_samples]
