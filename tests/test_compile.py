"""Compiled loops go on where numba's cache cannot."""

import types

import numba
import pytest

from pnpkit import _compile


def test_without_a_folder_for_the_cache_loops_are_compiled_uncached(monkeypatch, caplog):
    plain = numba.njit

    def njit(*functions, **options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function 'f': no locator available for file 'f.py'")
        return plain(*functions, **options)

    monkeypatch.setattr(numba, "njit", njit)
    _compile.say_once.cache_clear()
    assert _compile.njit(cache=True)(lambda x: x + 1)(1) == 2
    assert "cannot be cached" in caplog.text


@pytest.mark.parametrize("broken", ["index", "data"])
def test_damaged_caches_are_removed_and_said(broken, tmp_path, caplog):
    index, data = tmp_path / "f.nbi", tmp_path / "f.1.nbc"

    def load(path):
        if broken in path.name or path.stat().st_size == 0:
            raise EOFError("Ran out of input")
        return {"key": data.name}

    for path in (index, data):
        path.write_bytes(b"" if path == (index if broken == "index" else data) else b"whole")
    files = types.SimpleNamespace(
        _index_path=str(index),
        _load_index=lambda: load(index),
        _load_data=lambda name: load(tmp_path / name),
        _data_path=lambda name: str(tmp_path / name),
    )
    _compile.say_once.cache_clear()
    _compile._check_cache(files)
    assert index.exists() == (broken != "index")
    assert data.exists() == (broken != "data")
    assert "is damaged: compiled anew" in caplog.text
