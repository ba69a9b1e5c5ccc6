"""Loops of the analyser's layers, compiled by numba, over matrices of pixels: a row a pixel, a column a channel."""

import numpy as np

from pnpkit._compile import njit

# No reassociation: the exponential rounds by adding a large number and taking it away again
EXACT = {"contract", "arcp", "nsz"}
BLOCK = 64  # rows summed in float32 before they are added to a float64 total
FEW = 4  # images likewise

_ONE, _LOWEST, _HIGHEST = np.float32(1), np.float32(-87), np.float32(88)  # of the arguments: exp stays a normal float32
_LOG2_E = np.float32(1.44269504)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # their sum is ln 2
_ROUNDER = np.float32(1.5 * 2**23)  # x + this − this is x to the nearest integer, and x + this ends in its bits
_EXPONENT_BIAS, _FRACTION_BITS = np.int32(127), np.int32(23)
# e^r = 1 + r + r²/2 + …, |r| ≤ ln 2 / 2: the minimax polynomial of Cephes, highest degree first
_A, _B, _C = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_D, _E, _F = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)


@njit(inline="always", fastmath=EXACT, error_model="numpy")
def _exp(x):
    """e^x to 2e-7 relative, from operations that vectorise: numba's own exp is a call for each number."""
    x = min(max(x, _LOWEST), _HIGHEST)
    shifted = np.float32(x * _LOG2_E + _ROUNDER)
    n = shifted - _ROUNDER
    r = x - n * _LN2_HIGH
    r = r - n * _LN2_LOW
    series = (((((_A * r + _B) * r + _C) * r + _D) * r + _E) * r + _F) * r * r + r + _ONE
    power = np.int32((np.float32(shifted).view(np.int32) + _EXPONENT_BIAS) << _FRACTION_BITS)
    return series * power.view(np.float32)


@njit(inline="always", fastmath=EXACT, error_model="numpy")
def _move(sums, totals):
    for c in range(len(sums)):
        totals[c] += sums[c]
        sums[c] = 0


@njit(cache=True, fastmath=EXACT, error_model="numpy", nogil=True)
def sum_differences(x, about, plain, squared):
    """Over the rows: Σ (x − about) and Σ (x − about)²."""
    rows, channels = x.shape
    a, b = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    for i in range(rows):
        for c in range(channels):
            difference = x[i, c] - about[c]
            a[c] += difference
            b[c] += difference * difference
        if i % BLOCK == BLOCK - 1 or i == rows - 1:
            _move(a, plain)
            _move(b, squared)


@njit(cache=True, fastmath=EXACT, error_model="numpy", nogil=True)
def activate(x, mean, scale, bias, y):
    """y = z σ(z), z = scale (x − mean) + bias."""
    rows, channels = x.shape
    for i in range(rows):
        for c in range(channels):
            z = (x[i, c] - mean[c]) * scale[c] + bias[c]
            y[i, c] = z / (_ONE + _exp(-z))


@njit(inline="always", fastmath=EXACT, error_model="numpy")
def _silu_slope(z):
    s = _ONE / (_ONE + _exp(-z))
    return s * (_ONE + z * (_ONE - s))


@njit(cache=True, fastmath=EXACT, error_model="numpy", nogil=True)
def sum_gradients(x, dy, mean, scale, bias, plain, centred):
    """Over the rows: Σ g and Σ g (x − mean), where g = dy · dy/dz."""
    rows, channels = x.shape
    a, b = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    for i in range(rows):
        for c in range(channels):
            difference = x[i, c] - mean[c]
            g = dy[i, c] * _silu_slope(difference * scale[c] + bias[c])
            a[c] += g
            b[c] += g * difference
        if i % BLOCK == BLOCK - 1 or i == rows - 1:
            _move(a, plain)
            _move(b, centred)


@njit(cache=True, fastmath=EXACT, error_model="numpy", nogil=True)
def pull_back(x, dy, mean, scale, bias, slope, offset, dx):
    """dx = scale g + slope (x − mean) + offset, where g = dy · dy/dz."""
    rows, channels = x.shape
    for i in range(rows):
        for c in range(channels):
            difference = x[i, c] - mean[c]
            g = dy[i, c] * _silu_slope(difference * scale[c] + bias[c])
            dx[i, c] = scale[c] * g + (slope[c] * difference + offset[c])


@njit(cache=True, fastmath=EXACT, error_model="numpy", nogil=True)
def pull_back_gate(x, dy, gate, dx, d_gate):
    """Of y = x gate, one gate a channel of an item: x (items, pixels, channels), gate (items, channels)."""
    items, pixels, channels = x.shape
    for n in range(items):
        for i in range(pixels):
            for c in range(channels):
                dx[n, i, c] = dy[n, i, c] * gate[n, c]
                d_gate[n, c] += dy[n, i, c] * x[n, i, c]


@njit(cache=True, fastmath=EXACT, error_model="numpy", nogil=True)
def sum_taps(x, dy, stride, total):
    """Of a depthwise convolution, padded to keep the size: for each tap of the kernel, Σ x dy over where it touches x.

    x and dy (items, height, width, channels), total (size, size, channels).
    """
    items, height, width, channels = x.shape
    size, _, _ = total.shape
    sums = np.zeros(total.shape, np.float32)
    for n in range(items):
        for p in range(size):
            for q in range(size):
                for i in range(dy.shape[1]):
                    row = i * stride + p - size // 2
                    if not 0 <= row < height:
                        continue
                    for j in range(dy.shape[2]):
                        column = j * stride + q - size // 2
                        if not 0 <= column < width:
                            continue
                        for c in range(channels):
                            sums[p, q, c] += x[n, row, column, c] * dy[n, i, j, c]
        if n % FEW == FEW - 1 or n == items - 1:
            total += sums
            sums[:] = 0
