"""LocalAgreement-2 on hand-made hypotheses."""

from __future__ import annotations

from tools.bench.systems.agreement import LocalAgreement, SpokenWord


def heard(text: str, *, from_s: float = 0.0) -> tuple[SpokenWord, ...]:
    """Words of half a second each."""
    return tuple(
        SpokenWord(f" {word}", from_s + index / 2, from_s + (index + 1) / 2)
        for index, word in enumerate(text.split())
    )


def committed(policy: LocalAgreement) -> str:
    return "".join(word.text for word in policy.committed).strip()


def test_what_two_hypotheses_agree_on_is_committed() -> None:
    policy = LocalAgreement()
    policy.read(heard("turn on a"))
    assert committed(policy) == ""
    policy.read(heard("turn on the light"))
    assert committed(policy) == "turn on"
    assert [word.text for word in policy.open] == [" the", " light"]


def test_committed_words_are_not_read_again() -> None:
    policy = LocalAgreement()
    for text in ("turn on", "turn on the", "turn on the light"):
        policy.read(heard(text))
    assert committed(policy) == "turn on the"


def test_committed_words_whose_times_moved_are_known_by_their_text() -> None:
    policy = LocalAgreement()
    policy.read(heard("turn on the"))
    policy.read(heard("turn on a"))
    policy.read(heard("turn on the light", from_s=0.5))
    assert [word.text for word in policy.open] == [" the", " light"]


def test_the_end_commits_what_is_open() -> None:
    policy = LocalAgreement()
    policy.read(heard("turn on"))
    policy.close()
    assert committed(policy) == "turn on"
    assert policy.open == ()


def test_the_prompt_is_the_text_before_the_cut() -> None:
    policy = LocalAgreement()
    policy.read(heard("turn on the light"))
    policy.close()
    assert policy.prompt(before_s=1.0) == " turn on"


def test_audio_is_cut_at_the_last_committed_segment_that_is_complete() -> None:
    policy = LocalAgreement()
    policy.read(heard("a b c d"))
    policy.close()
    assert policy.cut_s([1.0, 1.8, 5.0]) == 1.8
    assert policy.cut_s([2.5, 5.0]) is None
    assert policy.cut_s([1.0]) is None
