from __future__ import annotations

from tools.release.tag import CHANGELOG, __version__, faults_of_address, faults_of_tag

TOLD = "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-03-01\n### Added\n- A thing.\n"


def test_a_tag_of_the_version_that_the_changelog_tells_of_is_good() -> None:
    assert faults_of_tag("v1.2.0", "1.2.0", TOLD) == []


def test_every_fault_of_a_tag_is_told() -> None:
    assert faults_of_tag("1.2.0", "1.2.0", TOLD) == [
        "the tag is 1.2.0, and the package's version is 1.2.0: v1.2.0"
    ]
    late = TOLD.replace("[Unreleased]\n", "[Unreleased]\n- Another.\n").replace("1.2.0", "1.1.0")
    assert len(faults_of_tag("v1.2.0", "1.3.0", late)) == 3


def test_only_the_address_that_is_released_from_is_taken_or_none() -> None:
    own = "https://github.com/someone/voice-daemon"
    assert faults_of_address("", own) == faults_of_address(own, own) == []
    assert len(faults_of_address("https://github.com/else/voice-daemon", own)) == 1


def test_the_package_and_its_changelog_can_be_read() -> None:
    assert __version__.count(".") == 2
    assert "## [Unreleased]" in CHANGELOG.read_text()
