"""One file of named arrays that says what it is: no pickle, so that a stranger's file can do no harm."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pnpkit._files import write_atomically

SCHEMA = 1


def write_arrays(path: Path | str, kind: str, values: dict[str, Any]) -> None:
    """Write tensors, numbers and strings, ``ValueError`` for others; the file is there whole or not at all."""
    arrays: dict[str, Any] = {
        k: v.numpy(force=True) if isinstance(v, Tensor) else np.asarray(v) for k, v in values.items()
    }
    if wrong := [k for k, v in arrays.items() if v.dtype.hasobject]:
        raise ValueError(f"{path} holds tensors, numbers and strings only: {', '.join(wrong)} is none")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, kind=kind, schema=SCHEMA, **arrays)
    write_atomically(Path(path), buffer.getvalue())


def read_arrays(path: Path | str, kind: str) -> dict[str, Any]:
    """Read them as they were written; ``ValueError`` naming the file if it holds something else or another version."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except Exception as error:  # whatever numpy, zipfile and zlib make of damaged bytes, errors of seeking included
        if isinstance(error, OSError) and error.filename:  # none there, or no leave to read it
            raise
        raise ValueError(f"{path} is no {kind} of pnpkit, or damaged") from error
    if (other := str(arrays.pop("kind", ""))) != kind:
        raise ValueError(f"{path} is no {kind} of pnpkit, but {other or 'other arrays'}")
    if (schema := int(arrays.pop("schema", np.array(0)))) != SCHEMA:
        raise ValueError(f"{path} is of version {schema}; this pnpkit reads {SCHEMA}")
    return {k: torch.from_numpy(v) if v.ndim else v.item() for k, v in arrays.items()}
