"""The metric on a toy g and Φ, in float64: symmetry, three ways to differentiate, batches, damping, conditioning."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pnpkit.metric import condition_number, damp, jacobian, mean_metric, riemannian_metric, spectrum, volume

DOUBLE = torch.float64
TIME = torch.linspace(-1, 1, 64, dtype=DOUBLE)


def g(theta):
    a, b, c = (p.unsqueeze(-1) for p in theta.unbind(-1))
    return a * torch.sin(b * TIME) * torch.exp(-((c * TIME) ** 2))


def phi(x):
    return torch.log1p(torch.fft.rfft(x).abs().square())


THETA = torch.tensor([[1.0, 20.0, 0.5], [0.3, 7.0, 2.0], [2.0, 33.0, 1.0], [1.5, 12.0, 3.0]], dtype=DOUBLE)


def test_metric_is_symmetric_to_the_last_bit_and_positive():
    for theta in (THETA, THETA.float()):
        M = riemannian_metric(g, phi, theta)
        assert M.dtype == DOUBLE
        assert torch.equal(M, M.mT)
        assert (spectrum(M)[:, 0] > 0).all()


def test_metric_of_five_parameters_and_many_coefficients_is_symmetric_too():
    A = torch.randn(5, 5000, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    M = riemannian_metric(lambda theta: theta @ A, torch.sin, THETA[:, [0, 1, 2, 0, 1]])
    assert torch.equal(M, M.mT)  # a matrix product alone is not


def test_forward_reverse_and_finite_differences_agree():
    J = jacobian(g, phi, THETA)
    for theta, found in zip(THETA, J, strict=True):
        torch.testing.assert_close(found, torch.func.jacrev(lambda th: phi(g(th)))(theta), rtol=1e-9, atol=1e-9)
        steps = 1e-6 * torch.eye(3, dtype=DOUBLE)
        columns = [(phi(g(theta + h)) - phi(g(theta - h))) / 2e-6 for h in steps]
        torch.testing.assert_close(found, torch.stack(columns, -1), rtol=1e-5, atol=1e-6)


def test_batch_is_loop():
    M = riemannian_metric(g, phi, THETA)
    torch.testing.assert_close(M, torch.stack([riemannian_metric(g, phi, theta) for theta in THETA]))
    torch.testing.assert_close(riemannian_metric(g, phi, THETA.reshape(2, 2, 3)), M.reshape(2, 2, 3, 3))
    assert jacobian(g, phi, THETA.reshape(2, 2, 3)).shape == (2, 2, 33, 3)
    assert jacobian(torch.sin, torch.square, THETA[:0]).shape == (0, 3, 3)


def test_threads_of_one_process_find_what_one_finds():
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: jacobian(g, phi, THETA), range(200)))
    assert all(torch.equal(J, found[0]) for J in found)
    assert torch.equal(found[0], jacobian(g, phi, THETA))


def test_metric_measures_small_displacements():
    M = riemannian_metric(g, phi, THETA)
    delta = 1e-5 * torch.randn(4, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    moved = (phi(g(THETA + delta)) - phi(g(THETA))).norm(dim=-1)
    torch.testing.assert_close(torch.einsum("ni,nij,nj->n", delta, M, delta).sqrt(), moved, rtol=1e-3, atol=0)


def test_a_metric_that_is_not_finite_names_its_theta():
    with pytest.raises(ValueError, match=r"not finite at theta = \[\[0\.0\]\]"):
        riemannian_metric(lambda theta: theta, torch.log, torch.tensor([[1.0], [0.0]]))


def test_mean_metric_is_the_mean_and_refuses_gaps():
    M = riemannian_metric(g, phi, THETA)
    torch.testing.assert_close(mean_metric(M), sum(M) / len(M))
    with pytest.raises(ValueError, match="at least one item"):
        mean_metric(M[:0])
    M[1] = torch.nan
    with pytest.raises(ValueError, match="M must be finite: 9 of its 36"):
        mean_metric(M)


def test_one_metric_is_no_mean_and_many_are_no_damping(unchecked):
    with pytest.raises(ValueError, match=r"items × d × d .* not \(2, 2\)"):
        mean_metric(torch.eye(2))
    with pytest.raises(ValueError, match=r"must be d × d, not \(4, 2, 2\)"):
        damp(1.0, "diagonal", torch.ones(4, 2, 2))


def test_damping_kinds():
    M_mean = torch.tensor([[2.0, 1.0], [1.0, 5.0]])
    assert torch.equal(damp(3.0, "identity", M_mean), 3 * torch.eye(2, dtype=DOUBLE))
    assert torch.equal(damp(3.0, "mean", M_mean), 3 * M_mean.double())
    assert torch.equal(damp(3.0, "diagonal", M_mean), torch.diag(torch.tensor([6.0, 15.0], dtype=DOUBLE)))


@pytest.mark.parametrize("lam", [-1e-9, float("nan"), float("inf")])
def test_bad_lambda_is_refused(lam):
    with pytest.raises(ValueError, match="lambda must be finite and not negative"):
        damp(lam, "identity", torch.eye(2))


@pytest.mark.usefixtures("unchecked")
def test_unknown_damping_lists_the_kinds():
    with pytest.raises(ValueError, match="unknown damping 'ridge'; valid ones: identity, mean, diagonal"):
        damp(1.0, "ridge", torch.eye(2))


@given(values=st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=5), seed=st.integers(0, 2**31))
def test_spectrum_condition_and_volume_do_not_depend_on_the_basis(values, seed):
    d = len(values)
    noise = torch.randn(d, d, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))
    Q = torch.linalg.qr(noise).Q
    eigenvalues = torch.tensor(sorted(values), dtype=DOUBLE)
    M = Q @ torch.diag(eigenvalues) @ Q.mT
    M = (M + M.mT) / 2
    torch.testing.assert_close(spectrum(M), eigenvalues, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(condition_number(M), eigenvalues[-1] / eigenvalues[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(volume(M), eigenvalues.prod().sqrt(), rtol=1e-6, atol=0)


def test_a_rank_deficient_metric_has_infinite_condition_and_no_volume():
    for M in (torch.zeros(2, 2), torch.diag(torch.tensor([1.0, 0.0]))):
        assert condition_number(M) == torch.inf
        assert volume(M) == 0
