"""Satellites for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.satellite import OPTIONS, Running, serving


@pytest.fixture
def running() -> Iterator[Running]:
    with serving(OPTIONS) as made:
        yield made


@pytest.fixture
def speaking() -> Iterator[Running]:
    """A satellite that has a speaker."""
    with serving(OPTIONS, speaks=True) as made:
        yield made
