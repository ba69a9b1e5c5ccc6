"""Execute one chapter, book/src/NAME.md, into a notebook that holds its outputs and nothing of the machine it ran on.

    python tools/execute.py book/src/04_metric.md book/04_metric.ipynb [-p profile smoke] [--force]

The notebook carries a hash of what it was made from (its text, what it uses of the library, this script, its
parameters), one of each folder of artefacts that it read, and one of itself: where they agree there is nothing to do,
whatever the files' dates say. It is written elsewhere, checked, and put in place in one step, so a notebook that exists
is whole. Executing an unchanged chapter again changes no byte of it.
"""

import argparse
import ast
import functools
import hashlib
import json
import os
import pathlib
import re
import sys
import time
from collections.abc import Mapping
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
TIMEOUT = 3600  # seconds a cell may take
# The first cell of every notebook, for the button that opens it on Colab: not in the text, not on the page
LAUNCH = """# On Colab this takes the repository along and installs it, once a session; elsewhere it does nothing.
import sys

if "google.colab" in sys.modules:
    !git clone --quiet --depth 1 https://github.com/pnpkit/pnpkit /content/pnpkit
    %pip install --quiet "/content/pnpkit[chapters]"
    %cd /content/pnpkit/book"""


def fingerprint(src: pathlib.Path, parameters: Mapping[str, str]) -> str:
    """SHA-256 of everything in the repository that a chapter's outputs follow from, its artefacts excepted."""
    digest = hashlib.sha256()
    for path in [src, *library_of(src.read_text(encoding="utf-8")), pathlib.Path(__file__)]:
        digest.update(path.resolve().relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(json.dumps(dict(parameters), sort_keys=True).encode())
    return digest.hexdigest()


def library_of(text: str) -> list[pathlib.Path]:
    """Files of the library that a chapter imports, through others too, with the packages that they are in.

    What is loaded by a name at run time (a synthesiser of the user's) is none of these.
    """
    statements = re.findall(
        r"^ *(?:from pnpkit[\w.]* import (?:\([^)]*\)|[^\n(]+)|import pnpkit[^\n]*)", text, re.MULTILINE
    )
    found: set[pathlib.Path] = set()
    todo = [name for line in statements for name in imported(ast.parse(line.strip()))]
    while todo:
        parts = todo.pop().split(".")
        for path in (ROOT.joinpath(*parts, "__init__.py"), ROOT.joinpath(*parts).with_suffix(".py")):
            if path.is_file() and path not in found:
                found.add(path)
                todo += [".".join(parts[:k]) for k in range(1, len(parts))]
                if parts != ["pnpkit"]:  # whose names are loaded when they are used, each from its own place
                    todo += imported(ast.parse(path.read_text(encoding="utf-8")))
    return sorted(found)


def imported(tree: ast.AST) -> list[str]:
    """The modules of the library that a piece of code imports, those included that it takes from a package."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            taken = [f"{front_door().get(alias.name, node.module)}.{alias.name}" for alias in node.names]
            names += [node.module, *taken, *(name.rpartition(".")[0] for name in taken)]
    return [name for name in names if name.split(".")[0] == "pnpkit"]


@functools.cache
def front_door() -> dict[str, str]:
    """Where each public name comes from, as the package's own table says."""
    tree = ast.parse((ROOT / "pnpkit" / "__init__.py").read_text(encoding="utf-8"))
    tables = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "_NAMES"]
    return {name: module for module, names in ast.literal_eval(tables[0]).items() for name in names.split()}


def effective(src: pathlib.Path, wanted: Mapping[str, str]) -> dict[str, str]:
    """The parameters to inject: those that the chapter sets itself (`profile = "laptop"`), to another value.

    So a chapter executed with its own values equals its text cell by cell.
    """
    text = src.read_text(encoding="utf-8")
    own = {name: re.search(rf"^{re.escape(name)} = (['\"])(.*)\1", text, re.MULTILINE) for name in wanted}
    return {name: value for name, value in wanted.items() if (m := own[name]) and m[2] != value}


def out_of_date(out: pathlib.Path, made_from: str) -> str:
    """Why an executed notebook must be made again; "" if it is what would be made now."""
    try:
        notebook = json.loads(out.read_text(encoding="utf-8"))
        marks = dict(notebook["metadata"]["pnpkit"])
    except FileNotFoundError:
        return "not executed yet"
    except (OSError, ValueError, KeyError, TypeError):
        return "not a whole notebook"
    if marks.get("made_from") != made_from:
        return "its text, the library or its parameters have changed"
    if marks.get("content") != content_hash(notebook):
        return "it was changed after it was executed"
    if not isinstance(marks.get("artefacts"), dict):
        return "it does not say which artefacts it read"
    changed = [name for name, value in marks["artefacts"].items() if artefact_hash(name) != value]
    return f"{', '.join(changed)} changed" if changed else ""


def content_hash(notebook: Mapping[str, Any]) -> str:
    """SHA-256 of a notebook but for the marks that this script leaves in it."""
    metadata = {key: value for key, value in notebook["metadata"].items() if key != "pnpkit"}
    text = json.dumps({**notebook, "metadata": metadata}, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def artefacts_read(log: pathlib.Path) -> dict[str, str]:
    """Hash of each folder of artefacts of which a chapter read a record, by the name below :func:`data_folders`."""
    paths = {pathlib.Path(line) for line in log.read_text().splitlines()} if log.exists() else set()
    names = set()
    for path in paths:
        for prefix, root in data_folders().items():
            if path.is_relative_to(root):
                names.add(f"{prefix}/{path.relative_to(root).parts[0]}")
                break
    return {name: artefact_hash(name) for name in sorted(names)}


def data_folders() -> dict[str, pathlib.Path]:
    """Where artefacts are, by what a notebook calls it, which holds no path of a machine."""
    folders = {"data": ROOT / "data"}
    if os.environ.get("PNPKIT_DATA"):
        folders["PNPKIT_DATA"] = pathlib.Path(os.environ["PNPKIT_DATA"]).absolute()
    return folders


def artefact_hash(name: str) -> str:
    """SHA-256 of a file or folder of artefacts, of what git keeps of it: no weights, no inputs, no halves."""
    prefix, _, rest = name.partition("/")
    path = data_folders().get(prefix, ROOT / "no such folder") / rest
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    digest = hashlib.sha256()
    for file in files:
        parts = file.relative_to(path).parts
        made_again = file.suffix == ".safetensors" or file.name.startswith(("features-", "tangents-"))
        unfinished = ".partial" in file.name or "checkpoint" in parts or any(part.startswith(".") for part in parts)
        if not made_again and not unfinished:
            digest.update("/".join(parts).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def scrub(text: str) -> str:
    """Take out of printed text what differs between machines and runs: folders and memory addresses."""
    text = re.sub(r"[^\s\"'<>(]*/site-packages/", "", text)
    text = text.replace(f"{ROOT}/", "").replace(str(ROOT), ".").replace(str(pathlib.Path.home()) + "/", "~/")
    return re.sub(r"\bat 0x[0-9a-fA-F]{6,}", "at 0x0", text)


def scrub_output(output: Any) -> Any:
    """Scrub an output's text; images and sounds (base64) are left as they are."""
    if output.output_type == "stream":
        output["text"] = scrub(output["text"])
    for kind, data in output.get("data", {}).items():
        if kind.startswith("text/") and isinstance(data, str):
            parts = re.split(r"(base64,[A-Za-z0-9+/=]+)", data)  # odd places hold base64
            output["data"][kind] = "".join(part if i % 2 else scrub(part) for i, part in enumerate(parts))
    return output


def merge_streams(outputs: list[Any]) -> list[Any]:
    """Join what a cell printed to one stream: how the kernel cuts it into messages is a matter of timing."""
    merged: list[Any] = []
    first: dict[str, Any] = {}
    for output in outputs:
        if output.output_type == "stream" and output["name"] in first:
            first[output["name"]]["text"] += output["text"]
            continue
        if output.output_type == "stream":
            first[output["name"]] = output
        merged.append(output)
    return merged


def clean(notebook: Any, stem: str, made_from: str) -> Any:
    """Keep the text, the outputs and the tags; drop times, widget states and random cell names."""
    notebook.metadata.clear()
    notebook.metadata.update(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
        pnpkit={"made_from": made_from},
    )
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"{stem}-{i:03d}"
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            cell.metadata.pop("tags")
        if cell.cell_type == "code":
            cell["outputs"] = [scrub_output(output) for output in merge_streams(cell["outputs"])]
    return notebook


def check_kernel() -> None:
    """Make `python3` mean this interpreter, also where the user has installed another kernel of that name."""
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ["JUPYTER_PATH"] = str(pathlib.Path(sys.prefix) / "share" / "jupyter")
    os.environ["IPYTHONDIR"] = str(ROOT / "build" / "ipython")  # no start-up files or history of the user's
    from jupyter_client.kernelspec import KernelSpecManager

    program = pathlib.Path(KernelSpecManager().get_kernel_spec("python3").argv[0])
    # jupyter_client replaces a bare name by the running interpreter
    if program.parent != pathlib.Path(".") and program != pathlib.Path(sys.executable):
        raise SystemExit(f"the python3 kernel is {program}, not this interpreter, {sys.executable}")


def execute(src: pathlib.Path, out: pathlib.Path, parameters: Mapping[str, str], made_from: str) -> None:
    """Run a chapter and put the finished notebook in place; a failing one stays under build/run to be looked at."""
    check_kernel()
    import jupytext
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    work = ROOT / "build" / "run" / out.resolve().relative_to(ROOT)
    work.parent.mkdir(parents=True, exist_ok=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    notebook = jupytext.read(src)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(LAUNCH, metadata={"tags": ["launch", "remove-cell"]}))
    jupytext.write(notebook, work)
    log = work.with_suffix(".read")
    log.unlink(missing_ok=True)
    os.environ["PNPKIT_READ_LOG"] = str(log)  # the library notes there which records it reads
    try:
        papermill.execute_notebook(
            str(work),
            str(work),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(out.parent),
            progress_bar=False,
            execution_timeout=TIMEOUT,
            autosave_cell_every=0,
        )
    except PapermillExecutionError as error:
        left = work.relative_to(ROOT)
        raise SystemExit(f"{src}: a cell failed ({error.ename}); the notebook so far is {left}\n{error}") from None
    notebook = clean(nbformat.read(work, as_version=4), out.stem, made_from)
    code = [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]
    idle = [i for i, cell in code if not cell.execution_count]
    if idle:
        raise SystemExit(f"{src}: cells {idle} were not executed")
    nbformat.validate(notebook)
    nbformat.write(notebook, work)
    content = content_hash(json.loads(work.read_text(encoding="utf-8")))  # as it will be read
    notebook.metadata["pnpkit"] |= {"artefacts": artefacts_read(log), "content": content}
    nbformat.write(notebook, work)
    os.replace(work, out)


def main(argv: list[str] | None = None) -> int:
    """Read the command line, and execute the chapter unless it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("src", type=pathlib.Path, help="the chapter's text, book/src/NAME.md")
    parser.add_argument("out", type=pathlib.Path, help="the notebook to make")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a text parameter")
    parser.add_argument("--force", action="store_true", help="execute it even if it is up to date")
    args = parser.parse_args(argv)
    parameters = effective(args.src, dict(args.p))
    made_from = fingerprint(args.src, parameters)
    reason = out_of_date(args.out, made_from)
    if not reason and not args.force:
        print(f"{args.out}: up to date")
        return 0
    start = time.perf_counter()
    execute(args.src, args.out, parameters, made_from)
    print(f"{args.out}: {time.perf_counter() - start:.1f} s, {args.out.stat().st_size / 1e3:.0f} kB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
