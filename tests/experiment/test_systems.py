"""Synthesisers and profiles of others: found by name, tried before use, known by their sounds, usable in all stages."""

import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from distributed import LocalCluster

from pnpkit.experiment import systems
from pnpkit.experiment.artefacts import ArtefactMismatch, config_dict
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.dataset import FOLDS, parameter_grid
from pnpkit.experiment.precompute.metrics import compute_metrics, verify_metrics
from pnpkit.experiment.problem import get_problem
from pnpkit.experiment.profiles import get_profile
from pnpkit.experiment.systems import fingerprint, get_system
from pnpkit.experiment.workspace import Workspace
from pnpkit.synth import Arpeggio, Parameter, ParameterSpace, RectangularDrum

BELL = """
import math
import torch
from pnpkit.experiment.config import ScalogramConfig, GridConfig, Profile, TrainingConfig
from pnpkit.jtfs import JTFS
from pnpkit.synth import Parameter, ParameterSpace

class Bell:
    parameters = ParameterSpace((
        Parameter("f", "f", "Hz", 60.0, 240.0, "log"), Parameter("tau", "tau", "s", 0.02, 0.2),
    ))
    sample_rate, n_samples = 4096, 4096

    def __call__(self, theta):
        f, tau = (p.unsqueeze(-1) for p in theta.unbind(-1))
        t = torch.arange(self.n_samples, dtype=theta.dtype) / self.sample_rate
        return torch.exp(-t / tau) * torch.sin(2 * math.pi * f * t)

class Small:  # a System in all but name
    variants = {"code": Bell()}
    jtfs = staticmethod(lambda n_samples: JTFS(7, 4, J_fr=4, T=None, n_samples=n_samples))

BELL = Bell()
make = lambda: BELL
nothing, broken = 3, lambda x: x
GRID = GridConfig("MODULE:Small", n_steps=6)
TRAINING = TrainingConfig(
    GRID, "p", epochs=1, batch_size=8, coordinates="logminmax", head="linear",
    features=ScalogramConfig(octaves=3, f_min=100.0, hop=64),
)
STUDY = Profile("mine", GRID, TRAINING, ("p", "pnp"), (0,), "a bell", metric_chunk=10)
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    """The name of a module that lies in a folder of the test, and nowhere on Python's path."""
    name = f"bell_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(BELL.replace("MODULE", name))
    return name


def test_a_synthesiser_is_named_in_every_way(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    theta = torch.tensor([100.0, 0.1], dtype=torch.float64)
    point = EntryPoint("bell", f"{module}:BELL", systems.GROUP)
    monkeypatch.setattr(systems, "entry_points", lambda group: [point] if group == point.group else [])
    names = [f"{module}:{attribute}" for attribute in ("BELL", "Bell", "make", "Small")]
    problems = [get_problem(GridConfig(n, n_steps=6)) for n in [*names, f"{module}.py:BELL", "bell"]]
    assert len({p.grid.fingerprint for p in problems}) == 2, "Small listens with a scattering of its own"
    for problem in problems:
        assert torch.equal(problem.synth(theta), problems[0].synth(theta))
        assert problem.with_gain("attached") is problem, "its derivative leaves no gain out"
        assert problem.table.equals(problems[0].table)
    with pytest.raises(ValueError, match="unknown synthesiser 'gong'; valid ones: arpeggio, drum, bell, module:attrib"):
        get_system("gong")


@pytest.mark.parametrize("n_steps", [6, 9])
@pytest.mark.parametrize("space", [Arpeggio.parameters, RectangularDrum.parameters], ids=["3", "5"])
def test_the_data_set_of_a_mere_synthesiser(space: ParameterSpace, n_steps: int) -> None:
    table, total = parameter_grid(space, n_steps), n_steps ** len(space)
    assert len(table) == total
    assert (table.fold == "test").sum() == total // 10
    assert 0.03 < (table.fold == "validation").mean() < 0.2
    assert tuple(table.fold.cat.categories) == FOLDS
    for p in space.parameters:  # a cell of each axis has as many items as another
        u = table[p.name].map(math.log) if p.scale == "log" else table[p.name]
        low, high = (math.log(end) if p.scale == "log" else end for end in (p.low, p.high))
        assert set(((u - low) / (high - low) * n_steps).astype(int).value_counts()) == {total // n_steps}
    with pytest.raises(ValueError, match="n_steps must be at least 6"):
        parameter_grid(space, 5)
    one = ParameterSpace(space.parameters[:1])
    assert set(parameter_grid(one, 10).fold) == set(FOLDS)


class Tone:
    """A decaying tone, to be spoilt."""

    sample_rate, n_samples = 2048, 512
    parameters = ParameterSpace(
        (Parameter("f", "f", "Hz", 60.0, 240.0, "log"), Parameter("tau", r"\tau", "s", 0.02, 0.2))
    )

    def __call__(self, theta: torch.Tensor) -> torch.Tensor:
        f, tau = (p.unsqueeze(-1) for p in theta.unbind(-1))
        t = torch.arange(self.n_samples, dtype=theta.dtype) / self.sample_rate
        return torch.exp(-t / tau) * torch.sin(2 * math.pi * f * t)


class Hasty(Tone):
    """Whose rate no file can have."""

    sample_rate = 2048.0  # type: ignore[assignment]


def spoilt(change: object) -> Tone:
    return type("Spoilt", (Tone,), {"__call__": lambda self, theta: change(Tone.__call__(self, theta), theta)})()  # type: ignore[operator]


def test_a_fingerprint_is_that_of_sounds_derivatives_ranges_and_rate() -> None:
    own, state = fingerprint("tone", Tone()), torch.random.get_rng_state()
    again = spoilt(lambda x, theta: x * (1 + 1e-12 * torch.rand(x.shape, generator=torch.Generator().manual_seed(1))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fingerprint("tone", again) == own, "another processor rounds otherwise"
    assert torch.equal(torch.random.get_rng_state(), state)
    narrower = ParameterSpace((Tone.parameters.parameters[0], Parameter("tau", r"\tau", "s", 0.02, 0.19)))
    others = [
        fingerprint("tone", spoilt(lambda x, theta: 2 * x)),
        fingerprint("tone", spoilt(lambda x, theta: x.sign() * x.square())),
        fingerprint("tone", spoilt(lambda x, theta: x.detach() + 0 * theta.sum()), silent=True),
        fingerprint("tone", type("Faster", (Tone,), {"sample_rate": 4096})()),
        fingerprint("tone", type("Narrower", (Tone,), {"parameters": narrower})()),
        fingerprint("tone", Tone(), "another Φ"),
    ]
    assert len({own, *others}) == 7


def test_changed_code_refuses_what_was_made_before(module: str, tmp_path: Path) -> None:
    grid = get_problem(GridConfig(f"{tmp_path / module}.py:Small", n_steps=6)).grid
    assert grid.fingerprint
    assert get_problem(grid).grid == grid
    assert "fingerprint" not in config_dict(GridConfig()), "hashes of what is shipped stay"
    with pytest.raises(ArtefactMismatch, match=f"does not sound as it did: .* is {grid.fingerprint}, and 000 in what"):
        get_problem(GridConfig(grid.synth, n_steps=6, fingerprint="000"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such:BELL", "'no_such:BELL' does not import: ModuleNotFoundError: No module named .*; looked for in /"),
        ("MODULE:GONG", "does not import: AttributeError: .* has no attribute 'GONG'"),
        ("MODULE:nothing", "MODULE:nothing has no parameters: a synthesiser has parameters, sample_rate and n_samples"),
        ("MODULE:broken", "MODULE:broken has no parameters, and gives no synthesiser when called: .* argument"),
        ("MODULE:GRID", "MODULE:GRID has no parameters"),
        (
            "tests.experiment.test_systems:Hasty",
            r"sample_rate of tests.*:Hasty must be a whole number of at least 1, not 2048\.0",
        ),
    ],
)
def test_what_is_no_synthesiser_is_said_to_be_none(
    name: str, said: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said.replace("MODULE", module)):
        get_system(name.replace("MODULE", module))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, theta: x[..., :9], r"tone returns the wrong shape: .* must give \(3, 512\), .* not \(3, 9\)"),
        (lambda x, theta: x.sum(0, keepdim=True), "the wrong shape"),
        (lambda x, theta: x / 0, "tone gives sounds, or derivatives, that are not finite: theta = "),
        (lambda x, theta: torch.from_numpy(x.numpy()), "tone cannot be differentiated: .*does it leave torch, for"),
        (lambda x, theta: x[0, 0, 0, 0, 0], "tone fails: IndexError: too many indices"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_a_synthesiser_gives_is_looked_at(change: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fingerprint("tone", spoilt(change))


def test_a_lost_derivative_and_random_numbers_are_warned_of() -> None:
    deaf = spoilt(lambda x, theta: Tone.__call__(Tone(), torch.stack([theta[..., 0], theta[..., 1].detach()], -1)))
    with pytest.warns(UserWarning, match="tone loses the derivative with respect to tau: a whole column"):
        fingerprint("tone", deaf)
    noisy = spoilt(lambda x, theta: x + 0.1 * torch.rand_like(x))
    with pytest.warns(UserWarning, match=r"tone draws random numbers: two sounds of f = [\d.]+, tau = [\d.]+ differ"):
        first = fingerprint("tone", noisy)
    assert fingerprint("tone", noisy, silent=True) == first, "torch's are seeded for the fingerprint"


def test_the_command_line_warns_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(
        "import torch\nfrom pnpkit.synth import Parameter, ParameterSpace\n\nclass Noisy:\n"
        "    parameters = ParameterSpace((Parameter('a', 'a', '1', 0.1, 1.0), Parameter('b', 'b', '1', 0.1, 1.0)))\n"
        "    sample_rate, n_samples = 2048, 512\n"
        "    def __call__(self, theta):\n"
        "        return theta[..., :1] * torch.rand(*theta.shape[:-1], 512)\n"
    )
    command = [sys.executable, "-m", "pnpkit", "synth", "0.5", "0.5", "--synth", "noisy:Noisy", "--out", "x.wav"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lost, random = ended.stderr.splitlines()
    assert lost.startswith("pnpkit: noisy:Noisy loses the derivative with respect to b: a whole column")
    assert random.startswith("pnpkit: noisy:Noisy draws random numbers: two sounds of a = 0.")


def test_profiles_of_ones_own(module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, root = tmp_path / f"{module}.py", tmp_path / "artefacts"
    workspace = Workspace.open(f"{file}:STUDY", root)
    assert (workspace.folder, workspace.profile.training.grid.synth) == (root / "mine", f"{module}:Small")
    assert workspace.profile.run("p", 0).grid.fingerprint == get_problem(GridConfig(f"{module}:Small")).grid.fingerprint
    with pytest.raises(ValueError, match=f"{module}.py:GRID is no profile but a GridConfig"):
        get_profile(f"{file}:GRID")
    other = tmp_path / "json.py"
    other.write_text("STUDY = 1")
    with pytest.raises(ValueError, match=r"does not import: ImportError: .*json.* has the same name: rename yours"):
        get_profile(f"{other}:STUDY")


def test_metrics_of_a_synthesiser_elsewhere_in_processes(module: str, tmp_path: Path) -> None:
    workspace = Workspace.open(f"{tmp_path / module}.py:STUDY", tmp_path / "artefacts")
    table = compute_metrics(workspace.metrics_path, workspace.metric_config, workers=1)  # which imports the user's file
    assert torch.equal(table.metric("attached"), table.metric("detached"))
    assert workspace.metric_config.phi.startswith("Sizes(J=7, Q=4, J_fr=4")
    assert verify_metrics(workspace.metrics_path, workspace.metric_config, 36) < 1e-4
    assert workspace.inputs().shape[0] == len(table.theta) == 36


@pytest.mark.slow
def test_all_stages_of_ones_own_profile_run_on_a_cluster(
    module: str, tmp_path: Path, verb: Callable[..., tuple[int, str, str]]
) -> None:
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        arguments = ["run", "--profile", f"{tmp_path / module}.py:STUDY", "--out", tmp_path / "artefacts"]
        code, _, said = verb(*arguments, "--scheduler", cluster.scheduler_address)
        assert code == 0, said
        with cluster.get_client() as client:
            logs = "".join(text for lines in client.get_worker_logs().values() for _, text in lines)
    workspace = Workspace.open(f"{tmp_path / module}.py:STUDY", tmp_path / "artefacts")
    assert set(workspace.finished_runs()) == {("p", 0), ("pnp", 0)}
    assert "Traceback" not in logs
    assert workspace.results()["rows"]["last"]["pnp"]["seeds"] == [0]
    assert set(workspace.predictions("p", 0).fold) == {"validation", "test"}
    assert workspace.probe("p", 0).epoch.unique().tolist() == [0, 1]
    assert workspace.provenance("p", 0)["config"]["grid"]["fingerprint"] == workspace.problem.grid.fingerprint
