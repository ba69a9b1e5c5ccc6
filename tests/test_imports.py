"""Who may know of whom: one table over the syntax trees, imports inside functions included."""

import ast
import graphlib
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "pnpkit"


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def imported(tree):
    """Dotted names that a module imports, wherever it does: of what a ``from`` names, the module if it is one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports in pnpkit are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in FILES else node.module


IMPORTS = {name: set(imported(tree)) for name, tree in TREES.items() if name != "pnpkit"}  # the front door is lazy
WITHIN = {name: {other for other in found if other in FILES} for name, found in IMPORTS.items()}
FOREIGN = {
    name: {other.split(".")[0] for other in found if other.split(".")[0] != "pnpkit"} - sys.stdlib_module_names
    for name, found in IMPORTS.items()
}


def wing(name):
    return f"{name}.__init__".split(".")[1]


# The rest is the library
ABOVE = {"experiment", "figures", "cli", "cli_experiment", "cli_matching", "cli_transform", "progress", "__main__"}
LIBRARY = {wing(name) for name in WITHIN} - ABOVE
CORE = {"jaxtyping", "numba", "numpy", "pandas", "soundfile", "soxr", "torch"}
ANALYSER = CORE | {"nnAudio", "timm"}
EXPERIMENT = ANALYSER | {"distributed", "safetensors", "scipy", "xarray", "zarr"}
MAY_USE = dict.fromkeys(LIBRARY, CORE) | {
    "analyser": ANALYSER,
    "experiment": EXPERIMENT,
    "figures": {"cycler", "matplotlib", "numpy", "pandas", "scipy", "torch"},
    "cli": {"torch", "typer"},
    "cli_experiment": {"soundfile", "torch", "typer"},
    "cli_matching": {"typer"},
    "cli_transform": {"pandas", "typer"},
    "progress": {"rich"},
    "__main__": set(),
}
MUST_NOT_KNOW = [  # directly or through others
    *((wing_, above) for wing_ in sorted(LIBRARY) for above in sorted(ABOVE)),
    ("synth", "jtfs"),
    ("jtfs", "synth"),
    ("metric", "synth"),
    ("metric", "jtfs"),
    ("losses", "synth"),
    ("losses", "jtfs"),
    ("experiment", "figures"),
    ("experiment", "cli"),
    ("experiment", "progress"),
    ("experiment.training", "experiment.problem"),
    ("figures", "cli"),
]


def closure(name):
    """All modules that importing one brings, with itself."""
    found, todo = set(), [name]
    while todo:
        if (here := todo.pop()) not in found:
            found.add(here)
            todo += WITHIN[here]
    return found


def wings():
    """Wing → wings that it imports."""
    table = {wing(name): set() for name in WITHIN}
    for name, others in WITHIN.items():
        table[wing(name)] |= {wing(other) for other in others} - {wing(name), "__init__"}
    return table


def inside(name, part):
    return f"{name}.".startswith(f"pnpkit.{part}.")


@pytest.mark.parametrize(("who", "whom"), MUST_NOT_KNOW)
def test_no_wing_knows_what_it_must_not(who, whom):
    seen = {name: sorted(m for m in closure(name) if inside(m, whom)) for name in WITHIN if inside(name, who)}
    assert seen
    assert {name: others for name, others in seen.items() if others} == {}


@pytest.mark.parametrize("name", FOREIGN)
def test_every_wing_uses_only_the_packages_of_its_extra(name):
    assert FOREIGN[name] - MAY_USE[wing(name)] == set()


def test_no_imports_in_a_circle():
    """Of modules, nor of wings."""
    graphlib.TopologicalSorter(WITHIN).prepare()
    graphlib.TopologicalSorter(wings()).prepare()


def test_nothing_inside_goes_through_the_front_door_or_reaches_outside():
    """The package's own modules are named where they are, and no string names a folder of the checkout."""
    by_the_door = {name for name, found in IMPORTS.items() if "pnpkit" in found}
    assert by_the_door <= {"pnpkit.cli"}  # which asks for the version
    folders = ("benchmarks/", "book/", "tests/", "tools/")
    for name, tree in TREES.items():
        documented = [n for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef))]
        docstrings = {id(n.body[0].value) for n in documented if n.body and isinstance(n.body[0], ast.Expr)}
        texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        assert [t.value for t in texts if id(t) not in docstrings and t.value.startswith(folders)] == [], name
