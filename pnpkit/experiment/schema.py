"""Records are read through schemas, so that errors name file and field. A schema is written as what it describes looks.

It is a type (``float``: a finite number; ``Any``), ``X | None``, a ``Literal``, ``Annotated[int, 0]`` for 0 or more,
``[X]`` or ``list[X]``, ``dict[str, X]``, or fields: a dict or a dataclass. The name of a field that may be absent ends
in ``?``; ``...`` stands for all that are not named, which are refused without it.
"""

import dataclasses
import math
import types
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pnpkit.experiment.remedies import remedy

_WORDS = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false"}
_WORDS |= {dict: "an object", list: "a list"}
LARGEST = 2**63  # of a whole number
Natural = Annotated[int, 0]
Seconds = Annotated[float, 0]


class BadRecord(ValueError):
    """Valid JSON that is not the record it should be."""


def check(value: Any, schema: Any, path: Path, field: str = "") -> Any:
    """Check JSON against a schema.

    Returns:
        The value, as it is.

    Raises:
        BadRecord: if it does not fit; names the file and the field, what is there and what must be.

    >>> check({"a": 1}, {"a": Annotated[int, 0], "b?": [str]}, Path("x.json"))
    {'a': 1}
    >>> check({"a": "1"}, {...: int}, Path("x.json"))
    Traceback (most recent call last):
    pnpkit.experiment.schema.BadRecord: x.json: a must be a whole number, not '1'. Move it away and make it again
    """
    kind, of = get_origin(schema) or schema, get_args(schema)
    if kind in (Union, types.UnionType):
        (schema,) = (option for option in of if option is not type(None))
        return value if value is None else check(value, schema, path, field)
    if kind is Literal:
        if value not in of:
            raise _wrong(value, f"one of {', '.join(map(str, of))}", path, field)
    elif kind is Annotated:
        if check(value, of[0], path, field) < of[1]:
            raise _wrong(value, f"{of[1]:g} or more", path, field)
    elif isinstance(schema, list) or (kind is list and of):
        for i, part in enumerate(check(value, list, path, field)):
            check(part, (of or schema)[0], path, f"{field}.{i}")
    elif isinstance(schema, dict) or dataclasses.is_dataclass(schema) or (kind is dict and of):
        fields = {...: of[1]} if of else schema
        _check_fields(check(value, dict, path, field), fields, path, f"{field}." if field else "")
    elif schema is not Any:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        small = not isinstance(value, int) or abs(value) <= LARGEST
        if not small or not (number and math.isfinite(value) if kind is float else type(value) is kind):
            raise _wrong(value, _WORDS[kind], path, field)
    return value


def _check_fields(value: dict[str, Any], schema: Any, path: Path, at: str) -> None:
    fields = schema if isinstance(schema, dict) else fields_of(schema)
    for name in fields:
        if name is not ... and not name.endswith("?") and name not in value:
            raise BadRecord(f"{path}: field {at + name} is missing. {remedy(path)}")
    for name, part in value.items():
        marked = name.endswith("?")  # which is how a schema writes it, and no name
        if (of := fields.get(... if marked else name, fields.get(f"{name}?", fields.get(...)))) is None:
            raise BadRecord(f"{path}: unknown field {at + name}: is it of another version? {remedy(path)}")
        check(part, of, path, at + name)


@cache
def fields_of(kind: Any) -> dict[Any, Any]:
    """The fields of a dataclass, as a schema; those that have a default may be absent."""
    hints, fields, none = get_type_hints(kind, include_extras=True), dataclasses.fields(kind), dataclasses.MISSING
    return {f.name + "?" * (f.default is not none or f.default_factory is not none): hints[f.name] for f in fields}


def _wrong(value: Any, wanted: str, path: Path, field: str) -> BadRecord:
    return BadRecord(f"{path}: {field or 'its content'} must be {wanted}, not {short(value, 60)}. {remedy(path)}")


def short(value: Any, most: int = 200) -> str:
    """A value for a message."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}…"
