"""Loaded before any test: checks the shapes in pnpkit's signatures, one thread, the same drawn examples every time."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
from jaxtyping import install_import_hook

install_import_hook("pnpkit", "beartype.beartype")
hypothesis.settings.register_profile("house", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("house")
