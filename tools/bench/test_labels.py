"""Labels of points that lie close together do not lie on each other."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from tools.bench.labels import Box, spread

PLACES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=8)


@given(PLACES)
def test_no_label_lies_on_another_or_on_a_point(places: list[tuple[int, int]]) -> None:
    points = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    boxes = [Box(x + 8, y - 7, x + 40, y + 7) for x, y in places]
    moved = [box.raised(by) for box, by in zip(boxes, spread(boxes, points), strict=True)]
    assert not any(a.overlaps(b) for a, b in combinations(moved, 2))
    assert not any(box.overlaps(point) for box in moved for point in points)


def test_a_label_with_room_stays_where_it_is() -> None:
    assert spread([Box(8, -7, 40, 7)], [Box(-5, -5, 5, 5)]) == [0]
