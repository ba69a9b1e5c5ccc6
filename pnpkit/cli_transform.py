"""Verbs that make another sound of a matched one: ``transform`` and ``morph``."""

import math
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pnpkit._names import Misuse, require_known
from pnpkit.cli_matching import Finish, Starts, Steps, Variant
from pnpkit.progress import bars

if TYPE_CHECKING:
    from pnpkit.experiment.matches import MatchConfig
    from pnpkit.matching import Match
    from pnpkit.synth import ParameterSpace, Synthesiser

Synth = Annotated[
    str | None,
    typer.Option("--synth", help="arpeggio, drum, or module:attribute; that of a match, else arpeggio, by default."),
]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(transform)
    app.command("morph")(morph_)


def transform(
    file: Annotated[str, typer.Argument(help="A sound, or a match (.npz) that `pnpkit match --out` has left.")],
    out: Annotated[Path, typer.Option("--out", help="WAV file to write, mono, 16 bits.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE, in the parameter's unit.")] = None,
    scale: Annotated[list[str] | None, typer.Option("--scale", help="NAME=FACTOR, after --set.")] = None,
    synth: Synth = None,
    variant: Variant = None,
    starts: Starts = 4,
    steps: Steps = 48,
    finish: Finish = "phi",
) -> None:
    """Analyse a sound, change its parameters, and synthesise it again, at its level and its place in the recording.

    A sound that the synthesiser did not make is warned of, and goes on as the nearest one found; the exit code is 0.
    """
    from pnpkit._files import write_atomically
    from pnpkit.audio import wav_bytes
    from pnpkit.matching.placed import Placed, after_silence

    saved = _saved(file)
    config = _config(saved, synth, variant, starts, steps, finish)
    g, space = config.synth, config.synth.parameters
    changes = [(*_change(text, space), k) for k, texts in enumerate((set_, scale)) for text in texts or ()]
    require_wav(out)
    _check(file, out)
    found = _answer(file, saved, config)
    theta = found.theta.clone()
    for i, value, factor in changes:
        theta[i] = theta[i] * value if factor else value
    refuse_alias(g, theta.tolist())
    say_outside(g, theta.tolist())
    world = Placed(g, max(1.0, 2 * abs(found.level)), g.n_samples / g.sample_rate)
    x = world(world.whole(theta, found.level, found.delay))
    peak = require_sound(out, space, theta.tolist(), x)
    x = after_silence(x, round(found.begins * g.sample_rate))
    gain = 1.0 if peak <= 1 else None
    if gain is None:
        print(f"pnpkit: {out} would clip: its peak is brought from {peak:.2f} to 0.9", file=sys.stderr)
    write_atomically(out, wav_bytes(x, g.sample_rate, gain))
    for p, before, after in zip(space.parameters, found.theta.tolist(), theta.tolist(), strict=True):
        print(f"{p.name}\t{before:.5g}\t{after:.5g}\t{p.unit}".removesuffix("\t1"))


def morph_(
    first: Annotated[str, typer.Argument(metavar="A", help="A sound, or a match (.npz).")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the sounds, 00.wav on, and of morph.csv.")],
    steps: Annotated[int, typer.Option(min=1, help="Between the two: so many sounds and one.")] = 8,
    synth: Synth = None,
    variant: Variant = None,
    starts: Starts = 4,
    finish: Finish = "phi",
) -> None:
    """Go from one sound to another in steps that sound equal: along the geodesic of the metric.

    Sounds have the synthesiser's own level and place, and one peak of 0.9 together; those of an earlier morph in the
    folder are replaced. A row of morph.csv has the step, each parameter in its unit, the length of the step that leads
    there, in units of Φ, and whether the path converged. A sound that the synthesiser did not make, and a path that did
    not converge, are warned of; the exit code is 0.
    """
    import pandas as pd

    from pnpkit._files import write_atomically
    from pnpkit.audio import common_gain, wav_bytes
    from pnpkit.experiment.precompute.atlases import matching_problem
    from pnpkit.matching import morph

    saved = _saved(first, second)
    config = _config(saved, synth, variant, starts, finish=finish)
    others = [p for p in out.glob("*.wav") if p.stem.isdecimal() and int(p.stem) > steps]  # of a longer morph, if any
    if out.exists() and not out.is_dir():
        raise Misuse(f"--out is a folder, and {out} is a file")
    for file in (first, second):
        _check(file, *(out / f"{k:02d}.wav" for k in range(steps + 1)), *others)
    a, b = (_answer(file, saved, config) for file in (first, second))
    problem = matching_problem(config.atlas.grid)
    g = problem.synth
    with bars() as progress:
        path = morph(a.theta, b.theta, steps, g=g, phi=problem.phi, progress=progress)
    sounds = list(g(path.theta))
    gain = common_gain(sounds)
    if (out / "morph.csv").exists():  # a longer morph was here: its sounds are not of this one
        for old in others:
            old.unlink(missing_ok=True)
    (out / "morph.csv").unlink(missing_ok=True)  # written last: a folder without it is not whole
    for k, x in enumerate(sounds):
        write_atomically(out / f"{k:02d}.wav", wav_bytes(x, g.sample_rate, gain))
    table = pd.DataFrame(path.theta.numpy(), columns=list(g.parameters.names)).rename_axis("step")
    table = table.assign(length=[0.0, *path.lengths.tolist()], converged=path.converged)
    write_atomically(out / "morph.csv", table.to_csv().encode())
    print(
        f"{steps} steps of {float(path.lengths.mean()):.3g} in Φ, uneven by {100 * path.unevenness:.1f} %; together "
        f"{float(path.lengths.sum()):.4g}, where the straight line has {float(path.straight_lengths.sum()):.4g}"
    )
    if not path.converged:
        print("pnpkit: warning: the path did not converge: its steps may not sound equal", file=sys.stderr)


def refuse_alias(g: "Synthesiser", theta: list[float]) -> None:
    """``Misuse`` of a frequency that would sound as another."""
    nyquist = {"Hz": g.sample_rate / 2, "rad/s": math.pi * g.sample_rate}
    for p, value in zip(g.parameters.parameters, theta, strict=True):
        if abs(value) >= nyquist.get(p.unit, math.inf):
            raise Misuse(f"{p.name} = {value:.4g} is not below half the sampling rate, {nyquist[p.unit]:.6g} {p.unit}")


def say_outside(g: "Synthesiser", theta: list[float]) -> None:
    """Warn of parameters out of the range of the data set."""
    for p, value in zip(g.parameters.parameters, theta, strict=True):
        if not (p.low <= value <= p.high or p.at_bound(value)):
            unit = "" if p.unit == "1" else f" {p.unit}"
            print(f"pnpkit: {p.name} = {value:.4g} is out of range: {p.low:g} to {p.high:g}{unit}", file=sys.stderr)


def number(text: str, otherwise: str) -> float:
    """What a word says; ``Misuse`` that says something else if it is no finite number."""
    with suppress(ValueError):
        if math.isfinite(value := float(text)):
            return value
    raise Misuse(otherwise)


def require_wav(out: Path) -> None:
    """``Misuse`` unless a file of that name may be written as WAV."""
    if out.suffix.lower() != ".wav":
        raise Misuse(f"{out} must end in .wav, which is what is written")
    if out.is_dir():
        raise Misuse(f"{out} is a folder: --out names the file to write")


def require_sound(out: Path, space: "ParameterSpace", theta: list[float], x: Any) -> float:
    """The peak of a sound; ``ValueError`` naming the parameters if it is silent or not finite."""
    peak = float(x.abs().max())
    if not 0 < peak < float("inf"):
        values = ", ".join(f"{p.name} = {v:.4g}" for p, v in zip(space.parameters, theta, strict=True))
        raise ValueError(f"{out} is not written: with {values} the synthesiser's sound is silent or not finite")
    return peak


def _check(file: str, *outs: Path) -> None:
    """The errors of a file that is no sound, or that would be written over, before any is matched."""
    from pnpkit.audio import resolution_of

    if file != "-" and Path(file).suffix.lower() != ".npz":
        resolution_of(file)
    for out in outs:
        if out.exists() and Path(file).exists() and out.samefile(file):
            raise ValueError(f"{out} is what is read: choose another --out")


def _saved(*files: str) -> dict[str, "Match"]:
    """Those of some files that are matches."""
    from pnpkit.matching import Match

    return {file: Match.load(file) for file in files if Path(file).suffix.lower() == ".npz"}


def _config(
    saved: dict[str, "Match"], synth: str | None, variant: str | None, starts: int, steps: int = 48, finish: str = "phi"
) -> "MatchConfig":
    """How sounds are matched: with the synthesiser named, else with that of a match among them."""
    from pnpkit.experiment.matches import VARIANT, MatchConfig
    from pnpkit.experiment.precompute.atlases import atlas_config

    named = next((found.synth for found in saved.values() if found.synth), "")
    if named and not synth:
        synth, _, its = named.partition(VARIANT)
        variant = variant or its or None
    return MatchConfig(atlas_config(synth or "arpeggio", variant), starts, steps, finish)


def _answer(file: str, saved: dict[str, "Match"], config: "MatchConfig") -> "Match":
    """A match that was saved, or that of a sound; its sentence is told."""
    from pnpkit.experiment.matches import match_as
    from pnpkit.experiment.precompute.atlases import find_atlas
    from pnpkit.matching.answer import NOT

    if file in saved:
        found = saved[file]
        try:
            found.check(config.synth)
        except ValueError as error:
            raise ValueError(f"{file}: {error}; see --synth") from error
    else:
        with bars() as progress:
            find_atlas(config.atlas, progress=progress)
        found = match_as(file, config)[0]
    print(f"{file}: {found.sentence()}", file=sys.stderr)
    if found.verdict == NOT or not found.converged:
        print(f"pnpkit: warning: what is made is not of {file}, but of the nearest sound found", file=sys.stderr)
    return found


def _change(text: str, space: "ParameterSpace") -> tuple[int, float]:
    """Which parameter, and the number, of NAME=NUMBER."""
    name, _, said = text.partition("=")
    require_known("parameter", name, space.names)
    return space.names.index(name), number(said, f"{text!r} must be NAME=NUMBER")
