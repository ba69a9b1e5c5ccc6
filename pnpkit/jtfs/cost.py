"""What the operator computes, counted from its sizes."""

import math
from collections.abc import Iterable
from typing import cast

from pnpkit.jtfs.operator import JTFS
from pnpkit.jtfs.stages import Envelopes, RowModuli, SecondOrder


def operations(jtfs: JTFS) -> dict[str, float]:
    """What one forward pass computes: floating-point operations of transforms and of matrices, and moduli.

    A complex transform of n samples counts 5 n log2 n, a real one half of it, a multiplication and addition two.
    """
    transforms = 2.5 * jtfs.length * math.log2(jtfs.length)
    moduli = products = 0.0
    for bands in cast(Iterable[Envelopes], jtfs.first):
        transforms += 7.5 * len(bands.starts) * bands.length * math.log2(bands.length)
        moduli += len(bands.starts) * bands.length
    for scale in cast(Iterable[SecondOrder], jtfs.second):
        transforms += 5 * scale.rows * scale.length * math.log2(scale.length)
        for along_rows in cast(Iterable[RowModuli], scale.filters):
            matrices = along_rows.weights.numel() + (along_rows.reduction.numel() if along_rows.reduced else 0)
            products += 4 * matrices * scale.length  # on real and imaginary parts
            moduli += len(along_rows.weights) * scale.length
    return {"transforms": transforms, "products": products, "moduli": moduli}
