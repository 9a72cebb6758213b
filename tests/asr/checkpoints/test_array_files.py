"""Damaged and hostile .safetensors and .npz files: an error, and nothing runs."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.whisper_files import SMALL, load_fault, small_tensors, write_mlx


class _WritesAFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (self.path.touch, ())


def test_pickle_inside_an_npz_is_never_run(tmp_path: Path) -> None:
    folder, trap = tmp_path / "model", tmp_path / "trap"
    write_mlx(folder, small_tensors(), SMALL, weights="weights.npz")
    hostile = np.array([_WritesAFile(trap)], dtype=object)
    np.savez(folder / "weights.npz", allow_pickle=True, **{"encoder.conv1.bias": hostile})
    assert "never loaded" in load_fault(folder).message
    assert not trap.exists()
    pickle.loads(pickle.dumps(hostile[0]))  # noqa: S301 - shows that the trap would have worked
    assert trap.exists()


def test_archive_that_expands_without_measure_is_refused(tmp_path: Path) -> None:
    path = write_mlx(tmp_path, small_tensors(), SMALL, weights="weights.npz")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("encoder.conv1.bias.npy", bytes(50_000_000))
    assert "would expand to 50000000 bytes" in load_fault(tmp_path).message


def test_npz_whose_shape_lies_is_refused(tmp_path: Path) -> None:
    path = write_mlx(tmp_path, small_tensors(), SMALL, weights="weights.npz")
    with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w") as file:
        np.lib.format.write_array_header_1_0(
            file, {"shape": (10**12,), "fortran_order": False, "descr": "<f4"}
        )
        file.write(bytes(100))
    assert "in 100 bytes" in load_fault(tmp_path).message


def safetensors_file(header: Mapping[str, object] | bytes, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def entry(shape: object, begin: object, end: object, dtype: str = "F16") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        (2**63).to_bytes(8, "little"),
        (10**9).to_bytes(8, "little") + b"{}",
        safetensors_file(b"not json"),
        safetensors_file(b"[1, 2]"),
        safetensors_file(b"[" * 100_000),
        safetensors_file({"a": 1}),
        safetensors_file({"a": entry([4], 0, 8)}),
        safetensors_file({"a": entry([4], 0, 8)}, bytes(9)),
        safetensors_file({"a": entry([4], 0, 6)}, bytes(8)),
        safetensors_file({"a": entry([4], -8, 0)}, bytes(8)),
        safetensors_file({"a": entry([2**40, 0], 0, 0)}),
        safetensors_file({"a": entry([-4, -1], 0, 8)}, bytes(8)),
        safetensors_file({"a": entry("four", 0, 8)}, bytes(8)),
        safetensors_file({"a": entry([4], "0", "8")}, bytes(8)),
        safetensors_file({"a": entry([4], 0, 8, "F4")}, bytes(8)),
    ],
)
def test_safetensors_headers_that_lie_are_refused(tmp_path: Path, content: bytes) -> None:
    path = write_mlx(tmp_path, small_tensors(), SMALL)
    path.write_bytes(content)
    error = load_fault(tmp_path)
    assert error.code == "model.damaged"
    assert str(path) in error.message


@pytest.mark.parametrize("weights", ["weights.safetensors", "weights.npz"])
def test_any_truncation_of_mlxs_files_is_an_error(tmp_path: Path, weights: str) -> None:
    path = write_mlx(tmp_path, small_tensors(), SMALL, weights=weights)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    ends = sorted({*range(0, 200, 7), *random.integers(0, len(whole), 60).tolist(), len(whole) - 1})
    for end in ends:
        path.write_bytes(whole[:end])
        assert load_fault(tmp_path).code in {"model.damaged", "model.bad_tensor"}, end
