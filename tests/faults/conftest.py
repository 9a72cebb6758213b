"""A house for each test of this folder, all of which are left out of the ordinary run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from faults.house import House
from virtual_microphone import VirtualMicrophone, why_not

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.faults)
            item.add_marker(pytest.mark.slow)
            if why_not() is not None:
                item.add_marker(pytest.mark.skip(why_not() or ""))


@pytest.fixture
def microphone() -> Iterator[VirtualMicrophone]:
    """Run a microphone that the test may hurt."""
    made = VirtualMicrophone().start()
    yield made
    made.stop()


@pytest.fixture
def new_house(microphone: VirtualMicrophone) -> Iterator[Callable[..., House]]:
    """Make a house; the arguments are lines for the broker's configuration."""
    houses: list[House] = []

    def make(*broker_settings: str) -> House:
        houses.append(House(microphone, *broker_settings))
        return houses[-1]

    yield make
    for house in houses:
        house.__exit__()


@pytest.fixture
def house(new_house: Callable[..., House]) -> House:
    """Make a house with a broker that takes everybody."""
    return new_house()
