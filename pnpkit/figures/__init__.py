"""Drawing for the book."""

from importlib import import_module

from pnpkit._extras import extra

with extra("report", "a figure"):
    import_module("matplotlib")
