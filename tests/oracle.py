"""What tests of several wings hold their results to: the data that others made, and a drum written down anew."""

from pathlib import Path

import numpy as np
import torch

REFERENCE = Path(__file__).parent / "reference"


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((torch.linalg.norm(a - b, dim=-1) / torch.linalg.norm(b, dim=-1)).max())


def load(name: str) -> dict[str, torch.Tensor]:
    with np.load(REFERENCE / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file if file[key].ndim}


def drum(omega: float, tau: float, p: float, D: float, alpha: float) -> np.ndarray:
    """The reference's drum: 10 × 10 modes of the functional transformation method, 2^16 samples at 22 050 Hz."""
    m1, m2 = np.meshgrid(np.arange(1, 11), np.arange(1, 11))
    beta, n = alpha + 1 / alpha, m1**2 + (m2 / alpha) ** 2
    S4 = (D * omega * alpha) ** 2 + (p * alpha / tau) ** 2
    c2 = alpha / tau**2 * (1 / beta - p**2 * beta) + alpha * omega**2 * (1 / beta - D**2 * beta)
    sigma = (1 - p * beta) / tau + p * alpha / tau * n
    frequency = np.sqrt(np.abs(S4 * n**2 + c2 * n - sigma**2))
    weight = (np.sin(0.4 * np.pi * m1) * np.sin(0.4 * np.pi * m2)) ** 2 / frequency
    t = np.arange(2**16) / 22050
    modes = zip(weight.flat, sigma.flat, frequency.flat, strict=True)
    y = sum(w * np.exp(-s * t) * np.sin(f * t) for w, s, f in modes if f < np.pi * 22050)
    return y / np.abs(y).max()
