"""The operator: first its laws, then the coefficients and metrics of a public operator of the authors' period."""

import copy
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from direct_jtfs import DirectJTFS

from pnpkit.jtfs import JTFS, Phi, log_compress, modulus, stages
from pnpkit.jtfs.frequential import FrequentialBank
from pnpkit.metric import riemannian_metric
from pnpkit.synth import Arpeggio
from tests.oracle import REFERENCE, drum, load, relative

# What the suite leaves unchecked, for the time it takes: a name of its own keeps its compiled files apart
LOOPS = """
import beartype, jaxtyping, numba, torch
beartype.of_loops = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
names = ("autograd", "design", "frequential", "modulus", "operator", "stages")  # numba compiles no wrappers
jaxtyping.install_import_hook([f"pnpkit.jtfs.{name}" for name in names], "beartype.of_loops")
from pnpkit.jtfs import JTFS, modulus
assert hasattr(modulus.interleaved, "__wrapped__")
x = torch.randn(2, 2**10, dtype=torch.float64, requires_grad=True)
for J in (4, 8):
    jtfs = JTFS(J, 4, J_fr=3, T=None, n_samples=2**10).double()
    jtfs(x).sum().backward()
    torch.func.vmap(lambda v: torch.func.jvp(jtfs, (x,), (v,))[1])(torch.stack([x, x]).detach())
"""
POINTS = torch.tensor([[740.0, 8.7, 1.7], [520.0, 4.1, 2.9], [1000.0, 15.0, 3.9]], dtype=torch.float64)
SECOND = 4737  # offset of the first path with a wavelet in time: before it, paths have frames


@pytest.fixture(scope="module")
def jtfs() -> JTFS:
    return JTFS.reference(2**15)


@pytest.fixture(scope="module")
def small() -> JTFS:
    return JTFS(8, 4, J_fr=3, T=2**8, n_samples=2**10).double()


@pytest.fixture(scope="module")
def sounds() -> torch.Tensor:
    return Arpeggio()(POINTS)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_loops_keep_to_the_shapes_of_their_signatures() -> None:
    """Φ, its gradient and its Jacobian, of two operators, each annotation checked."""
    subprocess.run([sys.executable, "-c", LOOPS], check=True)


# Laws -----------------------------------------------------------------------------------------------------------------


def test_an_empty_batch_is_one(small):
    x = noise(1024)
    assert small(x.expand(0, 3, 1024)).shape == (0, 3, len(small(x)))


def test_batch_equals_loop(jtfs, sounds):
    S = jtfs(sounds)
    assert relative(torch.stack([jtfs(x) for x in sounds]), S) < 1e-6
    assert torch.equal(jtfs(sounds.reshape(3, 1, -1)), S.reshape(3, 1, -1))
    assert jtfs(sounds[0]).shape == (jtfs.n_coefficients,) == (16018,)


@pytest.mark.parametrize("samples", [137, 1024, 3000])
def test_a_shift_moves_only_what_has_frames(jtfs, sounds, samples):
    """Second order: unchanged but for the sampling of the modulus. First: at most 0.8 of its norm a second."""
    S, shifted = jtfs(sounds), jtfs(sounds.roll(samples, -1))
    assert int(jtfs.paths.offset[jtfs.paths.pair == "psi_t*phi_f"].min()) == SECOND
    assert relative(shifted[:, SECOND:], S[:, SECOND:]) < 3e-4
    assert relative(shifted[:, :SECOND], S[:, :SECOND]) < 0.8 * samples / 8192


def test_a_sign_flip_changes_nothing(jtfs, sounds):
    S, flipped = jtfs(sounds + 0.01), jtfs(-(sounds + 0.01))
    assert torch.equal(flipped, S)
    assert torch.isfinite(log_compress(flipped)).all(), "a sound of negative mean has a descriptor too"


def test_time_reversal_exchanges_the_spins(jtfs, sounds):
    S, reversed_ = jtfs(sounds), jtfs(sounds.flip(-1))
    up, down = (jtfs.paths.offset[jtfs.paths.spin == spin].min() for spin in (1, -1))
    size = down - up
    S_up, S_down = S[:, up:down], S[:, down : down + size]
    assert relative(reversed_[:, up:down], S_down) < 3e-4
    assert relative(reversed_[:, down : down + size], S_up) < 3e-4
    assert relative(S_up, S_down) > 0.1  # a chirp has a direction


@pytest.mark.parametrize("gain", [1e-4, 3.0])
def test_s_is_homogeneous(jtfs, sounds, gain):
    assert relative(jtfs(gain * sounds), gain * jtfs(sounds)) < 1e-6


@pytest.mark.parametrize("power", [36, 41, 98])
def test_s_is_homogeneous_at_any_level_to_the_last_bit(jtfs, sounds, power):
    """A power of two changes no mantissa, whether a sound is scaled on the way or not; nor does it another's."""
    x, gain = sounds.float(), torch.tensor([[1.0], [2.0**power], [1.0]])
    u = x.flip(-1)
    S, slope = torch.func.jvp(jtfs, (x,), (u,))
    loud, loud_slope = torch.func.jvp(jtfs, (gain * x,), (u,))
    assert torch.equal(loud, gain * S)
    torch.testing.assert_close(loud_slope, slope, rtol=1e-5, atol=1e-5)
    share = torch.randn(S.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.func.vjp(jtfs, x)[1](share)
    (loud_gradient,) = torch.func.vjp(jtfs, gain * x)[1](share)
    torch.testing.assert_close(loud_gradient, gradient, rtol=1e-4, atol=1e-4)
    mapped = torch.func.vmap(jtfs)(gain * x)
    torch.testing.assert_close(mapped, loud, rtol=1e-6, atol=0)


def test_transposition_by_one_bin_moves_the_coefficients_by_one_row():
    """A chirp a twelfth of an octave lower; rows go from high to low frequency."""
    n = 2**13
    operator = JTFS(10, 12, J_fr=4, T=None, n_samples=n).double()
    t = torch.arange(-n // 2, n // 2, dtype=torch.float64) / 8192

    def chirp(f):
        phase = 2 * math.pi * f * torch.expm1(2 * math.log(2) * t) / (2 * math.log(2))
        return torch.sin(phase) * torch.exp(-((t / 0.1) ** 2) / 2)

    high, low = operator(chirp(600.0)), operator(chirp(600 * 2 ** (-1 / 12)))
    paths = operator.paths[(operator.paths.spin == -1) & (operator.paths.rows > 80)]
    assert len(paths) > 8
    for path in paths.itertuples():
        block = slice(path.offset, path.offset + path.rows)
        assert torch.linalg.norm(low[block][1:] - high[block][:-1]) < 0.005 * torch.linalg.norm(high[block])
        assert torch.linalg.norm(low[block] - high[block]) > 0.04 * torch.linalg.norm(high[block])


@pytest.mark.parametrize("T", [None, 2**8])
def test_s_is_non_expansive(T):
    """‖Sx − Sy‖ ≤ ‖x − y‖ for S₀, S₁ and S₂, whose filters share the energy out; φ_t paths repeat S₁: √2 with them."""
    operator = JTFS(8, 8, J_fr=4, T=T, n_samples=2**12).double()
    t = torch.arange(2**12) / 2**12
    tones = torch.stack([torch.sin(2 * math.pi * f * t) for f in (3, 50, 800, 1637)]).double()
    impulse = torch.zeros(1, 2**12, dtype=torch.float64).index_fill(1, torch.tensor([2000]), 1.0)
    x = torch.cat([noise(4, 2**12), tones, impulse, torch.ones_like(impulse), torch.zeros_like(impulse)])
    once = torch.ones(operator.n_coefficients, dtype=torch.bool)
    for path in operator.paths[operator.paths.pair.str.startswith("phi_t")].itertuples():
        once[path.offset : path.offset + path.rows * path.frames] = False
    S, near = operator(x), operator(x + 0.01 * noise(*x.shape, seed=1))
    distance = torch.linalg.norm(0.01 * noise(*x.shape, seed=1), dim=-1)
    for a, b, d in ((S, near, distance), (S[1:], S[:-1], torch.linalg.norm(x[1:] - x[:-1], dim=-1))):
        assert bool((torch.linalg.norm((a - b)[:, once], dim=-1) <= d).all())
        assert bool((torch.linalg.norm(a - b, dim=-1) <= math.sqrt(2) * d).all())


SIZES = [
    {"T": None},
    {"T": 2**12},
    {"T": 2**8},
    {"T": 2**5, "Q_fr": 2, "F": 4},
    {"T": 2**9, "global_second_order": True, "coarse_quirk": True},
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_it_is_the_definition_at_full_rate(sizes):
    common = {"J": 9, "Q": 6, "J_fr": 3, "n_samples": 2**12, **sizes}
    t = torch.arange(2**12, dtype=torch.float64) / 2**12
    chirp = torch.sin(2 * math.pi * (200 * t + 400 * t**2)) * torch.exp(-(((t - 0.5) / 0.2) ** 2))
    impulse = torch.zeros(2**12, dtype=torch.float64).index_fill(0, torch.tensor([2000]), 1.0)
    x = torch.stack([chirp, impulse, noise(2**12)])
    operator = JTFS(**common).double()
    S, direct = operator(x), DirectJTFS(operator.sizes)(x)
    assert S.shape == direct.shape
    assert relative(S, direct) < 2e-4
    assert relative(log_compress(S), log_compress(direct)) < 2e-4


def test_averages_of_a_constant_envelope_do_not_depend_on_the_scale():
    """√T (√N if T is None) where the envelope is 1: a long tone in the band of a wavelet that takes it to 1."""
    n, t = 2**13, torch.arange(2**13, dtype=torch.float64)
    loudest = {}
    for T in (None, 2**7, 2**9):
        operator = JTFS(7, 4, J_fr=2, T=T, n_samples=n).double()
        path = operator.paths[operator.paths.pair == "S1"].iloc[6]
        S1 = operator(torch.sin(2 * math.pi * path.rate * t))[path.offset : path.offset + path.frames]
        loudest[T] = float(S1[path.frames // 2]) / math.sqrt(n if T is None else T)
    assert loudest[2**7] == pytest.approx(loudest[2**9], rel=0.1)  # the normalisation of the wavelets knows T
    assert loudest[None] == pytest.approx(loudest[2**9], rel=0.1)


@pytest.fixture
def plain(monkeypatch):
    """Plain PyTorch, as on other devices than the CPU, from where it is called."""

    def without_kernels() -> None:
        for module in (modulus, stages):
            monkeypatch.setattr(module, "compiled", lambda _: False)

    return without_kernels


@pytest.mark.parametrize("rows", [1, 2, 13, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_moduli_equal_plain_torch(plain, dtype, rows):
    """Value, derivatives and gradient, a vanishing modulus included; a second way of writing down what is asked."""
    found = FrequentialBank(4, 1, 2)
    filters = [f.to(dtype) for f in found.filters(rows)]
    z = torch.view_as_complex(noise(3, 2, rows, 24, 2).to(dtype))
    z[..., :8] = 0
    share = noise(1, 2, (2 * sum(f.wavelets for f in filters) + 1) * rows, seed=3).to(dtype)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {}

    def everything():
        value = modulus.mean_modulus(filters, z)
        return value, modulus.mean_modulus_back(filters, z[:1], share), modulus.modulus(z)

    fast = everything()
    low, waves = (torch.from_numpy(matrix).to(z) for matrix in found.matrices(rows))
    moduli = [(matrix @ z[0]).abs().mean(-1) for matrix in (*waves, *waves.conj(), low)]
    torch.testing.assert_close(
        fast[0][0], torch.cat(moduli, -1), rtol=1e-5, atol=1e-5
    )  # as far as singular values are kept
    plain()
    for ours, theirs in zip(fast, everything(), strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)
    leaf = z[:1, :, :, 8:].clone().requires_grad_()  # autograd has 0/0 where the modulus vanishes
    averages = torch.cat(modulus.planes(filters, leaf), -2).abs().sum(-1) / z.shape[-1]
    torch.testing.assert_close(fast[1][..., 8:], *torch.autograd.grad(averages, leaf, share), **tolerance)


@pytest.mark.parametrize("sizes", [{"T": 2**8}, {"T": None}], ids=str)
def test_compiled_stages_equal_plain_torch(plain, sizes):
    operator = JTFS(8, 4, J_fr=3, n_samples=2**10, **sizes).double()
    x, u = noise(2, 1024), noise(2, 1024, seed=1)

    def everything():
        S, slope = torch.func.jvp(operator, (x,), (u,))
        return S, slope, *torch.func.vjp(operator, x)[1](noise(*S.shape, seed=2))

    fast = everything()
    plain()
    for ours, theirs in zip(fast, everything(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_jacobians_by_either_mode_are_one(small):
    x = noise(1024)
    v = noise(4, len(small(x)), seed=2)
    forward = torch.func.jacfwd(lambda a: small(x + a[0] * x.roll(7) + a[1] * x.flip(0)))(torch.zeros(2).double())
    pull = torch.func.vjp(small, x)[1]
    (rows,) = torch.func.vmap(pull)(v)
    torch.testing.assert_close(rows @ torch.stack([x.roll(7), x.flip(0)], 1), v @ forward, rtol=1e-10, atol=1e-10)


def test_a_second_derivative_is_refused(small):
    def loud(a):
        return small(a * torch.ones(1024)).sum()

    slope = torch.func.grad(lambda a: loud(a).sum())
    with pytest.raises(NotImplementedError, match="differentiable once"):
        torch.func.grad(lambda a: slope(a).sum())(torch.ones(1).double())
    with pytest.raises(RuntimeError, match="implement the jvp"):  # forward over reverse: torch's own sentence
        torch.func.hessian(loud)(torch.ones(1).double())


def test_log_compress():
    assert log_compress(torch.tensor([0.0, 1e-3, 1.0])).tolist() == pytest.approx([0, math.log(2), math.log(1001)])
    with pytest.raises(ValueError, match="eps must be positive, not 0"):
        log_compress(torch.zeros(1), 0.0)


@pytest.mark.usefixtures("unchecked")
def test_a_phi_of_a_number_is_refused():
    with pytest.raises(TypeError, match=r"jtfs is an operator, x → S, not 4096: Phi.reference"):
        Phi(4096)


def test_phi_is_the_logarithm_of_the_operator(small):
    x = noise(2, 1024)
    phi = Phi(small, eps=0.01)
    assert torch.equal(phi(x), log_compress(small(x), 0.01))
    assert phi.paths is phi.jtfs.paths
    whole = Phi.reference(2**13)
    assert torch.equal(whole(x.repeat(1, 8)), log_compress(JTFS.reference(2**13)(x.repeat(1, 8))))
    for eps in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"eps must be positive, not {eps}"):
            Phi(small, eps)


def test_silence_has_a_zero_gradient_and_a_finite_derivative(small):
    silence = torch.zeros(1024, dtype=torch.float64, requires_grad=True)
    phi = log_compress(small(silence)[1:])  # S0, the mean, is linear
    phi.sum().backward()
    assert phi.abs().max() == 0
    assert silence.grad is not None
    assert silence.grad.abs().max() == 0
    value, slope = torch.func.jvp(small, (torch.zeros(1024, dtype=torch.float64),), (noise(1024),))
    assert value.abs().max() == 0
    assert slope[1:].abs().max() == 0
    assert torch.isfinite(slope).all()


@pytest.mark.parametrize("at", [0, 500, 1023])
def test_a_unit_impulse_is_finite_and_so_are_its_derivatives(small, at):
    impulse = torch.zeros(1024, dtype=torch.float64)
    impulse[at] = 1
    value, slope = torch.func.jvp(small, (impulse,), (noise(1024),))
    (gradient,) = torch.func.vjp(small, impulse)[1](torch.ones_like(value))
    assert all(torch.isfinite(v).all() for v in (value, slope, gradient))
    assert value[1:].min() > -1e-9
    assert value.max() > 0


def test_forward_mode_equals_reverse_mode(small):
    """⟨v, Ju⟩ computed from either side."""
    x, u = noise(1024), noise(1024, seed=1)
    value, Ju = torch.func.jvp(small, (x,), (u,))
    v = noise(len(value), seed=2)
    (Jv,) = torch.func.vjp(small, x)[1](v)
    assert (v @ Ju).item() == pytest.approx((Jv @ u).item(), rel=1e-10)


def test_forward_mode_equals_central_differences(small):
    x, u = noise(1024), noise(1024, seed=1)
    _, Ju = torch.func.jvp(small, (x,), (u,))
    h = 1e-6
    assert relative((small(x + h * u) - small(x - h * u)) / (2 * h), Ju) < 1e-6


def test_the_jacobian_of_an_arpeggio_is_exact(jtfs):
    """The whole of Φ∘g in float64: forward mode against central differences, and against reverse mode."""
    phi = Phi(copy.deepcopy(jtfs)).double()

    def listen(theta):
        return phi(Arpeggio(detach_gain=False)(theta))

    theta = POINTS[0]
    J = torch.func.jacfwd(listen)(theta)
    steps = 3e-6 * torch.diag(theta)
    differences = torch.stack([(listen(theta + h) - listen(theta - h)) / (2 * h.sum()) for h in steps])
    assert relative(differences, J.mT) < 1e-6
    v = noise(len(J))
    (vJ,) = torch.func.vjp(listen, theta)[1](v)
    torch.testing.assert_close(vJ, v @ J, rtol=1e-10, atol=1e-10)


def test_vmap_over_points_and_directions(small):
    x, u = noise(3, 1024), noise(3, 1024, seed=1)

    def slope(x, u):
        return torch.func.jvp(small, (x,), (u,))[1]

    torch.testing.assert_close(torch.func.vmap(small)(x), small(x), rtol=1e-12, atol=1e-14)
    one_by_one = torch.stack([slope(*pair) for pair in zip(x, u, strict=True)])
    torch.testing.assert_close(torch.func.vmap(slope)(x, u), one_by_one, rtol=1e-10, atol=1e-13)
    directions = torch.func.vmap(slope, in_dims=(None, 0))(x[0], u)
    torch.testing.assert_close(directions, torch.stack([slope(x[0], v) for v in u]), rtol=1e-10, atol=1e-13)


def test_dtype_and_device_follow_the_module():
    module = JTFS(8, 4, J_fr=3, T=2**8, n_samples=2**10)
    x = noise(2, 1024)
    single = module(x)
    assert single.dtype == torch.float32
    double = module.double()(x.float())
    assert double.dtype == torch.float64
    assert relative(single.double(), double) < 1e-6
    assert module.state_dict() == {}  # all constants, nothing to store


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"J": 0}, "J must be at least 1, not 0"),
        ({"Q": 0}, "Q must be at least 1, not 0"),
        ({"F": -1}, "F must be at least 1, not -1"),
        ({"n_samples": 0}, "n_samples must be at least 4, not 0"),
        ({"J": 20_000}, r"J = 20000 needs at least 2\^20000 samples"),
        ({"J": 12}, r"J = 12 needs at least 2\^12 samples; n_samples is 1024"),
        ({"T": 2**11}, "T must be None or a power of two from 1 to n_samples = 1024, not 2048"),
        ({"n_samples": 2, "J": 1, "T": None}, "n_samples must be at least 4, not 2"),
        ({"J_fr": 0}, "J_fr must be at least 1, not 0"),
        ({"T": 100}, "T must be None or a power of two from 1 to n_samples = 1024, not 100"),
    ],
)
def test_bad_sizes_name_themselves(sizes, message):
    with pytest.raises(ValueError, match=message):
        JTFS(**{"J": 8, "Q": 4, "T": 2**8, "n_samples": 2**10, **sizes})


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(1000), r"x has shape \(1000,\); its last dimension must be n_samples = 1024"),
        (torch.tensor(1.0), r"x has shape \(\); its last dimension must be n_samples = 1024"),
        (torch.zeros(1024, dtype=torch.int64), r"x must be a floating-point tensor .*, not torch.int64"),
        (torch.full((2, 1024), torch.nan), "x must be finite: 2048 of its 2048 values are NaN or infinite"),
        (torch.full((2, 1024), 1e31), r"x must be at most 1.3e\+30 anywhere \(full scale is 1\), not 1e\+31"),
    ],
)
def test_bad_waveforms_name_themselves(unchecked, small, x, message):
    with pytest.raises(ValueError, match=message):
        small(x)


# Reference data -------------------------------------------------------------------------------------------------------


def test_phi_of_24_arpeggios(jtfs):
    reference = load("arpeggio")
    ours = Phi(jtfs)(Arpeggio()(reference["theta"]))
    assert relative(ours, log_compress(reference["S"])) < 1e-4


def test_phi_of_five_drums():
    """Sounds that begin at once and reach Nyquist, unlike the arpeggios: every band of both ends counts."""
    reference = load("drum")
    x = torch.from_numpy(np.stack([drum(*theta) for theta in reference["theta"].tolist()]))
    assert (x[:4] - reference["x"]).abs().max() < 1e-5
    assert relative(Phi.reference(2**16)(x), log_compress(reference["S"])) < 1e-4


@pytest.mark.parametrize(("name", "n_samples", "n_coefficients"), [("arpeggio", 2**15, 16018), ("drum", 2**16, 20762)])
def test_path_tables(name, n_samples, n_coefficients):
    operator = JTFS.reference(n_samples)
    theirs = pd.read_csv(REFERENCE / f"{name}_paths.csv").fillna({"n_freq": -1}).astype({"n_freq": int})
    shared = ["pair", "n_time", "n_freq", "spin", "rows", "frames", "offset"]
    pd.testing.assert_frame_equal(operator.paths[shared], theirs[shared], check_dtype=False)
    assert operator.n_coefficients == n_coefficients


@pytest.mark.parametrize("gain", ["detached", "attached"])
def test_metrics_of_24_arpeggios(jtfs, gain):
    reference = load("arpeggio")
    synth = Arpeggio(detach_gain=gain == "detached")
    ours = riemannian_metric(synth, Phi(jtfs), reference["theta"])
    assert relative(ours.flatten(1), reference[f"M_{gain}"].flatten(1)) < 5e-3
