"""Links and headings, files, commands, stops in the code: what the pages name is there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from voice_daemon import PROJECT_URL
from voice_daemon.cli.parser import COMMANDS

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "daemon" / "voice_daemon"
PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")])
BENCH = PROJECT / "tools" / "bench"
LIVING = [page for page in PAGES if "adr" not in page.parts and page.name != "CHANGELOG.md"]
"""What speaks of now; a decision and a change speak of their day."""
TESTS = [path for folder in ("tests", "tools") for path in PROJECT.glob(f"{folder}/**/test_*.py")]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SOURCE = re.compile(r"`((?:[a-z_]+/)*[a-z_]+\.py)`")
_PLACE = re.compile(r"`((?:scripts|docs|tests|tools|daemon|requirements)/[\w./-]+)`")


def by_name(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    titles = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def ends_in(path: Path, name: str) -> bool:
    return f"/{path.as_posix()}".endswith(f"/{name}")


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for link in _LINK.findall(text_of(page)):
        if "://" in link or link.startswith("mailto:"):
            continue
        place, _, heading = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if not target.exists() or (heading and heading not in anchors(target)):
            lost.append(link)
    assert not lost


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    text = text_of(page)
    named = [n for n in _SOURCE.findall(text) if page in LIVING or Path(n).match("test_*")]
    sources = [*PACKAGE.rglob("*.py"), *PROJECT.glob("docs/examples/*.py"), *TESTS]
    sources += PROJECT.glob("t*/**/*.py")
    lost = {name for name in named if not any(ends_in(s, name) for s in sources)}
    places = [place.rstrip(".") for place in _PLACE.findall(text) if page in LIVING]
    assert not lost | {place for place in places if not list(PROJECT.glob(place))}


def test_every_picture_is_on_a_page() -> None:
    shown = {link for page in PAGES for link in _LINK.findall(page.read_text(encoding="utf-8"))}
    pictures = {path.name for path in (PROJECT / "docs" / "images").iterdir()}
    assert pictures == {Path(link).name for link in shown} & pictures


def test_every_stop_of_the_walks_is_in_the_code() -> None:
    walks = text_of(PROJECT / "docs" / "architecture.md").partition("## Five walks")[2]
    stops = re.findall(r"^\d+\. (.*(?:\n   .*)*)", walks.partition("\n## ")[0], re.MULTILINE)
    assert len(stops) > 25
    lost = []
    for stop in stops:
        files = [PACKAGE / name for name in _SOURCE.findall(stop)]
        code = "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
        for name in re.findall(r"`((?:[A-Z]\w+\.)?[a-zA-Z_]+)`", stop):
            parts = name.split(".")
            is_defined = all(re.search(rf"\b(?:class|def) {part}\b", code) for part in parts)
            is_code = name[0].isupper() or "_" in name
            if files and is_code and not is_defined:
                lost.append(name)
    assert not lost


@pytest.mark.parametrize("page", LIVING, ids=by_name)
def test_the_commands_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    modules = re.findall(r"-m ((?:tools|voice_daemon)[\w.]*)", text)
    source = {"tools": PROJECT, "voice_daemon": PACKAGE.parent}
    files = [source[m.partition(".")[0]] / m.rstrip(".").replace(".", "/") for m in modules]
    assert not [f for f in files if not f.with_suffix(".py").is_file() and not f.is_dir()]
    benches = set(re.findall(r"scripts/bench ([a-z]+)\b", text))
    assert benches <= {file.stem.removesuffix("_speech") for file in BENCH.glob("*.py")}
    spoken = set(re.findall(r"`(?:[\w./]*/)?daemonctl ([a-z][a-z-]+)", text))
    assert spoken <= set(COMMANDS)


def test_blueprints_are_imported_from_the_projects_address() -> None:
    blueprints = sorted(PROJECT.glob("docs/blueprints/*.yaml"))
    said = unquote("\n".join(file.read_text(encoding="utf-8") for file in (*PAGES, *blueprints)))
    links = re.findall(r"https://[^\s=]+/docs/blueprints/\w+\.yaml", said)
    addresses = [f"{PROJECT_URL}/blob/main/docs/blueprints/{file.name}" for file in blueprints]
    assert sorted(links) == sorted(addresses * 2), "the page's button and the blueprint itself"
