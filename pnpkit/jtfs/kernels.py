"""Loops that PyTorch would run as a dozen passes over memory, compiled by numba: the modulus and its derivatives.

Complex numbers are interleaved, (re, im, re, im, …), as PyTorch stores them. A *jet* is a value and its derivatives
along some directions, stacked along the first axis: index 0 is the value. Every kernel has an equivalent in plain
PyTorch in :mod:`pnpkit.jtfs.modulus`, for devices other than the CPU; the two are tested against each other.

Inner loops count by one and double the index: a stride of two keeps the compiler from vectorising them (five times
slower).
"""

import math
from typing import no_type_check

from pnpkit._compile import njit

# Sums may be reordered and quotients taken as products; infinities and NaN keep their meaning
FAST = {"reassoc", "contract", "arcp", "afn", "nsz"}


@no_type_check
@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def modulus_jet(z, tiny, out):
    """|z| and its derivatives: z (parts, 2·n) → out (parts, n)."""
    parts, n = out.shape
    value = z[0]
    for t in range(n):
        out[0, t] = math.sqrt(value[2 * t] * value[2 * t] + value[2 * t + 1] * value[2 * t + 1])
    for p in range(1, parts):
        slope = z[p]
        for t in range(n):
            re, im = value[2 * t], value[2 * t + 1]
            out[p, t] = (re * slope[2 * t] + im * slope[2 * t + 1]) / math.sqrt(max(re * re + im * im, tiny))


@no_type_check
@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def add_moduli(products, n, tiny, out):
    """Add to out (parts, rows) the sums over time of the moduli of both spins and of the low-pass.

    ``products`` (parts, rows, 2·time) holds a z in its first n rows, b z in the next n, φ z in the others; both spins,
    (a + ib)z and (a − ib)z, come from the same real products.
    """
    parts, rows, length = products.shape
    zero = tiny - tiny
    for i in range(n):
        a, b = products[0, i], products[0, n + i]
        up, down = zero, zero
        for k in range(length // 2):
            t = 2 * k
            up_re, up_im = a[t] - b[t + 1], a[t + 1] + b[t]
            down_re, down_im = a[t] + b[t + 1], a[t + 1] - b[t]
            up += math.sqrt(up_re * up_re + up_im * up_im)
            down += math.sqrt(down_re * down_re + down_im * down_im)
        out[0, i] += up
        out[0, n + i] += down
        for p in range(1, parts):
            da, db = products[p, i], products[p, n + i]
            up, down = zero, zero
            for k in range(length // 2):
                t = 2 * k
                up_re, up_im = a[t] - b[t + 1], a[t + 1] + b[t]
                down_re, down_im = a[t] + b[t + 1], a[t + 1] - b[t]
                up += (up_re * (da[t] - db[t + 1]) + up_im * (da[t + 1] + db[t])) / math.sqrt(
                    max(up_re * up_re + up_im * up_im, tiny)
                )
                down += (down_re * (da[t] + db[t + 1]) + down_im * (da[t + 1] - db[t])) / math.sqrt(
                    max(down_re * down_re + down_im * down_im, tiny)
                )
            out[p, i] += up
            out[p, n + i] += down
    for i in range(2 * n, rows):
        low = products[0, i]
        total = zero
        for k in range(length // 2):
            t = 2 * k
            total += math.sqrt(low[t] * low[t] + low[t + 1] * low[t + 1])
        out[0, i] += total
        for p in range(1, parts):
            slope, total = products[p, i], zero
            for k in range(length // 2):
                t = 2 * k
                re, im = low[t], low[t + 1]
                total += (re * slope[t] + im * slope[t + 1]) / math.sqrt(max(re * re + im * im, tiny))
            out[p, i] += total


@no_type_check
@njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
def pull_back(products, n, tiny, gradient):
    """Replace the products (rows, 2·time) by the gradient with respect to them of Σ gradient[row] · modulus."""
    rows, length = products.shape
    for i in range(n):
        a, b = products[i], products[n + i]
        for k in range(length // 2):
            t = 2 * k
            up_re, up_im = a[t] - b[t + 1], a[t + 1] + b[t]
            down_re, down_im = a[t] + b[t + 1], a[t + 1] - b[t]
            up = gradient[i] / math.sqrt(max(up_re * up_re + up_im * up_im, tiny))
            down = gradient[n + i] / math.sqrt(max(down_re * down_re + down_im * down_im, tiny))
            a[t], a[t + 1] = up * up_re + down * down_re, up * up_im + down * down_im
            b[t], b[t + 1] = up * up_im - down * down_im, down * down_re - up * up_re
    for i in range(2 * n, rows):
        low = products[i]
        for k in range(length // 2):
            t = 2 * k
            share = gradient[i] / math.sqrt(max(low[t] * low[t] + low[t + 1] * low[t + 1], tiny))
            low[t], low[t + 1] = share * low[t], share * low[t + 1]
