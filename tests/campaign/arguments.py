"""Argument lists, made by hypothesis: every verb, options and values that fit and that do not; how each ends."""

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import soundfile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from pnpkit import cli
from pnpkit.audio import read_sound
from tests.campaign import Outcome
from tests.campaign.plant import NAME, Plant

VERBS = (
    "profiles", "dataset", "metrics", "train", "evaluate", "table", "synth", "run", "match", "transform", "morph",
    "tabel", "",
)  # fmt: skip
JUNK = ("", "0", "-1", "1e400", "nan", "p", "paper", "ein Wort", "λ", "--", "-", "/dev/null", "x" * 300, "\udcff", "🙂")
# Metrics and trainings of real profiles take minutes, and so do matches, whose atlas comes first: profiles that have
# nothing in the folder, and the toy one
PROFILES = (NAME, NAME, NAME, "smoke", "study", "tin", "")


def outcomes(plant: Plant, n: int, seed: int) -> Iterator[Outcome]:
    """Of n argument lists."""
    sounds, scratch, found = _sounds(plant.root / "sounds"), plant.root / "scratch", []
    scratch.mkdir(exist_ok=True)
    before = _names(plant.root)

    # None is run twice to be made smaller: a failure here is an outcome, and no exception
    @seeded(seed)
    @settings(
        max_examples=n, phases=[Phase.generate], database=None, derandomize=False, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(_lists(plant, sounds, scratch))
    def judged(arguments: list[str]) -> None:
        with contextlib.chdir(scratch):  # where a word that is taken for a file does no harm
            outcome = one(plant, arguments)
        left = _names(plant.root) - before
        if left and outcome.fine and outcome.kind not in ("metrics", "train", "run"):  # whose work it is to make
            outcome = Outcome("arguments", outcome.kind, "lost", f"{arguments}: left {sorted(left)[:3]}")
        found.append(outcome)
        for path in sorted(left, reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        shutil.rmtree(scratch)
        scratch.mkdir()

    judged()
    yield from found


def _names(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if "scratch" not in path.parts}


def _sounds(folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    x = np.sin(np.arange(2**15))
    for name, sound, rate in (
        ("right.wav", x, 8192), ("short.wav", x[:100], 8192), ("rate.wav", x, 44100), ("silent.wav", 0 * x, 8192),
        ("stereo.wav", np.stack([x, x], 1), 8192),
    ):  # fmt: skip
        soundfile.write(folder / name, sound, rate)
    soundfile.write(folder / "loud.wav", 1e30 * x, 8192, subtype="FLOAT")
    soundfile.write(folder / "nan.wav", np.nan * x, 8192, subtype="FLOAT")
    ten_hours(folder / "long.flac")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("no sound")
    if not (folder / "fifo.wav").exists():
        os.mkfifo(folder / "fifo.wav")
    return sorted(map(str, folder.iterdir()))


def ten_hours(path: Path) -> None:
    """A small FLAC whose header claims ten hours."""
    soundfile.write(path, np.sin(np.arange(8192)), 8192)
    content = bytearray(path.read_bytes())
    field = int.from_bytes(content[18:26], "big")  # of STREAMINFO; its last 36 bits count the samples
    content[18:26] = (field >> 36 << 36 | 36000 * 8192).to_bytes(8, "big")
    path.write_bytes(content)


@st.composite
def _lists(draw: Callable[..., Any], plant: Plant, sounds: list[str], scratch: Path) -> list[str]:
    rng = draw(st.randoms(use_true_random=False))  # whose every choice is hypothesis's own
    verb = rng.choice(VERBS)
    words = st.text(st.characters(exclude_characters="\0/~.", exclude_categories=["Cs"]), max_size=12)
    junk = lambda: draw(st.sampled_from(JUNK) | words)  # noqa: E731
    good: dict[str, list[str]] = {
        "--profile": [rng.choice(PROFILES)], "--loss": [rng.choice(("p", "pnp", "sp", "P", "pnp-mean"))],
        "--seed": [rng.choice(("0", "0", "1", "-1", "2e3"))], "--form": [rng.choice(("html", "latex", "pdf"))],
        "--verify": [rng.choice(("0", "3", "x"))], "--workers": [rng.choice(("1", "0", "two"))],
        "--out": [str(rng.choice((plant.root, plant.root / "nowhere", "/dev/null")))], "--fewer": [], "--curve": [],
        "--synth": [rng.choice(("arpeggio", "drum", "bell"))], "--variant": [rng.choice(("code", "paper", "all", "x"))],
        "--max-hours": [rng.choice(("0", "-1", "x"))], "--device": [rng.choice(("cpu", "cuda:7", "tpu"))],
        "--threads": [rng.choice(("1", "0"))], "-h": [], "--los": ["p"], "--jobs": [rng.choice(("1", "0", "two"))],
        "--starts": [rng.choice(("4", "0", "x"))], "--steps": [rng.choice(("3", "0", "-1"))], "--json": [],
        "--finish": [rng.choice(("phi", "waveform", "x"))], "--columns": [],
        "--set": [rng.choice(("f_c=700", "gamma=nan", "f_c", "pitch=3", "=", "f_m=1e999"))],
        "--scale": [rng.choice(("f_c=2", "f_c=x", "tau=0"))],
    }  # fmt: skip
    if verb in ("match", "morph"):
        good["--out"] = [str(rng.choice((scratch / "out", "/dev/null")))]
    if verb in ("synth", "dataset", "transform"):
        good["--out"] = [str(scratch / rng.choice(("x.wav", "x.csv", "no/such/x.wav")))]
    of = {
        "dataset": ["--profile", "--out"], "metrics": ["--profile", "--verify", "--workers", "--out"],
        "train": ["--loss", "--profile", "--seed", "--max-hours", "--device", "--threads", "--out"],
        "evaluate": ["--loss", "--profile", "--seed", "--curve", "--out"],
        "table": ["--profile", "--seed", "--form", "--fewer", "--out"], "synth": ["--out", "--synth", "--variant"],
        "run": ["--workers", "--profile"], "match": ["--synth", "--out", "--jobs", "--finish"],
        "transform": ["--out", "--set", "--scale", "--synth"], "morph": ["--out", "--steps", "--synth"],
    }  # fmt: skip
    arguments = [verb] if verb else []
    some = rng.choice(([rng.choice(sounds)], rng.choices(sounds, k=2), [str(plant.root / "sounds")], ["nowhere.wav"]))
    positional = {"synth": ["700", "8", "2"], "match": some, "transform": some[:1], "morph": rng.choices(sounds, k=2)}
    arguments += positional.get(verb, [])
    for option in of.get(verb, []):
        if rng.random() < 0.7 or option in ("--loss", "--profile"):
            arguments += [option, *good[option]]
    for _ in range(rng.choice((0, 0, 1, 1, 2))):  # and something that does not belong there
        place = rng.randrange(len(arguments) + 1)
        way = rng.randrange(4)
        if way == 0:
            arguments[place:place] = [junk()]
        elif way == 1 and arguments:
            arguments.pop(min(place, len(arguments) - 1))
        elif way == 2 and place < len(arguments):
            arguments[place] = junk()
        else:
            option = rng.choice(list(good))
            arguments[place:place] = [option, *good[option]]
    return arguments


def one(plant: Plant, arguments: list[str]) -> Outcome:
    """Run the command line in this process; what would take minutes is stopped at the door."""
    verb = arguments[0] if arguments and arguments[0] in VERBS else "no verb"
    out, err = io.StringIO(), io.StringIO()

    def stop(*_args: object, **_options: object) -> None:
        raise ValueError("stopped by the campaign: this would compute")

    def match_as(source: str, _config: object) -> None:
        read_sound(source)
        raise ValueError(f"{source}: stopped by the campaign: this would compute")

    with (
        mock.patch.dict(os.environ, {"PNPKIT_DATA": str(plant.root)}),
        mock.patch.object(sys, "argv", ["pnpkit", *arguments]),
        mock.patch("pnpkit.experiment.workspace.train", stop),
        mock.patch("pnpkit.experiment.pipeline.run_tasks", stop),
        mock.patch("pnpkit.experiment.precompute.metrics.run_tasks", stop),
        mock.patch("pnpkit.experiment.precompute.metrics.metrics_of", stop),
        mock.patch("pnpkit.experiment.precompute.metrics.create_store", stop),
        mock.patch("pnpkit.experiment.workspace.compute_inputs", stop),
        mock.patch("pnpkit.experiment.evaluation.folder.evaluate", stop),
        mock.patch("pnpkit.experiment.precompute.atlases.find_atlas"),
        mock.patch("pnpkit.experiment.machine.run_tasks", stop),
        mock.patch("pnpkit.experiment.matches.match_as", match_as),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
            code: object = "returned"
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException as error:
            return Outcome("arguments", verb, "traceback", f"{arguments}: {type(error).__name__}: {error}")
    said = [line for line in err.getvalue().splitlines() if line.strip()]
    detail = f"{arguments}: {code}: {said}"
    if code == 0:
        return Outcome("arguments", verb, "silent" if "nan" in out.getvalue().split() else "clean exit", detail)
    if code not in (1, 2, 3) or "Traceback" in err.getvalue() or "our fault" in err.getvalue():
        return Outcome("arguments", verb, "traceback", detail)
    if code == 2 and not arguments and out.getvalue():
        return Outcome("arguments", verb, "clean exit", detail)
    named = bool(said) and all(line.startswith("pnpkit: ") for line in said)
    return Outcome("arguments", verb, "noticed" if named else "unnamed", detail)
