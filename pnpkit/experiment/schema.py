"""Records are read through schemas: dataclasses whose annotations are checked, so that errors name file and field."""

import dataclasses
import math
import types
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pnpkit.experiment.remedies import remedy

_WORDS = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false", type(None): "null"}
LARGEST = 2**63  # of a whole number


class BadRecord(ValueError):
    """Valid JSON that is not the record it should be."""


def at_least(least: float, default: Any = dataclasses.MISSING) -> Any:
    """A field of a schema with a lower bound."""
    return dataclasses.field(default=default, metadata={"least": least})


def check(value: Any, schema: Any, path: Path, field: str = "") -> Any:
    """Check JSON against an annotation: a dataclass, ``dict[str, X]``, ``list[X]``, ``X | None``, a scalar, or Any.

    Fields of a dataclass that have a default may be absent; keys that are no field are refused.

    Returns:
        The value, as it is.

    Raises:
        BadRecord: if it does not fit; names the file and the field, what is there and what must be.

    >>> check({"a": 1}, dict[str, int], Path("x.json"))
    {'a': 1}
    >>> check({"a": "1"}, dict[str, int], Path("x.json"))
    Traceback (most recent call last):
    pnpkit.experiment.schema.BadRecord: x.json: a must be a whole number, not '1'. Move it away and make it again
    """
    kind, of = get_origin(schema) or schema, get_args(schema)
    if kind is Literal:
        if value not in of:
            raise _wrong(value, f"one of {', '.join(map(str, of))}", path, field)
    elif kind in (Union, types.UnionType):
        (schema,) = (option for option in of if option is not type(None))
        if value is not None or type(None) not in of:
            check(value, schema, path, field)
    elif dataclasses.is_dataclass(kind):
        _check_fields(value, kind, path, field)
    elif kind is dict or kind is list:
        if not isinstance(value, kind):
            raise _wrong(value, "an object" if kind is dict else "a list", path, field)
        parts: Any = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            check(part, of[-1] if of else Any, path, f"{field}.{key}" if field else str(key))
    elif schema is not Any:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = number and math.isfinite(float(value)) if kind is float and _small(value) else type(value) is kind
        if not fits or not _small(value):
            raise _wrong(value, _WORDS[kind], path, field)
    return value


def _check_fields(value: Any, kind: Any, path: Path, field: str) -> None:
    if not isinstance(value, dict):
        raise _wrong(value, "an object", path, field)
    fields, hints = {f.name: f for f in dataclasses.fields(kind)}, _hints(kind)
    at = f"{field}." if field else ""
    for name, f in fields.items():
        if name in value:
            check(value[name], hints[name], path, at + name)
            least = f.metadata.get("least")
            if least is not None and value[name] is not None and value[name] < least:
                raise _wrong(value[name], f"{least:g} or more", path, at + name)
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise BadRecord(f"{path}: field {at + name} is missing. {remedy(path)}")
    extra = sorted(value.keys() - fields.keys())
    if extra:
        raise BadRecord(f"{path}: unknown field {at + extra[0]}: is it of another version? {remedy(path)}")


_hints = cache(get_type_hints)


def _small(value: Any) -> bool:
    return not isinstance(value, int) or abs(value) <= LARGEST


def _wrong(value: Any, wanted: str, path: Path, field: str) -> BadRecord:
    return BadRecord(f"{path}: {field or 'its content'} must be {wanted}, not {short(value, 60)}. {remedy(path)}")


def short(value: Any, most: int = 200) -> str:
    """A value for a message."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}…"
