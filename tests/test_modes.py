"""Φ and its metric in whatever mode the caller has put torch: the same numbers, and nothing left behind."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from pnpkit.analyser.cpu_layers import in_more_passes
from pnpkit.analyser.network import Analyser
from pnpkit.analyser.scalogram import Scalogram
from pnpkit.jtfs import JTFS, Phi
from pnpkit.metric import jacobian, riemannian_metric

THETA = torch.tensor([[0.3, 1.0], [0.5, 0.4]])


def g(theta):
    return torch.sin(torch.arange(1024) * theta[..., :1]) * theta[..., 1:]


def operator(in_time: bool) -> JTFS:
    return JTFS(8, 4, J_fr=3, T=2**8, n_samples=2**10, global_second_order=not in_time)


def answers(phi, x):
    """Value, gradient, Jacobian."""
    leaf = x.clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(phi(leaf).square().sum(), leaf)
    return phi(x), gradient, jacobian(g, phi, THETA)


@contextmanager
def default_double():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


MODES = {
    "bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "no_grad": torch.no_grad,
    "default float64": default_double,
    "deterministic": deterministic,
}


@pytest.mark.parametrize("in_time", [False, True])
def test_modes_of_the_caller_change_nothing(in_time):
    phi, x = Phi(operator(in_time)), g(THETA)
    expected = answers(phi, x)
    for name, mode in MODES.items():
        with mode():
            made_inside = Phi(operator(in_time))
            found, found_too = answers(phi, x), answers(made_inside, x)
        later = answers(made_inside, x)
        for got in (found, found_too, later):
            assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True)), name


def scalogram():
    return Scalogram(2048, octaves=2, f_min=200.0, hop=64)


def seen(scalogram, x):
    """Value, gradient."""
    leaf = x.clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(scalogram(leaf).square().sum(), leaf)
    return scalogram(x), gradient


def trained(analyser, inputs):
    """Answer, gradients, with the same activations dropped."""
    torch.manual_seed(0)
    with torch.enable_grad():
        answer = analyser(inputs)
        return answer.detach(), *torch.autograd.grad(answer.square().sum(), list(analyser.parameters()))


@pytest.mark.parametrize("name", MODES)
def test_modes_of_the_caller_change_neither_the_network_nor_its_input(name):
    """But autocast, which is there to make a network cheaper, does so while it runs."""
    x, given, analyser = g(THETA), scalogram(), Analyser(2)
    expected, learnt = seen(given, x), trained(analyser, given(x))
    with MODES[name]():
        made_inside, network = scalogram(), Analyser(2)
        found, found_too = seen(given, x), seen(made_inside, x)
        answers_inside = [] if "float16" in name else [trained(analyser, given(x)), trained(network, given(x))]
    for got in (found, found_too, seen(made_inside, x)):
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    for got in (*answers_inside, trained(network, given(x))):
        assert all(torch.equal(a, b) for a, b in zip(got, learnt, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_networks_own_layers_are_those_of_torch(dtype):
    analyser, plain, inputs = Analyser(2), Analyser(2), scalogram()(g(THETA))
    in_more_passes(plain.network)
    with torch.autocast("cpu", dtype=dtype):
        ours, theirs = trained(analyser, inputs), trained(plain, inputs)
    assert ours[0].dtype == dtype
    for a, b in zip(ours, theirs, strict=True):  # gradients in float16 overflow in both, unless they are scaled
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_what_is_made_in_inference_mode_can_be_trained_outside_it():
    x, given, analyser = g(THETA), scalogram(), Analyser(2)
    with torch.inference_mode():
        made_inside, network = scalogram(), Analyser(2)
    pairs = zip(seen(made_inside, x), seen(given, x), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    pairs = zip(trained(network, given(x)), trained(analyser, given(x)), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("in_time", [False, True])
def test_inference_mode_leaves_nothing_that_cannot_be_differentiated(in_time):
    phi, x = Phi(operator(in_time)), g(THETA)
    expected = answers(phi, x)
    with torch.inference_mode():
        made_inside, sound = Phi(operator(in_time)), g(THETA)
        assert torch.equal(made_inside(x), expected[0])
        assert torch.equal(jacobian(g, made_inside, THETA), expected[2])
    assert torch.equal(phi(sound), expected[0])  # a tensor of that mode
    assert all(torch.equal(a, b) for a, b in zip(answers(made_inside, x), expected, strict=True))


def test_a_compiled_function_may_call_the_operator():
    jtfs, x = operator(False), g(THETA)

    def loss(x):
        return (3 * jtfs(2 * x)).square().sum()

    found = []
    for f in (loss, torch.compile(loss, backend="eager")):
        leaf = x.clone().requires_grad_()
        value = f(leaf)
        value.backward()
        found.append((value.detach(), leaf.grad))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:FutureWarning")
def test_export_and_tracing_are_refused():
    jtfs, x = operator(False), g(THETA)
    for export in (lambda: torch.export.export(jtfs, (x,), strict=False), lambda: torch.jit.trace(jtfs, (x,))):
        with pytest.raises(NotImplementedError, match="JTFS cannot be traced or exported"):
            export()


def test_transforms_of_torch_nest():
    """Metrics and Jacobians within one and two vmaps; gradients within a vmap and of one."""
    phi, x = Phi(operator(False).double()), g(THETA.double())
    theta = THETA.double()
    M, J = riemannian_metric(g, phi, theta), jacobian(g, phi, theta)
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(torch.func.vmap(lambda th: riemannian_metric(g, phi, th))(theta), M, **close)
    torch.testing.assert_close(torch.func.vmap(lambda th: jacobian(g, phi, th))(theta), J, **close)
    twice = torch.func.vmap(torch.func.vmap(lambda th: riemannian_metric(g, phi, th)))(theta.expand(2, 2, 2))
    torch.testing.assert_close(twice, M.expand(2, 2, 2, 2), **close)

    def loss(x):
        return phi(x).square().sum()

    expected = torch.func.grad(loss)(x)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(x), expected, **close)
    torch.testing.assert_close(torch.func.grad(lambda x: torch.func.vmap(loss)(x).sum())(x), expected, **close)


def test_a_metric_under_vmap_that_is_not_finite_stays_so():
    """Nobody can look at one item of a batch there."""
    M = torch.func.vmap(lambda th: riemannian_metric(lambda t: t, torch.log, th))(torch.tensor([[1.0], [0.0]]))
    assert M[0, 0, 0] == 1
    assert not torch.isfinite(M[1]).any()


def test_a_complex_descriptor_counts_with_both_its_parts():
    def parts(x):
        return torch.fft.rfft(x)

    theta = THETA.double()
    J = jacobian(g, parts, theta)
    M = riemannian_metric(g, parts, theta)
    torch.testing.assert_close(M, (J.mH @ J).real, rtol=1e-10, atol=1e-10)
    both = riemannian_metric(g, lambda x: torch.view_as_real(parts(x)).flatten(-2), theta)
    torch.testing.assert_close(M, both, rtol=1e-10, atol=1e-10)


# Sizes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [44100, 48000, 32767])
def test_any_length_is_one_padded_to_the_next_power_of_two(n):
    """JTFS(n)(x) = JTFS(2^k)(x followed by zeros), gradients and paths included."""
    N = 2**15 if n < 2**15 else 2**16
    x = torch.randn(2, n, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x, (0, N - n))
    ours, whole = (JTFS(9, 2, J_fr=2, T=2**12, n_samples=size, global_second_order=True) for size in (n, N))
    assert ours.paths.equals(whole.paths)
    assert torch.equal(ours(x), whole(padded))
    weights = torch.randn(ours.n_coefficients, generator=torch.Generator().manual_seed(1))
    slopes = []
    for jtfs, sound in ((ours, x), (whole, padded)):
        leaf = sound.clone().requires_grad_()
        (jtfs(leaf) @ weights).sum().backward()
        slopes.append(leaf.grad[:, :n])
    assert torch.equal(*slopes)
    with pytest.raises(ValueError, match=f"its last dimension must be n_samples = {n}"):
        ours(padded)


def test_the_mean_over_a_padded_sound_is_that_of_the_padded_sound():
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    ours, whole = (JTFS(8, 4, J_fr=2, T=None, n_samples=size) for size in (1000, 1024))
    assert torch.equal(ours(x), whole(torch.nn.functional.pad(x, (0, 24))))


@pytest.mark.usefixtures("unchecked")
def test_a_pair_of_qualities_is_that_of_the_first_order():
    common = {"J": 8, "J_fr": 3, "T": 2**8, "n_samples": 2**10}
    x = torch.randn(1024, generator=torch.Generator().manual_seed(0))
    assert torch.equal(JTFS(Q=(12, 1), **common)(x), JTFS(Q=12, **common)(x))
    assert torch.equal(JTFS(Q=np.int64(12), **common)(x), JTFS(Q=12, **common)(x))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"Q": (12, 2)}, r"Q must be a whole number, or a pair \(Q, 1\).*not \(12, 2\)"),
        ({"Q": (12,)}, r"Q must be a whole number, or a pair \(Q, 1\).*not \(12,\)"),
        ({"Q": (True, 1)}, "Q must be a whole number of at least 1, not True"),
        ({"J": 5.5}, "J must be a whole number of at least 1, not 5.5"),
        ({"J": True}, "J must be a whole number of at least 1, not True"),
        ({"F": None}, "F must be a whole number of at least 1, not None"),
        ({"J_fr": "3"}, "J_fr must be a whole number of at least 1, not '3'"),
        ({"T": 64.0}, "T must be None or a power of two from 1 to n_samples = 1024, not 64.0"),
        ({"T": True}, "T must be None or a power of two from 1 to n_samples = 1024, not True"),
        ({"n_samples": 1024.0}, "n_samples must be a whole number of at least 4, not 1024.0"),
    ],
)
def test_sizes_of_another_kind_are_refused_by_name(sizes, message):
    with pytest.raises(ValueError, match=message):
        JTFS(**{"J": 8, "Q": 4, "T": 2**8, "n_samples": 2**10, **sizes})
