"""Loaded before any test: checks the shapes in pnpkit's signatures, one thread, the same drawn examples every time."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import beartype
import hypothesis
import jaxtyping
import pytest

# An int passes for a float, as in PEP 484 and mypy. The hook takes a name, so the configured checker needs one.
beartype.with_numeric_tower = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
jaxtyping.install_import_hook("pnpkit", "beartype.with_numeric_tower")
hypothesis.settings.register_profile("house", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("house")


@pytest.fixture
def unchecked():
    """Annotations unchecked, as users run pnpkit: for errors that the annotations would catch first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
