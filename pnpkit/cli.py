"""The command line: ``pnpkit VERB``. It parses, calls the library, and turns errors into one line and an exit code."""

import difflib
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pnpkit import __version__, cli_experiment, cli_matching, cli_transform
from pnpkit._names import Misuse
from pnpkit.experiment.config import LOSS_LABELS
from pnpkit.experiment.profiles import PROFILES

# Each verb imports what it needs when it runs: torch and timm take seconds that `--help` has no use for.

ERRORS = (ValueError, OSError, RuntimeError, FloatingPointError, ImportError)
REPORT = "https://github.com/pnpkit/pnpkit/issues"
TRACEBACK = "--traceback"
_HOME = re.compile(r"^((?:--[\w-]+=)?)(~.*)", re.DOTALL)  # a path that the shell leaves, as of --out=~/x
JOBS = {"match", "analyse"}  # verbs whose processes are --jobs
INTERRUPTED = 130


class _Verbs(TyperGroup):
    """A group that answers an unknown verb with the list of valid ones."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            verbs = ", ".join(sorted(self.commands))
            near = difflib.get_close_matches(args[0], self.commands, 1)
            meant = f", did you mean {near[0]!r}?" if near else ";"
            print(f"pnpkit: unknown verb {args[0]!r}{meant} valid verbs: {verbs}", file=sys.stderr)
            raise typer.Exit(2)
        return super().resolve_command(ctx, [_HOME.sub(lambda m: m[1] + os.path.expanduser(m[2]), a) for a in args])


app = typer.Typer(
    cls=_Verbs, no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
cli_experiment.register(app)


def _print_version(wanted: bool) -> bool:
    if wanted:
        print(__version__)
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Perceptual–neural–physical sound matching."""


@app.command(context_settings={"ignore_unknown_options": True})  # so that −1.7 is a number and no option
def synth(
    theta: Annotated[
        list[str],
        typer.Argument(
            help="Parameters in raw units. Arpeggio: f_c (512 to 1024 Hz), f_m (4 to 16 Hz), gamma (0.5 to 4 "
            "octave/s). Drum: omega (251 to 6283 rad/s), tau (0.07 to 0.8 s), p (1e-05 to 0.2), D (1e-05 to 0.3), "
            "alpha (0 to 1). A value outside these ranges, those of the data set, is warned of."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="WAV file to write, mono, 16 bits, its peak at 0.9.")],
    name: Annotated[str, typer.Option("--synth", help="arpeggio, drum, or module:attribute.")] = "arpeggio",
    variant: Annotated[
        str | None, typer.Option(help="arpeggio: code, or paper (Eqs 6–8 as printed); drum: all (modes), or diagonal.")
    ] = None,
) -> None:
    """Synthesise one sound."""
    import torch

    from pnpkit._files import write_atomically
    from pnpkit.audio import wav_bytes
    from pnpkit.experiment.config import GridConfig
    from pnpkit.experiment.problem import get_problem
    from pnpkit.experiment.systems import get_system

    g = get_problem(GridConfig(name, variant or next(iter(get_system(name).variants)))).synth
    cli_transform.require_wav(out)
    values = [cli_transform.number(text, _misread(text)) for text in theta]
    if len(values) != len(g.parameters):
        names = ", ".join(g.parameters.names)
        raise Misuse(f"{name} takes {len(g.parameters)} numbers, {names}, not {len(values)}: {' '.join(theta)}")
    try:
        sound = g(torch.tensor(values, dtype=torch.float64))
    except ValueError as error:
        raise Misuse(str(error)) from error
    cli_transform.refuse_alias(g, values)
    cli_transform.require_sound(out, g.parameters, values, sound)
    cli_transform.say_outside(g, values)
    write_atomically(out, wav_bytes(sound, g.sample_rate))


def _misread(text: str) -> str:
    """What is no parameter is taken for a mistyped option if it looks like one."""
    return f"there is no option {text.partition('=')[0]}" if text.startswith("--") else f"{text!r} is no finite number"


cli_matching.register(app)
cli_transform.register(app)


def main() -> None:
    """Entry point: misuse and unknown names exit with 2, unfinished work with 3, other failures with 1 and one line."""
    # Torch's threads wait actively for their next loop, on the cores that the loops of numba need meanwhile: a training
    # step on two threads took a sixth longer. Read when torch is loaded, which is later.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Greek must not end a verb after its work
    warnings.formatwarning = lambda message, *_, **__: f"pnpkit: {message}\n"  # no path, no line of source
    arguments = [argument for argument in sys.argv[1:] if argument != TRACEBACK]
    try:
        code = app(arguments, standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # typer's own answer to Ctrl-C
            print(f"pnpkit: {_stopped()}", file=sys.stderr)
        raise
    except BrokenPipeError:  # `pnpkit dataset | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (Exception, KeyboardInterrupt) as error:
        if TRACEBACK in sys.argv:
            raise
        code, said = _told(error)
        if said:
            print(f"pnpkit: {said}", file=sys.stderr)
        sys.exit(code)


def _stopped() -> str:
    """What an interruption leaves."""
    kept = not JOBS & set(sys.argv[1:2]) or any(a.partition("=")[0] == "--out" for a in sys.argv)
    what = "what was finished is kept, and the same command goes on" if kept else "without --out nothing is kept"
    return f"interrupted: {what}"


def _told(error: BaseException) -> tuple[int, str]:
    """Exit code of an error, and one line for it."""
    line = "; ".join(part.strip() for part in str(error).splitlines() if part.strip())
    if hasattr(error, "format_message"):  # click's: misuse, by its message
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
            return 2, ""
        return 2, _misuse(" ".join(error.format_message().split()))
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return INTERRUPTED, _stopped()
    again = f"run again with fewer {'--jobs' if JOBS & set(sys.argv[1:2]) else '--workers'}; what is done is kept"
    if isinstance(error, MemoryError) or "not enough memory" in line or "can't allocate memory" in line:
        return 1, f"there is not enough memory: {again}"
    if type(error).__name__ in ("BrokenProcessPool", "KilledWorker"):  # the second is Dask's
        return 1, f"a worker was ended from outside, most likely because memory ran out: {again}"
    if isinstance(error, OSError) and error.filename and error.strerror:
        line = f"{error.filename}: {error.strerror}"
    if isinstance(error, ERRORS) and line:
        return 2 if isinstance(error, Misuse) else 1, line
    return 1, f"{type(error).__name__}: {line or 'no message'}. This is our fault: {REPORT} (details: {TRACEBACK})"


def _misuse(said: str) -> str:
    """Click's message, with the option that a stray argument was meant for."""
    if "unexpected extra argument" in said:
        stray = (said.rstrip(")").rpartition("(")[2].split() or [""])[0]
        meant = {"--profile": stray in PROFILES, "--loss": stray in LOSS_LABELS, "--seed": stray.isdigit()}
        said += "".join(f": did you mean {option} {stray}?" for option, fits in meant.items() if fits)
    return said


if __name__ == "__main__":
    main()
