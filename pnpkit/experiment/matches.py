"""Sounds in files, matched: which files, with which synthesiser, and what is done to each."""

import io
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pnpkit._checks import require_whole
from pnpkit._names import require_known
from pnpkit.audio import read_sound, require_unclipped, resolution_of
from pnpkit.experiment.precompute.atlases import AtlasConfig, atlas_config, find_atlas, matching_problem
from pnpkit.experiment.systems import called
from pnpkit.jtfs import Phi
from pnpkit.matching import Atlas, Match, match
from pnpkit.matching.match import flat_by_nature
from pnpkit.matching.recording import Fitted, fitted
from pnpkit.synth import Synthesiser

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")  # looked for in a folder
STDIN = "standard input"
VARIANT = " --variant "  # between a synthesiser's name and its variant's, as on the command line


@dataclass(frozen=True)
class MatchConfig:
    """All that changes the result of a match.

    Args:
        atlas: where to start; names the synthesiser.
        starts: of its nearest sounds, how many are tried.
        steps: of each descent, at most.
        finish: ``"phi"`` or ``"waveform"``.
    """

    atlas: AtlasConfig
    starts: int = 4
    steps: int = 48
    finish: str = "phi"

    def __post_init__(self) -> None:
        require_known("finish", self.finish, ("phi", "waveform"))
        require_whole("n_starts", self.starts, 1)
        require_whole("steps", self.steps, 0)

    @property
    def synth(self) -> Synthesiser:
        """g, its gain's gradient attached."""
        return matching_problem(self.atlas.grid).synth

    @property
    def name(self) -> str:
        """The synthesiser's, with its variant where that is not the first."""
        return called(self.atlas.grid, VARIANT)


def match_file(
    source: str | Path,
    synth: str = "arpeggio",
    variant: str | None = None,
    *,
    n_starts: int = 4,
    steps: int = 48,
    finish: Literal["phi", "waveform"] = "phi",
) -> Match:
    """Find the parameters of a sound in a file, as ``pnpkit match`` does.

    Args:
        source: WAV, FLAC, OGG, MP3 or AIFF of any rate, depth, length and number of channels.
        synth: ``"arpeggio"``, ``"drum"``, or ``module:attribute`` of another. Its atlas comes with the package, or is
            made in the user's cache at first, which takes minutes.
        variant: of the synthesiser; its headline one by default.
        n_starts, steps, finish: as of :func:`~pnpkit.matching.match`; as on the command line, more steps by default.

    Raises:
        ValueError: in one line naming the file, if it cannot be read or matched.
        TypeError: if the synthesiser is no name; of an object, :func:`~pnpkit.matching.match` takes what
            :func:`~pnpkit.audio.read_sound` and :func:`~pnpkit.matching.recording.fitted` give.

    >>> import soundfile, tempfile, torch
    >>> from pnpkit import Arpeggio
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     x = Arpeggio()(torch.tensor([700.0, 8.0, 2.0], dtype=torch.float64))
    ...     soundfile.write(f"{folder}/x.wav", 0.5 * x.numpy(), 8192, subtype="FLOAT")
    ...     match_file(f"{folder}/x.wav").verdict
    'made by it'
    """
    if not isinstance(synth, str):
        raise TypeError(f"a synthesiser is named, as 'arpeggio' or 'my_synth:SYNTH', not {synth!r}; match() takes one")
    return match_as(str(source), MatchConfig(atlas_config(synth, variant), n_starts, steps, finish))[0]


def match_as(source: str, config: MatchConfig) -> tuple[Match, Fitted]:
    """Read, fit and match one sound; ``ValueError`` in one line that names it."""
    file = io.BytesIO(sys.stdin.buffer.read()) if source == "-" else source
    x, rate = read_sound(file)
    g, phi, atlas = instrument(config.atlas)  # which may be made first
    try:
        sound = fitted(x, rate, g)
        if not flat_by_nature(g):
            require_unclipped(file, sound.part)
        options: Any = {"n_starts": config.starts, "steps": config.steps, "finish": config.finish}
        # Rounding is spread over the band of the file, of which the synthesiser has a part
        options["resolution"] = resolution_of(file) * min(1.0, g.sample_rate / rate) ** 0.5
        found = match(sound.x, g.sample_rate, g, phi, starts=atlas, **options)
        return replace(found, synth=config.name, begins=sound.part[0]), sound
    except ValueError as error:
        name, said = STDIN if source == "-" else source, str(error)
        if not said.startswith(name):
            said = f"{name}{said.removeprefix('the sound')}" if said.startswith("the sound ") else f"{name}: {said}"
        raise ValueError(said) from error


@cache
def instrument(config: AtlasConfig) -> tuple[Synthesiser, Phi, Atlas]:
    """Synthesiser, descriptor and atlas, made once a process."""
    problem = matching_problem(config.grid)
    return problem.synth, problem.phi, find_atlas(config)


def sounds_in(paths: Iterable[str]) -> list[str]:
    """The files given, and the sounds of the folders given, hidden ones left out, in order, each once.

    Raises:
        ValueError: if a folder holds no sound.
    """
    found: dict[str, str] = {}
    for path in paths:
        inside = [path]
        if path != "-" and Path(path).is_dir():
            inside = [os.path.join(at, name) for at, name in _visible(path) if Path(name).suffix.lower() in SUFFIXES]
            inside = sorted(name for name in inside if Path(name).is_file())
            if not inside:
                raise ValueError(f"{path} holds no sound: {', '.join(SUFFIXES)}")
        for one in inside:
            found.setdefault(one if one == "-" else os.path.realpath(one), one)
    return list(found.values())


def _visible(folder: str) -> Iterable[tuple[str, str]]:
    """Folder and name of every file below a folder; what is hidden, and what is in a hidden folder, left out."""
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from ((at, name) for name in names if not name.startswith("."))
