"""Damaged and hostile model.bin and ggml files: a ModelError, and no memory to speak of."""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.whisper_files import (
    SMALL,
    equal,
    ggml_head,
    ggml_tensor,
    small_tensors,
    write_ctranslate2,
    write_ggml,
)
from voice_daemon.asr.checkpoints.load import CheckpointData, load_weights
from voice_daemon.errors import ModelError

HUGE = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a model.bin: where it begins, what it is, which variable it belongs to."""

    at: int
    kind: str
    variable: str


def fields_of(content: bytes) -> Iterator[Field]:
    """Walk a model.bin that is known to be good."""
    at = 4
    yield Field(0, "version", "")
    yield Field(at, "string", "")
    at += 2 + int.from_bytes(content[at : at + 2], "little")
    yield Field(at, "revision", "")
    yield Field(at + 4, "count", "")
    n_variables = int.from_bytes(content[at + 4 : at + 8], "little")
    at += 8
    for _ in range(n_variables):
        n_name = int.from_bytes(content[at : at + 2], "little")
        name = content[at + 2 : at + 1 + n_name].decode()
        yield Field(at, "string", name)
        at += 2 + n_name
        rank = content[at]
        yield Field(at, "rank", name)
        for axis in range(rank):
            yield Field(at + 1 + 4 * axis, "dimension", name)
        at += 1 + 4 * rank
        yield Field(at, "type", name)
        yield Field(at + 1, "size", name)
        yield Field(at + 5, "data", name)
        at += 5 + int.from_bytes(content[at + 1 : at + 5], "little")
    yield Field(at, "aliases", "")
    yield Field(at + 4, "string", "aliases")


def load(path: Path) -> CheckpointData | None:
    """What loads, or None after a ModelError that names the file; anything else fails the test."""
    try:
        return load_weights(path)
    except ModelError as error:
        fault = error
    assert str(path) in fault.message
    assert fault.remedy
    return None


@pytest.fixture(scope="module")
def model_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ctranslate2(tmp_path_factory.mktemp("ct2"), small_tensors(), SMALL)


@pytest.fixture(scope="module")
def int8_model_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8")
    return write_ctranslate2(folder, small_tensors(), SMALL, quantization="int8")


@pytest.fixture(scope="module")
def ggml_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ggml")
    return write_ggml(folder / "ggml-small.bin", small_tensors(), SMALL)


def patch(path: Path, at: int, value: bytes) -> None:
    """Write `value` over the file's bytes at `at`."""
    content = bytearray(path.read_bytes())
    content[at : at + len(value)] = value
    path.write_bytes(content)


def truncations(path: Path, ends: list[int]) -> None:
    """Cut the file at each end, longest first; each cut must be an error."""
    whole = path.read_bytes()
    try:
        for end in sorted(ends, reverse=True):
            os.truncate(path, end)
            with pytest.raises(ModelError, match=path.name):
                load_weights(path.parent if path.name == "model.bin" else path)
    finally:
        path.write_bytes(whole)


def test_model_bin_cut_at_every_boundary_is_an_error(model_bin: Path) -> None:
    whole = model_bin.read_bytes()
    starts = {field.at for field in fields_of(whole)}
    truncations(model_bin, [end for at in starts for end in (at, at + 1) if end < len(whole)])


def test_ggml_cut_in_its_head_or_in_any_tensor_is_an_error(ggml_bin: Path) -> None:
    n_head = len(ggml_head(SMALL, (b"a", b"b")))
    n_file = ggml_bin.stat().st_size
    ends = [*range(60), n_head - 1, n_head, *range(n_head + 1, n_file, 9_973), n_file - 1]
    truncations(ggml_bin, ends)


@pytest.mark.parametrize(
    "kind", ["string", "count", "rank", "dimension", "type", "size", "aliases"]
)
def test_lying_sizes_of_model_bin_are_errors_and_allocate_nothing(
    model_bin: Path, kind: str
) -> None:
    whole = model_bin.read_bytes()
    widths = {"string": 2, "rank": 1, "type": 1}
    places = [field for field in fields_of(whole) if field.kind == kind]
    try:
        for field in places:
            patch(model_bin, field.at, b"\xff" * widths.get(kind, 4))
            with pytest.raises(ModelError, match=r"model\.bin"):
                load_weights(model_bin.parent)
        assert_cheap(model_bin.parent)
    finally:
        model_bin.write_bytes(whole)


def assert_cheap(path: Path) -> None:
    """Failing to load takes next to no memory, whatever sizes the file claims."""
    tracemalloc.start()
    try:
        with pytest.raises(ModelError):
            load_weights(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


@given(data=st.data())
@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_any_damage_to_model_bin_loads_or_is_an_error(
    model_bin: Path, int8_model_bin: Path, precision: str, data: st.DataObject
) -> None:
    path = int8_model_bin if precision == "int8" else model_bin
    whole = path.read_bytes()
    field = data.draw(st.sampled_from(list(fields_of(whole))))
    offset = data.draw(st.integers(0, 3))
    value = data.draw(st.binary(min_size=1, max_size=4))
    try:
        patch(path, min(field.at + offset, len(whole) - 4), value)
        load(path.parent)
    finally:
        path.write_bytes(whole)


@given(
    at=st.one_of(st.integers(0, 64), st.integers(64_000, 66_000), st.integers(0, 700_000)),
    value=st.binary(min_size=1, max_size=4),
)
@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_damage_to_ggml_loads_or_is_an_error(ggml_bin: Path, at: int, value: bytes) -> None:
    whole = ggml_bin.read_bytes()
    try:
        patch(ggml_bin, min(at, len(whole) - 4), value)
        load(ggml_bin)
    finally:
        ggml_bin.write_bytes(whole)


@given(content=st.binary(max_size=300))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.parametrize("start", [b"", b"\x06\0\0\0\x0c\0WhisperSpec\0", b"lmgg"])
def test_noise_is_an_error(tmp_path: Path, start: bytes, content: bytes) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(start + content)
    with pytest.raises(ModelError, match=r"model\.bin"):
        load_weights(tmp_path)


def replace_variable(path: Path, name: str, shape: tuple[int, ...], value: bytes) -> None:
    """Make the variable a float32 one of that shape and value; the file stays well formed."""
    content = path.read_bytes()
    fields = list(fields_of(content))
    first = next(at for at, field in enumerate(fields) if field.variable == name)
    end = next(field.at for field in fields[first:] if field.variable != name)
    record = struct.pack("<H", len(name) + 1) + name.encode() + b"\0"
    record += struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, 0, len(value)) + value
    path.write_bytes(content[: fields[first].at] + record + content[end:])


@pytest.mark.parametrize("shape", [(), (1, 1, 1)])
def test_any_variable_of_the_wrong_rank_is_an_error(
    int8_model_bin: Path, shape: tuple[int, ...]
) -> None:
    whole = int8_model_bin.read_bytes()
    names = {field.variable for field in fields_of(whole)} - {"", "aliases"}
    tensors = {"weight", "weight_scale", "bias", "gamma", "beta", "encodings"}
    try:
        for name in sorted(names):
            int8_model_bin.write_bytes(whole)
            replace_variable(int8_model_bin, name, shape, struct.pack("<f", np.nan))
            loaded = load(int8_model_bin.parent)
            # The others are settings of CTranslate2's, which a Whisper loads without.
            assert (loaded is None) == (name.split("/")[-1] in tensors), name
    finally:
        int8_model_bin.write_bytes(whole)


def test_bfloat16_of_model_bin_keeps_its_bits(tmp_path: Path) -> None:
    tensors = small_tensors()
    path = write_ctranslate2(tmp_path, tensors, SMALL)
    content = bytearray(path.read_bytes())
    for field in fields_of(bytes(content)):
        if field.kind == "type" and content[field.at] == 4:
            content[field.at] = 5
    path.write_bytes(content)
    arrays = load_weights(tmp_path).arrays
    assert {array.dtype for array in arrays.values()} == {mx.bfloat16}
    assert equal({name: array.view(mx.float16) for name, array in arrays.items()}, tensors)


def test_keys_with_a_bias_are_no_whisper(tmp_path: Path) -> None:
    tensors = small_tensors()
    tensors["decoder.blocks.1.cross_attn.key.bias"] = np.ones(128, np.float16)
    write_ctranslate2(tmp_path, tensors, SMALL)
    with pytest.raises(ModelError, match="decoder/layer_1/attention/linear_1/bias gives keys"):
        load_weights(tmp_path)


@pytest.mark.parametrize(
    ("at", "value", "says"), [(0, b"\x05", "version 5"), (6, b"Mystery", "'MysterySpec'")]
)
def test_other_ctranslate2_models_are_told_apart(
    tmp_path: Path, at: int, value: bytes, says: str
) -> None:
    path = write_ctranslate2(tmp_path, small_tensors(), SMALL)
    patch(path, at, value)
    with pytest.raises(ModelError, match=says) as caught:
        load_weights(tmp_path)
    assert caught.value.code == "model.unsupported"


def test_model_bin_with_more_after_its_end_is_damaged(tmp_path: Path) -> None:
    path = write_ctranslate2(tmp_path, small_tensors(), SMALL)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ModelError, match="bytes follow"):
        load_weights(tmp_path)


def ggml_file(path: Path, *tail: bytes) -> Path:
    path.write_bytes(ggml_head(SMALL, (b"a", b"b")) + b"".join(tail))
    return path


@pytest.mark.parametrize(
    "tail",
    [
        struct.pack("<3i", 4, 4, 0),
        struct.pack("<3i", 0, 4, 0),
        struct.pack("<3i", -1, 4, 0),
        struct.pack("<3i", 1, -4, 0),
        struct.pack("<3i", 1, 2**30, 0),
        struct.pack("<4i", 1, 1, 0, -8) + b"a",
        struct.pack("<4i", 1, 1, 0, 0) + b"a",
        struct.pack("<6i", 3, 1, 0, 2**31 - 1, 2**31 - 1, 2**31 - 1) + b"a",
    ],
)
def test_lying_ggml_tensors_are_errors_and_allocate_nothing(tmp_path: Path, tail: bytes) -> None:
    path = ggml_file(tmp_path / "ggml-lies.bin", tail)
    with pytest.raises(ModelError, match="damaged"):
        load_weights(path)
    assert_cheap(path)


@pytest.mark.parametrize("at", range(4, 48, 4))
@pytest.mark.parametrize("value", [-1, 0, 2**31 - 1])
def test_lying_ggml_sizes_are_errors_and_allocate_nothing(
    ggml_bin: Path, at: int, value: int
) -> None:
    whole = ggml_bin.read_bytes()
    try:
        patch(ggml_bin, at, struct.pack("<i", value))
        if at == 44:  # the type of the file as a whole: each tensor says its own
            assert load(ggml_bin) is not None
        else:
            assert load(ggml_bin) is None
            assert_cheap(ggml_bin)
    finally:
        ggml_bin.write_bytes(whole)


@pytest.mark.parametrize("n_tokens", [HUGE, 3])
def test_lying_ggml_vocabularies_are_errors(tmp_path: Path, n_tokens: int) -> None:
    head = bytearray(ggml_head(SMALL, (b"a", b"b")))
    head[-14:-10] = struct.pack("<I", n_tokens)
    path = tmp_path / "ggml-words.bin"
    path.write_bytes(head)
    with pytest.raises(ModelError, match="damaged"):
        load_weights(path)
    head[-10:-6] = struct.pack("<I", HUGE)
    path.write_bytes(head)
    with pytest.raises(ModelError, match="token 0 claims"):
        load_weights(path)


def test_quantised_ggml_is_refused_with_a_way_out(tmp_path: Path) -> None:
    quantised = ggml_tensor("decoder.ln.weight", np.ones(128, np.float16), kind=8)
    with pytest.raises(ModelError, match="quantised files are not read") as caught:
        load_weights(ggml_file(tmp_path / "ggml-small-q8_0.bin", quantised))
    assert "float16" in caught.value.remedy


def test_ggml_without_tensors_names_the_first_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tensor encoder.conv1.weight is missing"):
        load_weights(ggml_file(tmp_path / "ggml-empty.bin"))
