"""A match finds what made a sound, at any level and delay, in noise, says how sure it is, and when it was not made."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from bell import Bell, N, Square, drawn, operator, phi

from pnpkit.analyser.network import Analyser
from pnpkit.analyser.scalogram import Scalogram
from pnpkit.experiment.dataset import theta_of
from pnpkit.experiment.training.checkpoint import load_analyser
from pnpkit.experiment.workspace import Workspace
from pnpkit.jtfs import JTFS, Phi
from pnpkit.matching import Atlas, Match, Placed, hearing, match, search
from pnpkit.matching.answer import MADE, NOT
from pnpkit.matching.hearing import Hearing
from pnpkit.matching.noise import Mask, Noise, stream
from pnpkit.synth import Parameter, ParameterSpace

KNOWN = {"level": "known", "delay": "known"}
WORLD = Placed(Bell(), level=20.0, delay=0.1)


@pytest.fixture(scope="module")
def atlas():
    return Atlas.build(Bell(), phi, drawn(150, seed=1), components=40)


def late(theta, level=4.0, delay=0.02):
    return WORLD(torch.cat([theta, torch.tensor([level, delay], dtype=torch.float64)]))


def noise(deviation, seed=0):
    return deviation * torch.randn(N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_clean_sound_gives_its_parameters_back(atlas):
    for theta in drawn(3, seed=5):
        x = Bell()(theta)
        found = match(x, 4096, Bell(), operator(), starts=atlas, level="known", delay="known", noise=None)
        assert found.theta.tolist() == pytest.approx(theta.tolist(), rel=1e-3)
        assert found.verdict == MADE
        assert found.region.contains(theta)
        assert (found.level, found.delay, found.noise) == (0.0, 0.0, 0.0)
        assert torch.allclose(found.resynthesis, x, atol=0.02)


@pytest.mark.parametrize("gain", [1.0, 1e-3])
def test_level_and_delay_are_found_with_it_however_soft(atlas, gain):
    theta = drawn(1, seed=6)[0]
    found = match(gain * late(theta), 4096, Bell(), operator(), starts=atlas)
    assert found.theta.tolist() == pytest.approx(theta.tolist(), rel=2e-3)
    assert found.level == pytest.approx(4.0 + 20 * math.log10(gain), abs=0.05)
    assert found.delay == pytest.approx(0.02, abs=5e-4)


@pytest.mark.slow
def test_in_noise_the_region_holds_the_truth(atlas):
    held = []
    for k, theta in enumerate(drawn(12, seed=7)):
        found = match(late(theta) + noise(0.02, k), 4096, Bell(), operator(), starts=atlas, seed=k)
        assert found.theta.tolist() == pytest.approx(theta.tolist(), rel=0.05)
        assert found.region is not None
        held.append(bool(found.region.contains(theta)))
    assert sum(held) >= 10  # 95 % of twelve, give or take


def test_the_waveform_finishes_what_phi_began(atlas):
    theta = drawn(1, seed=8)[0]
    x = late(theta) + noise(0.01)
    rough = match(x, 4096, Bell(), operator(), starts=atlas)
    fine = match(x, 4096, Bell(), operator(), starts=atlas, finish="waveform")
    assert fine.finish == "waveform"
    assert fine.explained == pytest.approx(1.0, abs=0.01)
    assert fine.region.contains(theta)
    # Phases tell a frequency best: 8.2 times as well as Φ here, where the draws of the noise move that by a fifth
    assert fine.region.covariance[0, 0] < 0.15 * rough.region.covariance[0, 0]
    assert (fine.resynthesis - late(theta)).norm() < 0.02 * late(theta).norm()


def test_of_a_sound_without_noise_the_waveform_tells_as_much_as_its_samples_do():
    for theta in drawn(3, seed=8):
        x = Bell()(theta).float()
        found = match(x, 4096, Bell(), operator(), starts=theta * 1.01, noise=None, finish="waveform", **KNOWN)
        low, high = found.region.interval()
        assert found.finish == "waveform"
        assert found.region.contains(theta)
        assert ((low < high) & (high - low < 1e-5 * theta)).all()


def test_the_phase_of_a_sound_is_free(atlas):
    theta = drawn(1, seed=8)[0]
    spectrum = torch.fft.rfft(late(theta)) * torch.polar(torch.ones(1), torch.tensor([2.0])).to(torch.complex128)
    found = match(torch.fft.irfft(spectrum), 4096, Bell(), operator(), starts=atlas, finish="waveform")
    assert found.finish == "waveform"
    assert found.theta.tolist() == pytest.approx(theta.tolist(), rel=1e-3)


@pytest.mark.parametrize(("finish", "deviation"), [("phi", None), ("waveform", None), ("phi", 0.02)])
def test_the_distance_is_that_of_the_answer_whatever_it_was_fitted_to_last(finish, deviation):
    theta = drawn(1, seed=8)[0]
    x = Bell(warp=0.02)(theta) + (noise(deviation) if deviation else 0)  # no bell's, so that each fit has its answer
    found = match(x, 4096, Bell(), operator(), starts=theta, noise=deviation, finish=finish, **KNOWN)
    heard = phi
    if deviation:
        assumed = Noise.white(deviation, N)
        draws = assumed.draw(max(hearing.DRAWS, 3 * 2), stream(0))
        heard = Hearing(operator()).in_noise(Mask.of_sound(x, assumed), draws)
        assert -1 in found.history.start.tolist()
    assert found.finish == finish
    assert found.distance == pytest.approx(float((heard(found.resynthesis) - heard(x)).norm()), rel=1e-4)


def test_phi_is_given_one_sound_at_a_time_whatever_the_starts_and_the_draws():
    theta, passed = drawn(1, seed=8)[0], []

    def listening(x):
        passed.append(x.shape[:-1].numel())
        return operator()(x)

    match(Bell()(theta) + noise(0.02), 4096, Bell(), listening, starts=theta.expand(6, 2), noise=0.02, **KNOWN)
    assert max(passed) == 1


def test_a_polish_that_did_not_converge_does_not_undo_what_was_found():
    theta = drawn(1, seed=8)[0]
    x = Bell()(theta) + noise(0.02)
    way = match(x, 4096, Bell(), operator(), starts=theta, noise=0.02, **KNOWN).history
    end = torch.tensor(way[(way.start == 0) & way.kept].iloc[-1][["f", "tau"]].tolist(), dtype=torch.float64)
    found = match(x, 4096, Bell(), operator(), starts=end, noise=0.02, steps=0, **KNOWN)
    assert found.history.start.tolist() == [0, -1]  # the search ended where it began, the polish had no step
    assert found.theta.tolist() == pytest.approx(end.tolist(), rel=1e-6)
    assert (found.converged, found.verdict) == (True, MADE)
    assert found.region is not None


def test_single_precision_says_the_same_in_double(atlas):
    x = late(drawn(1, seed=8)[0]) + noise(0.02)
    single, double = (match(s, 4096, Bell(), operator(), starts=atlas, finish="waveform") for s in (x.float(), x))
    assert single.theta.dtype == single.resynthesis.dtype == single.region.centre.dtype == torch.float64
    assert single.theta.tolist() == pytest.approx(double.theta.tolist(), rel=1e-6)
    assert single.distance == pytest.approx(double.distance, rel=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("starts", ["atlas", "analyser", "chance"])
def test_another_device_says_the_same(atlas, starts):
    theta = drawn(1, seed=8)[0]
    x = late(theta) + noise(0.02)
    there = {"atlas": atlas, "analyser": lambda _: theta.float() * 1.02, "chance": None}[starts]
    here, away = (
        match(x.to(d), 4096, Bell(), JTFS(6, 4, J_fr=3, T=1024, n_samples=N).to(d), starts=there, finish="waveform")
        for d in ("cpu", "cuda")
    )
    assert {away.theta.device.type, away.resynthesis.device.type, away.region.centre.device.type} == {"cuda"}
    assert away.theta.tolist() == pytest.approx(here.theta.tolist(), rel=1e-3)
    assert away.verdict == here.verdict
    assert away.region.contains(here.theta)


def test_what_no_bell_makes_is_not_made_by_it(atlas):
    clicks = torch.zeros(N, dtype=torch.float64)
    clicks[::300] = 1.0
    found = match(clicks, 4096, Bell(), operator(), starts=atlas, noise=None, n_starts=2, finish="waveform")
    assert found.verdict == NOT
    assert found.finish == "phi"  # a waveform that explains nothing is not kept
    assert found.sentence().startswith("not made by it: ")
    assert "is usual" in found.sentence()
    assert found.region is None  # no linear picture reaches so far


def test_starts_come_from_an_analyser_the_caller_or_chance():
    theta = drawn(1, seed=9)[0]
    x, near = Bell()(theta), theta * torch.tensor([1.02, 0.9])
    clean = {"level": "known", "delay": "known", "noise": None}
    for starts in (near, torch.stack([near, near]), lambda _: near.float()):
        assert match(x, 4096, Bell(), operator(), starts=starts, **clean).theta.tolist() == pytest.approx(
            theta.tolist(), rel=1e-3
        )
    outside = match(x, 4096, Bell(), operator(), starts=lambda _: near * 100, **clean)  # a network may
    assert (outside.theta <= Bell.parameters.high).all()
    assert match(x, 4096, Bell(), operator(), n_starts=2, **clean).history.start.max() <= 1


def test_a_network_s_answer_in_its_coordinates_is_a_start_in_raw_units():
    scalogram, network = Scalogram(4096, octaves=4, f_min=65.4), Analyser(2, "tanh").eval()
    space, x = Bell.parameters, Bell()(drawn(1, seed=9)[0])
    found = match(
        x, 4096, Bell(), operator(), starts=lambda x: space.decode(network(scalogram(x)), "logminmax"), steps=0, **KNOWN
    )
    began = torch.tensor(found.history.loc[0, ["f", "tau"]].tolist())
    assert ((began > space.low) & (began < space.high)).all()
    told = network(scalogram(x)).detach()
    assert space.encode(began.double(), "logminmax").tolist() == pytest.approx(told.tolist(), abs=1e-5)


def test_the_network_that_is_shipped_answers_a_waveform_as_it_did_then():
    workspace = Workspace.open("laptop", Path(__file__).parents[2] / "data")
    config, space, answers = (
        workspace.run_config("pnp-mean", 0),
        workspace.problem.space,
        workspace.predictions("pnp-mean", 0),
    )
    network = load_analyser(workspace.run_folder("pnp-mean", 0))
    scalogram = Scalogram(8192, **vars(config.features))
    test = answers[answers.fold == "test"].iloc[[0, 100]]
    x = workspace.problem.synth(theta_of(workspace.problem.table.loc[test.index], space))
    theta = space.decode(network(scalogram(x)), config.coordinates)
    assert theta.tolist() == [
        pytest.approx(row, rel=1e-3) for row in test[[f"last_{n}" for n in space.names]].to_numpy()
    ]


@pytest.mark.parametrize("warp", [0.0, 0.5])
def test_of_two_that_sound_alike_the_second_found_is_the_rival(warp):
    """Two bells at once, which may be exchanged. Where the first start explains the sound, no second is tried."""

    class Pair(Bell):
        parameters = ParameterSpace(tuple(Parameter(n, n, "Hz", 300.0, 900.0, "log") for n in ("first", "second")))

        def __call__(self, theta):
            bell = Bell(self.warp)
            return sum(bell(torch.stack([f, torch.full_like(f, 0.1)], -1)) for f in theta.unbind(-1))

    theta = torch.tensor([400.0, 700.0], dtype=torch.float64)
    near = theta * torch.tensor([0.99, 1.01], dtype=torch.float64)
    starts = torch.stack([near, near.flip(0)])
    found = match(Pair(warp)(theta), 4096, Pair(), operator(), starts=starts, noise=None, **KNOWN)
    if warp:
        assert found.verdict != MADE
        assert found.rival.tolist() == pytest.approx(found.theta.flip(0).tolist(), rel=1e-3)
        assert found.rival_distance == pytest.approx(found.distance, rel=1e-2)
    else:
        assert found.verdict == MADE
        assert found.rival is None
        assert found.history.start.max() == 0


class Mirrored:
    """Whose sounds are nearly the same at a and −a."""

    sample_rate, n_samples = 4096, N
    parameters = ParameterSpace((Parameter("a", "a", "1", -1.0, 1.0),))

    def __call__(self, theta):
        a = theta[..., 0]
        heard = torch.stack([400 * (1 + a**2), torch.full_like(a, 0.1)], -1)
        return (1 + 0.02 * a).unsqueeze(-1) * Bell()(heard)


def test_of_two_answers_that_explain_a_clean_sound_the_nearer_is_taken():
    near, far = torch.tensor([[0.52], [-0.52]])
    x, how = Mirrored()(torch.tensor([0.5])), {"noise": None, **KNOWN}
    alone = match(x, 4096, Mirrored(), operator(), starts=far, **how)
    assert (alone.verdict, float(alone.theta)) == (MADE, pytest.approx(-0.5, abs=0.01))
    found = match(x, 4096, Mirrored(), operator(), starts=torch.stack([far, near]), **how)
    assert found.theta.tolist() == pytest.approx([0.5], rel=1e-4)
    assert match(x, 4096, Mirrored(), operator(), starts=torch.stack([near, far]), **how).history.start.max() == 0


def test_one_that_did_not_converge_says_so_and_is_not_made_by_it():
    theta = drawn(1, seed=9)[0]
    x = Bell()(theta)
    clean = {"level": "known", "delay": "known", "noise": None}
    found = match(x, 4096, Bell(), operator(), starts=theta * torch.tensor([1.03, 0.6]), steps=1, **clean)
    assert not found.converged
    assert found.verdict != MADE
    assert found.region is None
    assert "did not converge" in found.sentence()


def test_of_a_parameter_at_the_end_of_its_range_the_answer_says_so():
    theta = drawn(1, seed=9)[0]
    narrow = Bell.parameters.parameters[0]
    narrow = replace(narrow, high=0.5 * (narrow.low + float(theta[0])))

    class Narrow(Bell):
        parameters = ParameterSpace((narrow, Bell.parameters.parameters[1]))

    start = torch.tensor([narrow.high, theta[1]])
    found = match(Bell()(theta), 4096, Narrow(), operator(), starts=start, level="known", delay="known", noise=None)
    assert (found.at_bound, found.verdict) == ((narrow.name,), NOT)


def test_saved_and_loaded_it_is_the_same(atlas, tmp_path):
    found = match(late(drawn(1)[0]), 4096, Bell(), operator(), starts=atlas)
    found.save(tmp_path / "match.npz")
    again = Match.load(tmp_path / "match.npz")
    assert torch.equal(again.theta, found.theta)
    assert torch.equal(again.resynthesis, found.resynthesis)
    assert again.sentence() == found.sentence()
    assert torch.allclose(again.region.interval()[0], found.region.interval()[0])
    pd.testing.assert_frame_equal(again.history, found.history, check_exact=True)
    assert (again == found, found == found) == (False, True)  # a comparison asks no tensor
    assert again.rival is None
    with np.load(tmp_path / "match.npz") as file:
        np.savez(tmp_path / "part.npz", **{k: v for k, v in file.items() if k not in ("space", "seconds")})
    with pytest.raises(ValueError, match=r"part.npz is no match of pnpkit, or damaged: it lacks seconds, space"):
        Match.load(tmp_path / "part.npz")


def test_bad_input(atlas, unchecked):
    x = Bell()(drawn(1)[0])

    def refused(sound, message, rate=4096, g=None, **options):
        with pytest.raises(ValueError, match=message):
            match(sound, rate, g or Bell(), operator(), **options)

    refused(x[:0], "empty")
    refused(x[:1], r"4096 samples at 4096 Hz; the sound has 1 at 4096 Hz: fitted\(x, sample_rate, g\)\.x brings")
    refused(x, "at 44100 Hz", rate=44100)
    refused(torch.zeros(N), "silent")
    refused(torch.where(torch.arange(N) == 5, torch.nan, x), "finite")
    refused((3 * x).clamp(-0.3, 0.3), "clipped")
    refused(x, "louder than the sound", noise=1.0)
    refused(x, "not negative", noise=-1.0)
    refused(x, "lies outside", starts=torch.tensor([5000.0, 0.1]))
    refused(x, "another synthesiser", g=Bell(warp=0.1), starts=atlas)
    refused(x, "unknown finish 'ear'", finish="ear")
    with pytest.raises(TypeError, match="a function of the sound, a tensor of θ, or None, not 4"):
        match(x, 4096, Bell(), operator(), starts=4)
    refused(x, "unknown level 'Free'", level="Free")
    refused(x, "unknown delay 'fixed'", delay="fixed")
    refused(x, "n_starts must be at least 1, not 0", n_starts=0)
    refused(x, "starts is empty", starts=torch.zeros(0, 2))
    refused(x, "steps must be at least 0, not -3", steps=-3)
    refused(x, "resolution must be finite and not negative, not -1", resolution=-1.0)
    with pytest.raises(TypeError, match=r"the sound must be a tensor, not ndarray: see torch\.as_tensor"):
        match(x.numpy(), 4096, Bell(), operator())
    for name in ("level", "lam"):
        space = ParameterSpace((*Bell.parameters.parameters[:1], Parameter(name, name, "1", 0.0, 1.0)))
        named = type("Named", (Bell,), {"parameters": space})()
        refused(x, f"no parameter .* may be called {name}", g=named)
    hinting = type("Hinting", (Bell,), {"hint": lambda *_: {"pitch": 440.0}})()
    refused(x, "unknown parameter of a hint 'pitch'; valid ones: f, tau", g=hinting, starts=atlas)
    hinting = type("Hinting", (Bell,), {"hint": lambda *_: {"f": [440.0, 550.0], "tau": [0.1, 0.1, 0.1]}})()
    refused(x, "values of a hint go together: of f there are 2, of another 3", g=hinting, starts=atlas)


def test_a_start_is_what_the_sound_says_and_the_atlas_for_the_rest(atlas):
    theta = drawn(1, seed=4)[0]
    far = Atlas.build(Bell(), phi, theta * torch.tensor([[0.8, 1.0], [1.25, 1.1]]), components=2)
    hint = {"f": torch.tensor([500.0, float(theta[0]), 700.0])}
    hinting = type("Hinting", (Bell,), {"hint": lambda *_: hint})()
    x, how = hinting(theta), {"starts": far, "noise": None, **KNOWN}
    told, untold = (match(x, 4096, g, operator(), **how) for g in (hinting, Bell()))
    assert told.verdict == MADE
    assert told.theta.tolist() == pytest.approx(theta.tolist(), rel=1e-3)
    first = far.theta[0].tolist()
    assert untold.history.loc[0, ["f", "tau"]].tolist() == pytest.approx(first, rel=1e-5)
    assert told.history.loc[0, ["f", "tau"]].tolist() == pytest.approx([float(theta[0]), first[1]], rel=1e-5)


def test_where_phi_is_stuck_the_waveform_may_lead_on(monkeypatch):
    monkeypatch.setattr(search, "COARSE", ())  # or Φ goes round, and is not stuck
    theta = drawn(1, seed=1)[0]
    for level, delay in ((0.0, 0.0), (4.0, 0.004)):
        x, start = late(theta, level, delay), theta * torch.tensor([1.1, 1.0])
        how = {"starts": start, "noise": None}
        stuck, led = (match(x, 4096, Bell(), operator(), finish=f, **how) for f in ("phi", "waveform"))
        assert stuck.verdict != MADE
        assert (led.verdict, led.finish) == (MADE, "waveform")
        assert led.theta.tolist() == pytest.approx(theta.tolist(), rel=1e-3)
        assert led.jacobians == len(led.history)


@dataclass(frozen=True)
class Chorus(Bell):
    """A bell with parameters that do nothing."""

    idle: int = 1

    @property
    def parameters(self):
        more = [Parameter(f"idle_{k}", "i", "1", 0.1, 1.0, "log") for k in range(self.idle)]
        return ParameterSpace((*Bell.parameters.parameters, *more))

    def __call__(self, theta):
        return super().__call__(theta[..., :2])


class Steady:
    """Two-operator frequency modulation, whose partials stand still."""

    sample_rate, n_samples = 4096, N
    parameters = ParameterSpace(
        (
            Parameter("f", "f", "Hz", 200.0, 600.0, "log"),
            Parameter("ratio", "r", "1", 0.5, 2.0, "log"),
            Parameter("index", "I", "1", 0.1, 2.0, "log"),
        )
    )

    def __call__(self, theta):
        f, ratio, index = (p.unsqueeze(-1) for p in theta.unbind(-1))
        t = 2 * math.pi * torch.arange(N).to(theta) / 4096
        return torch.exp(-t / 2) * torch.sin(f * t + index * torch.sin(f * ratio * t))


def test_where_partials_stand_still_the_way_round_arrives(monkeypatch):
    space, generator = Steady.parameters, torch.Generator().manual_seed(0)
    truth = space.decode(1.4 * torch.rand(2, 3, generator=generator, dtype=torch.float64) - 0.7, "logminmax")
    off = torch.tensor([0.96, 1.02, 0.95])  # of a carrier, 0.7 of a semitone

    def found(theta):
        how = {"starts": theta * off, "noise": None, "steps": 48, **KNOWN}
        return match(Steady()(theta), 4096, Steady(), operator(), **how)

    for theta in truth:
        there = found(theta)
        assert there.theta.tolist() == pytest.approx(theta.tolist(), rel=3e-3)
        assert there.verdict == MADE
        assert there.jacobians == len(there.history)
        assert there.history[there.history.kept].distance.iloc[-1] == pytest.approx(there.distance, rel=1e-4)
    monkeypatch.setattr(search, "COARSE", ())
    assert not any(found(theta).verdict == MADE for theta in truth)


def test_a_sound_that_is_made_flat_is_not_taken_as_clipped():
    theta = drawn(1, seed=9)[0]
    found = match(Square()(theta), 4096, Square(), operator(), starts=theta, level="known", delay="known", noise=None)
    assert found.verdict == MADE


def test_crests_that_rounding_makes_flat_are_none_that_were_clipped():
    hum = torch.round(100 * torch.sin(2 * torch.pi * 20 * torch.arange(N) / 4096)) / 128
    how = {"starts": drawn(1, seed=9)[0], "steps": 1}
    with pytest.raises(ValueError, match="is clipped"):
        match(hum, 4096, Bell(), operator(), **how)
    assert match(hum, 4096, Bell(), operator(), resolution=2**-7, **how).verdict == NOT


@pytest.mark.parametrize(("idle", "deviation"), [(1, None), (1, 0.005), (23, 0.02)])
def test_of_a_parameter_that_does_nothing_a_match_says_so_however_many_there_are(idle, deviation):
    truth, g = drawn(1, seed=9)[0], Chorus(idle=idle)
    x = Bell()(truth) + (noise(deviation) if deviation else 0)
    start = torch.cat([truth * 1.01, torch.full((idle,), 0.303)])
    found = match(x, 4096, g, operator(), starts=start, level="known", delay="known", noise=deviation)
    low, high = found.region.interval()
    assert low[2:].tolist() == pytest.approx([0.1] * idle)
    assert high[2:].tolist() == pytest.approx([1.0] * idle)
    assert (high[:2] < 1.2 * low[:2]).all()  # of the others it knows what it knew


def test_what_compresses_already_is_not_compressed_again_and_an_epsilon_is_kept():
    truth = drawn(1, seed=9)[0]
    x, how = Bell()(truth), {"starts": 1.01 * truth, "level": "known", "delay": "known", "noise": None}
    with pytest.raises(ValueError, match="homogeneous of degree one"):
        match(x, 4096, Bell(), lambda s: phi(s), **how)
    plain = match(x, 4096, Bell(), lambda s: operator()(s), **how)
    assert plain.norm == match(x, 4096, Bell(), phi, **how).norm
    coarse = match(x, 4096, Bell(), Phi(operator(), eps=0.1), **how)
    assert coarse.norm == pytest.approx(float(Phi(operator(), eps=0.1)(x).norm()), rel=1e-6)


def test_a_delay_as_long_as_the_sound_has_one_answer():
    with pytest.raises(ValueError, match=r"range of the delay must be from 0 to 1, not 1\.1"):
        Placed(Bell(), delay=1.1)
    with pytest.raises(ValueError, match="range of the level must be from 0 to inf, not -6"):
        Placed(Bell(), level=-6.0)
    theta = drawn(1, seed=6)[0]
    found = match(late(theta, 0.0), 4096, Bell(), operator(), starts=theta, level="known", noise=None, delay_range=3.0)
    assert found.delay == pytest.approx(0.02, abs=5e-4)
