"""From one run to a score, and from many scores to a line of the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tools.bench.clips import Clip, load_clips
from tools.bench.metrics import TimedWord
from tools.bench.replay import Run, Shown
from tools.bench.scores import Reference, Score, score
from tools.bench.summary import keeps_up, summarise
from tools.bench.tables import NOTHING, Table
from voice_daemon.errors import AudioFileError

COMMAND = Clip(Path("light.wav"), "home", text="turn it off", slots={"state": "off"})
NOISE = Clip(Path("rain.wav"), "noise", text="")
OFFLINE = Reference(
    "Turn it of.", (TimedWord("turn", 0.4), TimedWord("it", 0.6), TimedWord("of", 1.0)), 1.1
)
NOTHING_HEARD = Reference("", (), None)


def shown(audio_s: float, text: str, draft: str = "", *, compute_s: float = 0.1) -> Shown:
    return Shown(audio_s, audio_s, audio_s + compute_s, text, draft)


def scored(clip: Clip, reference: Reference, run: Run) -> Score:
    return score(clip, reference, run, system="ours", step_s=0.5)


STREAMED = Run((shown(0.5, "turn", " if"), shown(1.0, "Turn it")), shown(1.4, "Turn it off."))


def test_committed_text_is_not_blamed_for_what_is_still_to_come() -> None:
    found = scored(COMMAND, OFFLINE, STREAMED)
    assert (found.changed.committed, found.changed.final, found.changed.n_words) == (0, 1, 3)
    assert found.wrong is not None
    assert (found.wrong.committed, found.wrong.final) == (0, 0)
    assert (found.slots_understood, found.slots) == (1, 1)


def test_case_that_changes_takes_committed_text_back() -> None:
    assert scored(COMMAND, OFFLINE, STREAMED).n_violations == 1


def test_the_final_is_late_by_the_clip_s_end_and_by_the_end_of_speech() -> None:
    lag = scored(COMMAND, OFFLINE, STREAMED).lag
    assert lag is not None
    assert lag.final_wait_s == pytest.approx(0.1)
    assert lag.final_after_speech_s == pytest.approx(0.4)
    assert lag.committed[0] is not None
    assert lag.committed[2] is None, "the word of the offline text was never said"


def test_a_final_that_contradicts_the_committed_words_is_revised() -> None:
    run = Run((shown(0.5, "turn in"),), shown(1.4, "turn it off"))
    assert scored(COMMAND, OFFLINE, run).revised
    assert not scored(COMMAND, OFFLINE, STREAMED).revised


def test_a_loop_that_the_speaker_said_is_none() -> None:
    text = "no no no no"
    run = Run((), shown(2.0, text))
    assert scored(COMMAND, OFFLINE, run).looped
    assert not scored(replace(COMMAND, text=text), OFFLINE, run).looped


def test_text_without_speech_is_false_and_counts_nowhere_else() -> None:
    wrote = Run((shown(0.5, "", "you"), shown(1.0, "you")), shown(1.4, "Thank you."))
    silent = Run((shown(0.5, ""), shown(1.0, "")), shown(1.4, ""))
    line = summarise(
        [
            scored(COMMAND, OFFLINE, STREAMED),
            scored(NOISE, NOTHING_HEARD, wrote),
            scored(NOISE, NOTHING_HEARD, silent),
        ]
    )
    assert line.n_nonspeech == 2
    assert (line.n_false_final, line.n_false_committed, line.n_false_draft) == (1, 1, 1)
    assert line.wer_final_percent == 0
    assert line.changed_final_percent == pytest.approx(100 / 3)
    assert line.erasure == pytest.approx(1 / 3)
    assert line.n_missed_words == 1


def test_the_real_time_factor_counts_steps_and_finals_of_all_clips() -> None:
    line = summarise([scored(COMMAND, OFFLINE, STREAMED), scored(NOISE, NOTHING_HEARD, STREAMED)])
    assert line.rtf == pytest.approx(0.6 / 2.8)


def test_steps_that_compute_longer_than_they_last_do_not_keep_up() -> None:
    fast = scored(COMMAND, OFFLINE, STREAMED)
    assert keeps_up([fast])
    assert not keeps_up([replace(fast, step_compute_s=(0.6, 0.5))])
    assert not keeps_up([replace(fast, step_wait_s=(0.0, 0.7))])


def test_a_table_reads_as_markdown() -> None:
    table = Table("Speed", ("system", "RTF"), (("ours", "0.1"),), note="Less is better.")
    assert table.as_markdown() == (
        "### Speed\n\n| system | RTF |\n| --- | ---: |\n| ours | 0.1 |\n\nLess is better.\n"
    )
    assert NOTHING not in table.as_markdown()


def test_a_limit_takes_clips_from_the_whole_manifest(tmp_path: Path) -> None:
    lines = "".join(f'{{"audio": "{index}.wav"}}\n' for index in range(10))
    (tmp_path / "manifest.jsonl").write_text(lines)
    chosen = load_clips(tmp_path, limit=3)
    assert [clip.path.name for clip in chosen] == ["0.wav", "3.wav", "6.wav"]
    assert len(load_clips(tmp_path)) == 10


def test_an_unwritten_transcript_is_not_silence(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text('{"audio": "a.wav"}\n{"audio": "b.wav", "text": ""}\n')
    assert [clip.is_speech for clip in load_clips(tmp_path)] == [True, False]


def test_a_folder_without_a_manifest_is_an_error_that_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match=r"manifest\.jsonl cannot be used"):
        load_clips(tmp_path)
