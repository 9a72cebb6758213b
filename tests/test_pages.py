"""The pages name tests as evidence: each of them is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")])
FILES = {
    str(path.relative_to(PROJECT))
    for folder in ("tests", "tools")
    for path in PROJECT.glob(f"{folder}/**/test_*.py")
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_the_tests_that_a_page_names_are_there(page: Path) -> None:
    named = set(re.findall(r"`([a-z_/]*test_[a-z_]+\.py)`", page.read_text(encoding="utf-8")))
    assert not [
        name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in FILES)
    ]
