"""Every check, whatever the others said, and one summary: what `make test` runs.

python tools/check.py [STEP ...]     all steps, or those named
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = pathlib.Path(sys.executable).parent
PYTEST = [str(BIN / "python"), "-m", "pytest", "-q", "-rs"]
TWO = ["-n", "2", "--dist", "loadfile"]  # a file's tests, and a chapter's cells, stay in one process
BOOK = [str(BIN / "jupyter-book")]
NBVAL = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/nbval_sanitize.cfg", "--durations=5"]

STEPS: dict[str, tuple[str, list[str]]] = {
    "lint": ("ruff", [str(BIN / "ruff"), "check", "."]),
    "types": ("mypy", [str(BIN / "mypy")]),
    "site": ("site built without a warning", [*BOOK, "build", ".", "-W", "-n", "--keep-going"]),
    "unit": ("unit tests, examples, guards", [*PYTEST, *TWO, "tests", "pnpkit", "-m", "not site"]),
    "chapters": ("chapters run again and compared", [*PYTEST, *TWO, *NBVAL, "book"]),
    "browser": ("site opened in a browser, printed", [*PYTEST, *TWO, "tests/book", "-m", "site"]),
}
BESIDE = ("types", "site")  # of one process each


def run(name: str, env: dict[str, str], at_once: bool = True) -> tuple[int, str]:
    """Run a step, passing on what it prints, at once or at its end; its exit code and its line of the summary."""
    title, command = STEPS[name]
    said, last, start = [f"\n== {name}: {title}\n"], "", time.perf_counter()
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            said.append(line)
            last = re.sub(r"\x1b\[[0-9;]*m", "", line).strip(" =\n") or last
            if at_once:
                print(*said, sep="", end="", flush=True)
                said.clear()
    print(*said, sep="", end="", flush=True)
    code = process.returncode
    return code, f"{name:9} {'FAILED' if code else 'ok':6} {time.perf_counter() - start:7.1f} s  {last[:90]}"


def main(names: list[str]) -> int:
    """Run the steps named (all, where none is) and print the summary; 1 if any failed."""
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        print(f"unknown step {unknown[0]!r}: use some of {' '.join(STEPS)}", file=sys.stderr)
        return 2
    env = dict(os.environ, OMP_NUM_THREADS="1", PYTHONHASHSEED="0", NO_COLOR="1", PNPKIT_DATA=str(ROOT / "data"))
    env["IPYTHONDIR"] = str(ROOT / "build" / "ipython")  # no start-up files of the user's
    env.pop("MPLBACKEND", None)  # it would drop the chapters' figures
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes would compile the package anew
    names = names or list(STEPS)
    if "site" in names:
        shutil.rmtree(ROOT / "_build", ignore_errors=True)  # an unchanged page would not be warned about again
    ended: list[tuple[int, str]] = []
    with ThreadPoolExecutor(len(BESIDE)) as pool:
        for beside, group in groupby(names, BESIDE.__contains__):
            ended += (pool.map if beside else map)(lambda name: run(name, env, name not in BESIDE), group)
    codes, lines = zip(*ended, strict=True)
    failed = any(codes)
    print("\n== summary", *lines, "FAILED" if failed else "every check passed", sep="\n", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
