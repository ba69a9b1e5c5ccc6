"""Regions: what Φ does not hear is not known, however well the rest is, and the rest is known as well as without it."""

import pytest
import torch

from pnpkit.matching.region import from_draws, from_metric
from pnpkit.synth import Parameter, ParameterSpace

HEARD = Parameter("a", "a", "1", 0.1, 1.0, "log")
SPACES = {name: ParameterSpace((HEARD, *other)) for name, other in
          {"alone": (), "deaf": (Parameter("b", "b", "1", -3.0, 1.0),)}.items()}  # fmt: skip
CENTRE = torch.tensor([0.2, 0.4], dtype=torch.float64)
DRAWS = torch.randn(24, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
J, K = torch.randn(2, 50, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
K = K - J * (J * K).sum() / J.square().sum()


def region(how, name, J):
    space = SPACES[name]
    centre = CENTRE[: len(space)]
    return from_draws(centre, DRAWS, J, space) if how == "draws" else from_metric(centre, J.mT @ J, 1.0, 9.0, space)


@pytest.mark.parametrize("share", [0.0, 1e-9])
@pytest.mark.parametrize("how", ["draws", "metric"])
def test_of_a_deaf_parameter_the_region_says_its_whole_range(how, share):
    both = region(how, "deaf", torch.cat([J, share * K], -1))
    low, high = both.interval()
    assert (low[1], high[1]) == (-3.0, 1.0)
    alone = region(how, "alone", J)
    torch.testing.assert_close(both.covariance[:1, :1], alone.covariance, rtol=1e-6, atol=0)
    assert 0.1 < low[0] < high[0] < 1.0
    centre = SPACES["deaf"].decode(CENTRE, "logminmax")
    assert both.contains(torch.stack([centre[0], torch.tensor(-2.9).double()]))
    assert not both.contains(torch.stack([high[0] * 1.2, centre[1]]))


def test_a_residual_longer_than_the_draws_widens_the_region_by_as_much_and_a_shorter_one_does_not():
    expected = float((DRAWS.square().sum() / (len(DRAWS) - 1)).sqrt())
    plain, short, long = (from_draws(CENTRE[:1], DRAWS, J, SPACES["alone"], r * expected) for r in (0, 0.9, 3))
    assert torch.equal(short.covariance, plain.covariance)
    torch.testing.assert_close(long.covariance, 9 * plain.covariance)


@pytest.mark.parametrize("how", ["draws", "metric"])
def test_of_two_that_sound_alike_only_their_sum_is_known(how):
    both = region(how, "deaf", torch.cat([J, J], -1))
    apart = torch.tensor([0.3, -0.3], dtype=torch.float64)
    decode = SPACES["deaf"].decode
    assert both.contains(decode(CENTRE + apart, "logminmax"))
    assert not both.contains(decode(CENTRE + 3 * apart.abs(), "logminmax"))
    assert both.interval()[0].tolist() == pytest.approx([0.1, -3.0])


def test_what_has_no_logarithm_is_outside():
    alone = region("metric", "alone", J)
    known = SPACES["alone"].decode(CENTRE[:1], "logminmax")
    assert alone.contains(torch.stack([known, 0 * known, -known])).tolist() == [True, False, False]
