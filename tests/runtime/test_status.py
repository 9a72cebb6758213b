from __future__ import annotations

import dataclasses
import json
import math
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.statuses import DEGRADED
from voice_daemon.errors import ControlError
from voice_daemon.runtime.status import (
    MicStatus,
    Status,
)


def test_json_has_schema_and_no_infinity() -> None:
    document = json.loads(json.dumps(DEGRADED.to_dict(), allow_nan=False))
    assert document["schema"] == 1
    assert document["healthy"] is False
    assert document["mic"]["level_dbfs"] is None
    assert document["problems"][0]["part"] == "mic"


def any_of(hint: object) -> st.SearchStrategy[typing.Any]:
    """Values of a field's type; dataclasses are filled field by field."""
    if not isinstance(hint, type) or not dataclasses.is_dataclass(hint):
        return st.from_type(hint).filter(is_finite)  # type: ignore[arg-type] # e.g. str | None
    hints = typing.get_type_hints(hint)
    return st.builds(hint, **{name: any_of(part) for name, part in hints.items()})


def is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


@given(status=any_of(Status))
def test_every_status_survives_json(status: Status) -> None:
    assert Status.from_dict(json.loads(json.dumps(status.to_dict()))) == status


def test_digital_silence_survives_json() -> None:
    assert Status.from_dict(DEGRADED.to_dict()) == DEGRADED
    loud = dataclasses.replace(DEGRADED, mic=MicStatus("m", 16_000, level_dbfs=-12.5))
    assert Status.from_dict(loud.to_dict()) == loud


def test_what_a_newer_daemon_added_is_ignored() -> None:
    document = {**DEGRADED.to_dict(), "moon_phase": "full"}
    document["mic"] = {**document["mic"], "colour": "black"}
    assert Status.from_dict(document) == DEGRADED


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": None},
        {"mic": None},
        {"mic": []},
        {"wake": {}},
        {"problems": [{"part": "mic"}]},
        {"problems": 3},
    ],
)
def test_a_status_that_cannot_be_read_says_so(change: dict[str, object]) -> None:
    with pytest.raises(ControlError, match="cannot be read"):
        Status.from_dict({**DEGRADED.to_dict(), **change})
    with pytest.raises(ControlError):
        Status.from_dict({})
