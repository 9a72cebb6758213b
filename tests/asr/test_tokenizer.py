"""The tokenizer against Hugging Face's `tokenizers` on the same tokenizer.json."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import faster_whisper.tokenizer
import mlx.core as mx
import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from support.whisper_files import tiny_en, tiny_en_folder
from voice_daemon.asr import DecodingTask
from voice_daemon.asr.checkpoints.byte_pairs import Vocabulary, read_vocabulary
from voice_daemon.asr.load import _build_model
from voice_daemon.asr.tokenizer import WhisperTokenizer
from voice_daemon.errors import ModelError
from voice_daemon.events import LANGUAGES

N_VOCAB = 51_864

TEXTS = [
    "",
    " ",
    "  two  spaces \n\t and lines \r\n",
    " Turn on the kitchen lights.",
    " Don't, we'll; they've I'm HE'S",
    " 21.5 degrees, 1,000,000 times",
    " naïve café — “quoted” …",
    " Öffne die Tür für große Bären",
    " включи свет",
    " 打开厨房的灯。",
    "キッチンの電気をつけて",
    " 부엌 불 켜줘",
    " เปิดไฟในครัว",
    " شغل الضوء",
    " 💡🏠👩‍👩‍👧‍👦🇩🇪",
    "\u00a0\u2003\u200b\ufeff",
    " a\u0301 combining",
    "\x00\x01\x7f",
    " ????!!!...---",
    "<|endoftext|> is plain text <|0.00|>",
]


@cache
def tokenizer() -> WhisperTokenizer:
    return WhisperTokenizer.from_vocabulary(tiny_en().vocabulary, n_vocab=N_VOCAB)


@cache
def reference() -> tokenizers.Tokenizer:
    """The same file, without the special tokens: ours takes their names as plain text."""
    document = json.loads((tiny_en_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    document["added_tokens"] = []
    return tokenizers.Tokenizer.from_str(json.dumps(document))


@cache
def faster_whispers() -> faster_whisper.tokenizer.Tokenizer:
    file = str(tiny_en_folder() / "tokenizer.json")
    return faster_whisper.tokenizer.Tokenizer(
        tokenizers.Tokenizer.from_file(file), multilingual=False
    )


@cache
def multilingual() -> WhisperTokenizer:
    """The numbering of a multilingual model, on the English tokens and one that is empty."""
    tokens = tiny_en().vocabulary.tokens[:50_256]
    return WhisperTokenizer.from_vocabulary(Vocabulary((*tokens, b"")), n_vocab=51_866)


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_the_tokenizers_library(text: str) -> None:
    assert tokenizer().encode(text) == reference().encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("text", TEXTS)
def test_text_survives_the_round_trip(text: str) -> None:
    assert tokenizer().decode(tokenizer().encode(text)) == text


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_agrees_and_survives(text: str) -> None:
    ids = tokenizer().encode(text)
    assert ids == reference().encode(text, add_special_tokens=False).ids
    assert tokenizer().decode(ids) == text


def test_special_tokens_are_those_of_the_models_own_file() -> None:
    ours = tokenizer()
    document = json.loads((tiny_en_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    theirs = {entry["content"]: entry["id"] for entry in document["added_tokens"]}
    assert ours.eot == theirs["<|endoftext|>"]
    assert ours.sot == theirs["<|startoftranscript|>"]
    assert ours.translate == theirs["<|translate|>"]
    assert ours.transcribe == theirs["<|transcribe|>"]
    assert ours.sot_lm == theirs["<|startoflm|>"]
    assert ours.sot_prev == theirs["<|startofprev|>"]
    assert ours.no_speech == theirs["<|nocaptions|>"]
    assert ours.no_timestamps == theirs["<|notimestamps|>"]
    assert ours.timestamp_begin == theirs["<|notimestamps|>"] + 1
    assert ours.languages == {"en": theirs["<|en|>"]}
    assert not ours.is_multilingual


def test_last_timestamp_is_the_last_token() -> None:
    lines = (tiny_en_folder() / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
    assert lines[tokenizer().timestamp_begin] == "<|0.00|>"
    assert lines[N_VOCAB - 1] == "<|30.00|>"


def test_large_v3_has_cantonese_and_all_the_others_keep_their_place() -> None:
    large = multilingual()
    assert large.is_multilingual
    assert large.eot == 50_257
    assert large.languages["en"] == 50_259
    assert large.languages["yue"] == 50_358
    assert large.transcribe == 50_360
    assert large.timestamp_begin == 50_365
    assert len(large.languages) == len(LANGUAGES) == 100


def test_language_codes_are_those_of_faster_whisper() -> None:
    assert sorted(LANGUAGES) == sorted(faster_whisper.tokenizer._LANGUAGE_CODES)


def test_computed_suppression_is_the_models_published_list() -> None:
    assert tiny_en().suppress_tokens == tokenizer().default_suppress_tokens


def test_special_tokens_leave_no_text() -> None:
    ours = tokenizer()
    tokens = [ours.sot, *ours.encode(" on"), ours.timestamp_begin + 7, ours.eot]
    assert ours.decode(tokens) == " on"
    assert ours.decode_bytes(tokens) == b" on"


def test_half_a_character_is_bytes_until_the_rest_comes() -> None:
    ours = tokenizer()
    tokens = ours.encode(" 💡")
    assert len(tokens) > 1
    assert ours.decode_bytes(tokens[:1]) == " 💡".encode()[: len(ours.decode_bytes(tokens[:1]))]
    assert ours.decode(tokens[:1]).endswith("\ufffd")
    assert ours.decode(tokens) == " 💡"


def test_english_only_sequence_has_neither_language_nor_task() -> None:
    assert tokenizer().sot_sequence() == (tokenizer().sot,)
    assert tokenizer().sot_sequence("en", "transcribe") == (tokenizer().sot,)


@pytest.mark.parametrize(("language", "task"), [("de", "transcribe"), ("en", "translate")])
def test_english_only_model_says_what_it_cannot_do(language: str, task: str) -> None:
    with pytest.raises(ModelError, match="English-only") as caught:
        tokenizer().sot_sequence(language, task)
    assert caught.value.code == "model.english_only"


def test_multilingual_sequence_names_language_and_task() -> None:
    large = multilingual()
    german = large.languages["de"]
    assert large.sot_sequence("de") == (large.sot, german, large.transcribe)
    assert large.sot_sequence("de", "translate") == (large.sot, german, large.translate)


@pytest.mark.parametrize("language", [None, "klingon", "auto"])
def test_unknown_language_is_refused_with_the_choice(language: str | None) -> None:
    with pytest.raises(ModelError, match="no language") as caught:
        multilingual().sot_sequence(language)
    assert "de" in caught.value.remedy


def test_unknown_task_is_refused() -> None:
    with pytest.raises(ModelError, match="'sing'"):
        tokenizer().sot_sequence("en", "sing")


def words(text: str, language: str | None = None) -> list[str]:
    return [
        word for word, _ in tokenizer().split_words(tokenizer().encode(text), language=language)
    ]


def test_words_keep_their_space_and_punctuation_stands_alone() -> None:
    assert words(" Turn on, the kitchen's lights.") == [
        *(" Turn", " on", ",", " the", " kitchen's", " lights", "."),
    ]


def test_languages_without_spaces_split_at_every_whole_character() -> None:
    assert "".join(words("打开灯", "zh")) == "打开灯"
    assert len(words("打开灯", "zh")) == 3
    assert len(words("打开灯")) == 1


def test_special_tokens_are_words_without_text() -> None:
    ours = tokenizer()
    tokens = [*ours.encode(" on"), ours.timestamp_begin, *ours.encode(" off"), ours.eot]
    split = ours.split_words(tokens)
    assert [word for word, _ in split] == [" on", "", " off", ""]
    assert [token for _, piece in split for token in piece] == tokens


def test_character_cut_by_the_end_is_shown_as_broken() -> None:
    ours = tokenizer()
    tokens = ours.encode(" a 💡")[:-1]
    assert ours.split_words(tokens)[-1][0].endswith("\ufffd")
    assert ours.split_words([*tokens, ours.eot])[-1] == ("", (ours.eot,))


@given(st.text(max_size=40), st.sampled_from(["en", "zh"]))
@settings(max_examples=200, deadline=None)
def test_words_of_any_text_are_those_of_faster_whisper(text: str, language: str) -> None:
    tokens = tokenizer().encode(text)
    theirs = faster_whispers()
    theirs.language_code = language
    assert tokenizer().split_words(tokens, language=language) == [
        (word, tuple(piece))
        for word, piece in zip(*theirs.split_to_word_tokens(tokens), strict=True)
    ]


@given(st.lists(st.integers(0, N_VOCAB - 1), max_size=30))
@settings(max_examples=200, deadline=None)
def test_splitting_any_tokens_loses_none(tokens: list[int]) -> None:
    text = [token for token in tokens if token < tokenizer().eot]
    for language in ("en", "ja"):
        split = tokenizer().split_words(tokens, language=language)
        assert [token for _, piece in split for token in piece] == tokens
        # A special token between the bytes of one character parts them: no text has one inside.
        split = tokenizer().split_words(text, language=language)
        assert "".join(word for word, _ in split).replace("\ufffd", "") == (
            tokenizer().decode(text).replace("\ufffd", "")
        )


@given(st.text(alphabet="ab é💡日 ,.'", max_size=20))
@settings(max_examples=100, deadline=None)
def test_words_before_the_last_do_not_change_when_more_follows(text: str) -> None:
    tokens = tokenizer().encode(text)
    whole = tokenizer().split_words(tokens)
    for end in range(len(tokens)):
        earlier = tokenizer().split_words(tokens[:end])[:-1]
        assert earlier == whole[: len(earlier)]


@pytest.mark.parametrize("n_vocab", [0, 51_863, 51_867, 51_968])
def test_another_size_is_refused_where_the_vocabulary_does_not_explain_it(n_vocab: int) -> None:
    unnamed = replace(tiny_en().vocabulary, added={})
    for vocabulary in (unnamed, tiny_en().vocabulary)[: 1 if n_vocab > N_VOCAB else 2]:
        with pytest.raises(ModelError, match=str(n_vocab)):
            WhisperTokenizer.from_vocabulary(vocabulary, n_vocab=n_vocab)


@pytest.mark.parametrize("n_vocab", [51_867, 51_872, 51_968])
def test_a_padded_model_has_the_special_tokens_of_its_own_file(n_vocab: int) -> None:
    own = {**tiny_en().vocabulary.added, "<|speaker|>": 51_864}
    padded = WhisperTokenizer.from_vocabulary(
        replace(tiny_en().vocabulary, added=own), n_vocab=n_vocab
    )
    assert not padded.is_multilingual
    assert (padded.eot, padded.timestamp_begin) == (tokenizer().eot, tokenizer().timestamp_begin)
    assert padded.encode(" turn on the light") == tokenizer().encode(" turn on the light")


def test_a_padded_model_reads_as_the_one_without_padding(
    command_speech: NDArray[np.float32],
) -> None:
    data, name = tiny_en(), "decoder.token_embedding.weight"
    table = data.arrays[name]
    # Rows that would win every choice, were they among those to choose from.
    padding = mx.repeat(table.max(axis=0, keepdims=True), 104, axis=0)
    padded = replace(
        data,
        dims=replace(data.dims, n_vocab=N_VOCAB + 104),
        arrays={**data.arrays, name: mx.concatenate([table, padding])},
    )
    read = DecodingTask(_build_model(padded, dtype=mx.float32, name="padded")).run(command_speech)
    assert "turn on the kitchen lights" in read.text.lower()


def test_english_vocabulary_does_not_fit_a_multilingual_model() -> None:
    with pytest.raises(ModelError, match=r"numbers <\|endoftext\|> 50256"):
        WhisperTokenizer.from_vocabulary(tiny_en().vocabulary, n_vocab=51_865)


def test_vocabulary_that_is_too_small_is_refused() -> None:
    with pytest.raises(ModelError, match="100 distinct text tokens"):
        WhisperTokenizer.from_vocabulary(
            Vocabulary(tiny_en().vocabulary.tokens[:100]), n_vocab=N_VOCAB
        )


def test_vocabulary_without_a_byte_is_refused() -> None:
    tokens = (b"no such token", *tiny_en().vocabulary.tokens[1:])
    with pytest.raises(ModelError, match="no token for some byte"):
        WhisperTokenizer.from_vocabulary(Vocabulary(tokens), n_vocab=N_VOCAB)


def forms(folder: Path) -> None:
    """The tiny.en vocabulary in the other forms, each in a folder of its own."""
    document = json.loads((tiny_en_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    lines = (tiny_en_folder() / "vocabulary.txt").read_text(encoding="utf-8").split("\n")[:-1]
    added = {entry["content"]: entry["id"] for entry in document["added_tokens"]}
    for name in ("vocab", "list", "lines"):
        (folder / name).mkdir()
    (folder / "vocab" / "vocab.json").write_text(json.dumps(document["model"]["vocab"]))
    (folder / "vocab" / "added_tokens.json").write_text(json.dumps(added))
    (folder / "list" / "vocabulary.json").write_text(json.dumps(lines))
    shutil.copy(tiny_en_folder() / "vocabulary.txt", folder / "lines")


@pytest.mark.parametrize("form", ["vocab", "list", "lines"])
def test_every_form_of_the_vocabulary_gives_the_same_tokens(tmp_path: Path, form: str) -> None:
    forms(tmp_path)
    vocabulary = read_vocabulary(tmp_path / form)
    assert vocabulary.tokens[:50_256] == tiny_en().vocabulary.tokens[:50_256]
    other = WhisperTokenizer.from_vocabulary(vocabulary, n_vocab=N_VOCAB)
    assert other.encode(" naïve 打开 💡") == tokenizer().encode(" naïve 打开 💡")
    assert vocabulary.added["<|notimestamps|>"] == tokenizer().no_timestamps


def test_folder_without_vocabulary_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no vocabulary") as caught:
        read_vocabulary(tmp_path)
    assert "daemonctl models pull" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", '{"added_tokens": [], "model": {"vocab": {"a": 1}}}'),
        ("tokenizer.json", '{"added_tokens": [{}], "model": {"vocab": {}}}'),
        ("tokenizer.json", "[" * 100_000),
        ("vocab.json", '{"a": "b", "c": 0}'),
        ("vocab.json", "null"),
        ("vocabulary.json", "[1, 2]"),
        ("vocabulary.txt", b"\xc3\x28"),
    ],
)
def test_damaged_vocabulary_is_named(tmp_path: Path, name: str, content: str | bytes) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ModelError, match=name):
        read_vocabulary(tmp_path)
