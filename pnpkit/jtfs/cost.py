"""What the operator computes, counted from its sizes."""

import math

from pnpkit.jtfs.operator import JTFS


def operations(jtfs: JTFS) -> dict[str, float]:
    """What one forward pass computes: floating-point operations of transforms and of matrices, and moduli.

    Where the second order is averaged in time, the transform of all its moduli is left out.

    A complex transform of n samples counts 5 n log2 n, a real one half of it, a multiplication and addition two.
    """
    transforms = 2.5 * jtfs.length * math.log2(jtfs.length)
    moduli = products = 0.0
    for bands in jtfs.first:
        transforms += 7.5 * len(bands.starts) * bands.length * math.log2(bands.length)
        moduli += len(bands.starts) * bands.length
    for scale in jtfs.second:
        transforms += 5 * scale.rows * scale.length * math.log2(scale.length)
        moduli += sum(scale.sizes) * scale.length / (scale.low_pass[0].frames if scale.low_pass else 1)
        for along_rows in scale.filters:
            products += 4 * sum(matrix.numel() for matrix in along_rows.buffers()) * scale.length  # re and im
    return {"transforms": transforms, "products": products, "moduli": moduli}
