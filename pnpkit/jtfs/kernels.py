"""Loops that PyTorch would run as a dozen passes over memory, compiled by numba: cutting, folding, and the modulus.

Complex numbers are interleaved, (re, im, re, im, …), as PyTorch stores them, but for the products of
:mod:`pnpkit.jtfs.modulus`, which have real parts and imaginary parts in rows of their own. A *jet* is a value and its
derivatives along some directions, stacked along an axis named ``parts``: index 0 is the value. Other devices than the
CPU run plain PyTorch (:mod:`pnpkit.jtfs.modulus`, :mod:`pnpkit.jtfs.stages`); the two are tested against each other.

Inner loops count by one and double the index: a stride of two keeps the compiler from vectorising them (five times
slower).
"""

import math

import numpy as np

from pnpkit._compile import njit

# Sums may be reordered and quotients taken as products; infinities and NaN keep their meaning
FAST = {"reassoc", "contract", "arcp", "afn", "nsz"}
loop = njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)


@loop
def place(spectrum, starts, weights, first, count, out):
    """Move bands to zero: spectrum (signals, channels, 2·bins) → rows of out (signals, bands, 2·length) from first on.

    Row ``first + b`` is ``weights[first + b]`` times channel b, or the only channel, from its start on; then zeros.
    """
    signals, channels, _ = spectrum.shape
    for s in range(signals):
        for b in range(count):
            band, target, weight = spectrum[s, min(b, channels - 1)], out[s, first + b], weights[first + b]
            source = band[2 * starts[first + b] :]
            n = min(len(weight), len(source) // 2)
            for k in range(n):
                target[2 * k], target[2 * k + 1] = weight[k] * source[2 * k], weight[k] * source[2 * k + 1]
            target[2 * n :] = 0


@loop
def place_back(gradient, starts, weights, first, count, out):
    """Adjoint of :func:`place`: add to out (signals, channels, 2·bins) what its rows weigh in gradient."""
    signals, channels, _ = out.shape
    for s in range(signals):
        for b in range(count):
            band, source, weight = out[s, min(b, channels - 1)], gradient[s, first + b], weights[first + b]
            target = band[2 * starts[first + b] :]
            for k in range(min(len(weight), len(target) // 2)):
                target[2 * k] += weight[k] * source[2 * k]
                target[2 * k + 1] += weight[k] * source[2 * k + 1]


@loop
def modulus_jet(z, tiny, out):
    """``|z|`` and its derivatives: z (parts, 2·n) → out (parts, n)."""
    parts, n = out.shape
    value = z[0]
    for t in range(n):
        out[0, t] = math.sqrt(value[2 * t] * value[2 * t] + value[2 * t + 1] * value[2 * t + 1])
    for p in range(1, parts):
        slope = z[p]
        for t in range(n):
            re, im = value[2 * t], value[2 * t + 1]
            out[p, t] = (re * slope[2 * t] + im * slope[2 * t + 1]) / math.sqrt(max(re * re + im * im, tiny))


@loop
def modulus_back(z, gradient, tiny, out):
    """Gradient with respect to z (2·n) of Σ gradient · ``|z|``, into out (2·n)."""
    for t in range(len(gradient)):
        re, im = z[2 * t], z[2 * t + 1]
        share = gradient[t] / math.sqrt(max(re * re + im * im, tiny))
        out[2 * t], out[2 * t + 1] = share * re, share * im


@loop
def fold(z, item, begin, even, odd):
    """Sums and differences of rows that mirror each other, of one item's z (parts, items, rows, 2·time) from begin on.

    even (⌈rows/2⌉, parts, 2, tile) and odd (⌊rows/2⌋, parts, 2, tile) have real and imaginary parts apart.
    """
    parts, _, rows, _ = z.shape
    tile = even.shape[-1]
    for p in range(parts):
        for i in range(len(even)):
            top, bottom, target = z[p, item, i][2 * begin :], z[p, item, rows - 1 - i][2 * begin :], even[i, p]
            for t in range(tile):
                target[0, t], target[1, t] = top[2 * t] + bottom[2 * t], top[2 * t + 1] + bottom[2 * t + 1]
        for i in range(len(odd)):
            top, bottom, target = z[p, item, i][2 * begin :], z[p, item, rows - 1 - i][2 * begin :], odd[i, p]
            for t in range(tile):
                target[0, t], target[1, t] = top[2 * t] - bottom[2 * t], top[2 * t + 1] - bottom[2 * t + 1]


@loop
def unfold(even, odd, item, begin, out):
    """Adjoint of :func:`fold` for one part: even (⌈rows/2⌉, 1, 2, tile) and odd into out (1, items, rows, 2·time)."""
    rows, tile = out.shape[2], even.shape[-1]
    for i in range(len(odd)):
        top, bottom, e, o = out[0, item, i][2 * begin :], out[0, item, rows - 1 - i][2 * begin :], even[i, 0], odd[i, 0]
        for t in range(tile):
            top[2 * t], top[2 * t + 1] = e[0, t] + o[0, t], e[1, t] + o[1, t]
            bottom[2 * t], bottom[2 * t + 1] = e[0, t] - o[0, t], e[1, t] - o[1, t]
    if rows % 2:
        middle, e = out[0, item, rows // 2][2 * begin :], even[rows // 2, 0]
        for t in range(tile):
            middle[2 * t], middle[2 * t + 1] = 2 * e[0, t], 2 * e[1, t]


@loop
def add_moduli(even, odd, rows, first, wavelets, tiny, out):
    """Add to out (parts, outputs) the sums over time of the moduli of both spins and of the low-pass.

    Args:
        even, odd: products of the two foldings, (filters·⌈rows/2⌉, parts, 2, tile): real parts a of some wavelets, as
            many imaginary parts b, and perhaps the low-pass. They hold the upper half of the rows as their sum, and the
            lower half, mirrored, as their difference; that of b, which is odd, the other way round.
        first, wavelets: of all ``wavelets``, the index of these. Outputs are up, (a + ib)z, of all; down, (a − ib)z;
            and the low-pass.
    """
    outputs, parts, _, tile = even.shape
    half = (rows + 1) // 2
    count = outputs // half // 2
    zero = even.dtype.type(0)
    ways = np.empty((4, tile), even.dtype)  # directions of the moduli
    for k in range(count):
        for i in range(half):
            a, b = k * half + i, (count + k) * half + i
            for side in range(1 if i == rows - 1 - i else 2):
                sign = even.dtype.type(1 - 2 * side)
                up_at = (first + k) * rows + (rows - 1 - i if side else i)
                down_at = up_at + wavelets * rows
                ae, ao, be, bo = even[a, 0], odd[a, 0], even[b, 0], odd[b, 0]
                up, down = zero, zero
                for t in range(tile):
                    a_re, a_im = ae[0, t] + sign * ao[0, t], ae[1, t] + sign * ao[1, t]
                    b_re, b_im = bo[0, t] + sign * be[0, t], bo[1, t] + sign * be[1, t]
                    up_re, up_im, down_re, down_im = a_re - b_im, a_im + b_re, a_re + b_im, a_im - b_re
                    up_square, down_square = up_re * up_re + up_im * up_im, down_re * down_re + down_im * down_im
                    up_inverse = 1 / math.sqrt(max(up_square, tiny))
                    down_inverse = 1 / math.sqrt(max(down_square, tiny))
                    up += up_square * up_inverse
                    down += down_square * down_inverse
                    ways[0, t], ways[1, t] = up_re * up_inverse, up_im * up_inverse
                    ways[2, t], ways[3, t] = down_re * down_inverse, down_im * down_inverse
                out[0, up_at] += up
                out[0, down_at] += down
                for p in range(1, parts):
                    ae, ao, be, bo = even[a, p], odd[a, p], even[b, p], odd[b, p]
                    up, down = zero, zero
                    for t in range(tile):
                        a_re, a_im = ae[0, t] + sign * ao[0, t], ae[1, t] + sign * ao[1, t]
                        b_re, b_im = bo[0, t] + sign * be[0, t], bo[1, t] + sign * be[1, t]
                        up += ways[0, t] * (a_re - b_im) + ways[1, t] * (a_im + b_re)
                        down += ways[2, t] * (a_re + b_im) + ways[3, t] * (a_im - b_re)
                    out[p, up_at] += up
                    out[p, down_at] += down
    for i in range(half if outputs > 2 * count * half else 0):
        low = 2 * count * half + i
        for side in range(1 if i == rows - 1 - i else 2):
            sign = even.dtype.type(1 - 2 * side)
            at = 2 * wavelets * rows + (rows - 1 - i if side else i)
            e, o, total = even[low, 0], odd[low, 0], zero
            for t in range(tile):
                re, im = e[0, t] + sign * o[0, t], e[1, t] + sign * o[1, t]
                square = re * re + im * im
                inverse = 1 / math.sqrt(max(square, tiny))
                total += square * inverse
                ways[0, t], ways[1, t] = re * inverse, im * inverse
            out[0, at] += total
            for p in range(1, parts):
                e, o, total = even[low, p], odd[low, p], zero
                for t in range(tile):
                    total += ways[0, t] * (e[0, t] + sign * o[0, t]) + ways[1, t] * (e[1, t] + sign * o[1, t])
                out[p, at] += total


@loop
def pull_back(even, odd, rows, first, wavelets, tiny, gradient):
    """Replace products of one part, as in :func:`add_moduli`, by the gradient by them of Σ gradient · out."""
    outputs, _, _, tile = even.shape
    half = (rows + 1) // 2
    count = outputs // half // 2
    shares = np.empty((2, 4, tile), even.dtype)  # apart from what is read, or nothing would be vectorised
    for k in range(count):
        for i in range(half):
            a, b = k * half + i, (count + k) * half + i
            ae, ao, be, bo = even[a, 0], odd[a, 0], even[b, 0], odd[b, 0]
            for side in range(2):
                row = rows - 1 - i if side else i
                once = even.dtype.type(0 if side and row == i else 1)  # the middle row has no other
                up_share = once * gradient[(first + k) * rows + row]
                down_share = once * gradient[(first + k + wavelets) * rows + row]
                sign, share = even.dtype.type(1 - 2 * side), shares[side]
                for t in range(tile):
                    a_re, a_im = ae[0, t] + sign * ao[0, t], ae[1, t] + sign * ao[1, t]
                    b_re, b_im = bo[0, t] + sign * be[0, t], bo[1, t] + sign * be[1, t]
                    up_re, up_im, down_re, down_im = a_re - b_im, a_im + b_re, a_re + b_im, a_im - b_re
                    up = up_share / math.sqrt(max(up_re * up_re + up_im * up_im, tiny))
                    down = down_share / math.sqrt(max(down_re * down_re + down_im * down_im, tiny))
                    share[0, t], share[1, t] = up * up_re + down * down_re, up * up_im + down * down_im
                    share[2, t], share[3, t] = up * up_im - down * down_im, down * down_re - up * up_re
            for c in range(2):
                for t in range(tile):
                    ae[c, t] = shares[0, c, t] + shares[1, c, t]
                for t in range(tile):
                    ao[c, t] = shares[0, c, t] - shares[1, c, t]
                for t in range(tile):
                    bo[c, t] = shares[0, 2 + c, t] + shares[1, 2 + c, t]
                for t in range(tile):
                    be[c, t] = shares[0, 2 + c, t] - shares[1, 2 + c, t]
    for i in range(half if outputs > 2 * count * half else 0):
        e, o = even[2 * count * half + i, 0], odd[2 * count * half + i, 0]
        for side in range(2):
            row = rows - 1 - i if side else i
            once = even.dtype.type(0 if side and row == i else 1)
            low_share = once * gradient[2 * wavelets * rows + row]
            sign, share = even.dtype.type(1 - 2 * side), shares[side]
            for t in range(tile):
                re, im = e[0, t] + sign * o[0, t], e[1, t] + sign * o[1, t]
                low = low_share / math.sqrt(max(re * re + im * im, tiny))
                share[0, t], share[1, t] = low * re, low * im
        for c in range(2):
            for t in range(tile):
                e[c, t] = shares[0, c, t] + shares[1, c, t]
            for t in range(tile):
                o[c, t] = shares[0, c, t] - shares[1, c, t]
