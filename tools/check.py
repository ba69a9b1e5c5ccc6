"""Every check, one after the other, whatever the earlier ones said, and one summary: what `make test` runs.

python tools/check.py [STEP ...]     all steps, or those named
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = pathlib.Path(sys.executable).parent
PYTEST = [str(BIN / "python"), "-m", "pytest", "-q", "-rs"]
TWO = ["-n", "2", "--dist", "loadfile"]  # a file's tests, and a chapter's cells, stay in one process
BOOK = [str(BIN / "jupyter-book")]
NBVAL = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/nbval_sanitize.cfg", "--durations=5"]

STEPS: dict[str, tuple[str, list[str]]] = {
    "lint": ("ruff", [str(BIN / "ruff"), "check", "."]),
    "types": ("mypy", [str(BIN / "mypy")]),
    "unit": ("unit tests, examples, guards", [*PYTEST, *TWO, "tests", "pnpkit", "-m", "not site"]),
    "chapters": ("chapters run again and compared", [*PYTEST, *TWO, *NBVAL, "book"]),
    "site": ("site built without a warning", [*BOOK, "build", ".", "-W", "-n", "--keep-going"]),
    "browser": ("site opened in a browser, printed", [*PYTEST, *TWO, "tests/book", "-m", "site"]),
}


def run(command: list[str], env: dict[str, str]) -> tuple[int, str]:
    """Run a step, passing on what it prints; return its exit code and the last line of that."""
    last = ""
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last = re.sub(r"\x1b\[[0-9;]*m", "", line).strip(" =\n") or last
    return process.returncode, last


def main(names: list[str]) -> int:
    """Run the steps named (all, where none is) and print the summary; 1 if any failed."""
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        print(f"unknown step {unknown[0]!r}: use some of {' '.join(STEPS)}", file=sys.stderr)
        return 2
    env = dict(os.environ, OMP_NUM_THREADS="1", PYTHONHASHSEED="0", NO_COLOR="1", PNPKIT_DATA=str(ROOT / "data"))
    env["IPYTHONDIR"] = str(ROOT / "build" / "ipython")  # no start-up files of the user's
    env.pop("MPLBACKEND", None)  # it would drop the chapters' figures
    rows, failed = [], False
    for name in names or STEPS:
        title, command = STEPS[name]
        if name == "site":
            shutil.rmtree(ROOT / "_build", ignore_errors=True)  # an unchanged page would not be warned about again
        print(f"\n== {name}: {title}", flush=True)
        start = time.perf_counter()
        code, last = run(command, env)
        failed |= code != 0
        rows.append(f"{name:9} {'FAILED' if code else 'ok':6} {time.perf_counter() - start:7.1f} s  {last[:90]}")
    print("\n== summary", *rows, "FAILED" if failed else "every check passed", sep="\n", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
