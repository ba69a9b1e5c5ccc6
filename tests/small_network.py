"""A network of the analyser's kind and a fortieth of its weights, for tests of what trains it, keeps it and goes on."""

from unittest import mock

import timm

_create = timm.create_model


def small_network() -> "mock._patch":
    """While it holds, every :class:`~pnpkit.analyser.network.Analyser` is one, in this process."""
    return mock.patch("timm.create_model", lambda name, **options: _create("test_efficientnet", **options))
