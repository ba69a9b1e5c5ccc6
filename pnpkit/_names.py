"""Names that users give, such as a profile's or a loss's: one check, one message."""

from collections.abc import Collection


class UnknownName(ValueError):
    """A name that is none of the valid ones. The command line exits with 2 for it, as for any other misuse."""


def require_known(what: str, name: str, valid: Collection[str]) -> None:
    """Raise :class:`UnknownName`, listing the valid names, unless a name is one of them.

    >>> require_known("head", "relu", ["leaky_relu", "tanh"])
    Traceback (most recent call last):
    pnpkit._names.UnknownName: unknown head 'relu'; valid ones: leaky_relu, tanh
    """
    if name not in valid:
        raise UnknownName(f"unknown {what} {name!r}; valid ones: {', '.join(valid)}")
