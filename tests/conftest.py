"""Loaded before any test: checks the shapes in pnpkit's signatures, one thread, the same drawn examples every time.

And what tests of several folders share: the command line in this process, pages in a real browser.
"""

import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import beartype
import hypothesis
import jaxtyping
import numba  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import timm  # noqa: F401
import torch._dynamo  # noqa: F401
import xarray  # noqa: F401

# Before the hook: what a module of ours imports under it is compiled anew, thousands of files in every process.
# An int passes for a float, as in PEP 484 and mypy. The hook takes a name, so the configured checker needs one.
# Loops of Φ, called thousands of times a sound, would take half the time of all tests: one of tests/jtfs has them.
beartype.with_tower = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
LOOPS = {f"pnpkit.jtfs.{name}" for name in ("autograd", "frequential", "kernels", "modulus", "stages")}
LOOPS |= {"pnpkit.analyser.cpu_kernels"}  # numba compiles no wrappers
ROOT = Path(__file__).parents[1]
modules = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "pnpkit").rglob("*.py")}
jaxtyping.install_import_hook(sorted(modules - LOOPS), "beartype.with_tower")
hypothesis.settings.register_profile("house", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("house")


@pytest.fixture
def unchecked():
    """Annotations unchecked, as users run pnpkit: for errors that the annotations would catch first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def verb(monkeypatch, capsys):
    """``pnpkit`` in this process: arguments → exit code, stdout, stderr."""
    from pnpkit import cli

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["pnpkit", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return call


FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--allow-file-access-from-files",  # the theme preloads its icon fonts, which a file: page may use but not preload
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")  # no longer: its event loop must end before other tests start theirs
def browser():
    """The browser on the PATH, or named by CHROMIUM: one that is named must be there; without any, tests skip."""
    named = os.environ.get("CHROMIUM")
    names = [named] if named else ["chromium", "chromium-browser", "google-chrome"]
    found = next(filter(None, map(shutil.which, names)), None)
    assert found or not named, f"CHROMIUM={named} is no program"
    if not found:
        pytest.skip("no Chromium on this machine: apt-get install chromium, or set CHROMIUM=/path/to/one")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens a page; at the end asserts that nothing failed, and that it asked for nothing outside the disk."""
    contexts, complaints = [], []

    def guard(route):
        inside = route.request.url.startswith(("file:", "data:", "blob:"))
        if not inside:
            complaints.append(f"asks for {route.request.url}")
        return route.continue_() if inside else route.abort()

    def open_page(path, init=None, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.route("**/*", guard)
        if options.get("java_script_enabled", True):  # else every script is a request that fails
            page.on("requestfailed", lambda request: complaints.append(f"{request.url[:200]}: {request.failure}"))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if init:
            page.add_init_script(init)
        page.goto(path.as_uri(), wait_until="load")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
