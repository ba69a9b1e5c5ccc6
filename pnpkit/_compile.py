"""numba's ``njit`` that goes on where its cache cannot be: no folder to write to, or files that a crash left empty."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from pnpkit._extras import say_once


def njit(**options: Any) -> Callable[[Any], Any]:
    """As numba's, which raises where neither the package's folder nor a user's cache can be written to."""

    def compile_later(function: Any) -> Any:
        try:
            compiled = numba.njit(**options)(function)
            _check_cache(compiled._cache._cache_file)
        except (RuntimeError, OSError):  # "no locator available", or damaged files in a folder that is read-only
            say_once("compiled loops cannot be cached (no folder that can be written to): they are compiled each time")
            return numba.njit(**options | {"cache": False})(function)
        except AttributeError:  # no cache was asked for, or another version of numba keeps it elsewhere
            pass
        return compiled

    return compile_later


def _check_cache(files: Any) -> None:
    """Remove what numba would stumble over: it raises EOFError from within a first call."""
    try:
        names = files._load_index().values()
    except Exception:  # pickle fails in many ways
        say_once(f"{files._index_path} is damaged: compiled anew")
        Path(files._index_path).unlink(missing_ok=True)
        return
    for name in names:
        path = Path(files._data_path(name))
        try:
            files._load_data(name)
        except FileNotFoundError:
            continue
        except Exception:
            say_once(f"{path} is damaged: compiled anew")
            path.unlink(missing_ok=True)
