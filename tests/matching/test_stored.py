"""Files of arrays hold nothing that would have to be run to be read."""

import numpy as np
import pytest
import torch

from pnpkit.matching.stored import read_arrays, write_arrays


def test_arrays_numbers_and_words_come_back_and_objects_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, "test", {"x": torch.arange(3.0), "n": 0.1, "word": "Φ"})
    arrays = read_arrays(path, "test")
    assert set(arrays) == {"x", "n", "word"}  # no argument of numpy's taken for an array
    assert arrays["n"] == 0.1
    assert str(arrays["word"]) == "Φ"
    with pytest.raises(ValueError, match="thing is none"):
        write_arrays(tmp_path / "b.npz", "test", {"thing": np.array([{}, None])})
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
