"""Whisper's tokenizer on tiktoken, built from the vocabulary of the model at hand.

Owns the numbering of the special tokens, the languages, and how tokens group into words;
`checkpoints.byte_pairs` reads the files.

The order of the special tokens and the word rules are those of OpenAI's Whisper: end of text,
start of transcript, one token a language, six task tokens, then 1501 timestamps 20 ms apart.
"""

import codecs
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final, Self

import tiktoken

from voice_daemon.asr.checkpoints.byte_pairs import Vocabulary
from voice_daemon.errors import ModelError
from voice_daemon.events import LANGUAGES

N_TIMESTAMPS: Final = 1501
_N_TASK_TOKENS: Final = 6
_SPACELESS: Final = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
_GPT2_PATTERN: Final = (
    r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
)
_NAMED_DIFFERENTLY: Final = {"<|nocaptions|>": "<|nospeech|>"}
_SYMBOL_RUNS: Final = "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪"
_ENGLISH_ONLY_TEXT_TOKENS: Final = 50_256
_MULTILINGUAL_TEXT_TOKENS: Final = 50_257


class WhisperTokenizer:
    """Text <-> token ids, with Whisper's special tokens by name. Immutable, freely shared.

    Made by `from_vocabulary`, which checks what goes in.
    """

    def __init__(self, text_tokens: tuple[bytes, ...], n_languages: int) -> None:
        n_text = len(text_tokens)
        self.is_multilingual = n_text == _MULTILINGUAL_TEXT_TOKENS
        specials = _special_tokens(n_text, n_languages)
        self._text_tokens = text_tokens
        self._specials = specials
        self._encoding = tiktoken.Encoding(
            name=f"whisper-{n_text}-{n_languages}",
            pat_str=_GPT2_PATTERN,
            mergeable_ranks={token: rank for rank, token in enumerate(self._text_tokens)},
            special_tokens=specials,
            explicit_n_vocab=n_text + len(specials),
        )
        self.eot = specials["<|endoftext|>"]
        self.sot = specials["<|startoftranscript|>"]
        self.translate = specials["<|translate|>"]
        self.transcribe = specials["<|transcribe|>"]
        self.sot_lm = specials["<|startoflm|>"]
        self.sot_prev = specials["<|startofprev|>"]
        self.no_speech = specials["<|nospeech|>"]
        self.no_timestamps = specials["<|notimestamps|>"]
        self.timestamp_begin = specials["<|0.00|>"]
        codes = LANGUAGES[:n_languages] if self.is_multilingual else LANGUAGES[:1]
        self.languages = {code: specials[f"<|{code}|>"] for code in codes}
        """Language code -> token id; an English-only model has "en" alone."""

    @classmethod
    def from_vocabulary(cls, vocabulary: Vocabulary, *, n_vocab: int) -> Self:
        """Build the tokenizer of a model whose token embedding has `n_vocab` rows.

        That is 51864 for English-only models, 51865 for multilingual ones and 51866 with
        Cantonese (large-v3). With any other number the vocabulary's own special tokens count:
        rows behind them (padding, a fine-tune's own tokens) are never sampled. Raises ModelError
        where it names none, and for a vocabulary that is not that model's.
        """
        n_text, n_languages = _numbering(n_vocab, vocabulary.added)
        tokenizer = cls(_text_tokens(vocabulary, n_text), n_languages)
        tokenizer._check_added(vocabulary)
        return tokenizer

    def encode(self, text: str) -> list[int]:
        """Text -> token ids. The names of special tokens are plain text here."""
        return self._encoding.encode_ordinary(text)

    def decode(self, tokens: Iterable[int]) -> str:
        """Token ids -> text; special tokens and timestamps leave none, broken UTF-8 is U+FFFD."""
        return self.decode_bytes(tokens).decode("utf-8", errors="replace")

    def decode_bytes(self, tokens: Iterable[int]) -> bytes:
        """Token ids -> the UTF-8 bytes of the text tokens, which may end inside a character."""
        return b"".join(self._text_tokens[token] for token in tokens if token < self.eot)

    def sot_sequence(
        self, language: str | None = None, task: str = "transcribe"
    ) -> tuple[int, ...]:
        """List what the decoder starts from: start, language, task; without `no_timestamps`.

        An English-only model has neither language nor task. Raises ModelError for a language or
        a task that the model does not have; a multilingual model needs a language.
        """
        if task not in {"transcribe", "translate"}:
            raise ModelError(
                "model.unknown_task",
                f"no task is called {task!r}",
                remedy="use transcribe or translate",
            )
        if not self.is_multilingual:
            if language in {None, "en"} and task == "transcribe":
                return (self.sot,)
            raise ModelError(
                "model.english_only",
                f"an English-only model cannot {task} {language or 'en'!r}",
                remedy='set language = "en" and task = "transcribe", or choose a multilingual '
                "model (a name without .en)",
            )
        if language not in self.languages:
            raise ModelError(
                "model.unknown_language",
                f"the model has no language {language!r}",
                remedy=f"use one of {', '.join(sorted(self.languages))}",
            )
        task_token = self.translate if task == "translate" else self.transcribe
        return (self.sot, self.languages[language], task_token)

    @cached_property
    def non_speech_tokens(self) -> tuple[int, ...]:
        """Tokens of symbols that nobody speaks: brackets, notes, quotes, speaker tags.

        OpenAI suppresses them so that the model does not write "[MUSIC]" or "- Hello".
        """
        symbols = [*'"#()*+/:;<=>@[\\]^_`{|}~「」『』']
        symbols += _SYMBOL_RUNS.split()
        # Music signs share their first token with nothing but other signs, so the first will
        # do where there are several. A dash or a quote is only unwanted at a word's beginning.
        by_first_token = [" -", " '"]
        for sign in "♩♪♫♬♭♮♯":
            by_first_token += [sign, f" {sign}"]
        found = {self.encode(text)[0] for text in by_first_token}
        for symbol in symbols:
            for tokens in (self.encode(symbol), self.encode(f" {symbol}")):
                if len(tokens) == 1:
                    found.update(tokens)
        return tuple(sorted(found))

    @cached_property
    def default_suppress_tokens(self) -> tuple[int, ...]:
        """Tokens that OpenAI never samples: `non_speech_tokens` and the task tokens."""
        tasks = (self.sot, self.translate, self.transcribe, self.sot_lm, self.sot_prev)
        return tuple(sorted({*self.non_speech_tokens, *tasks, self.no_speech}))

    def split_words(
        self, tokens: Sequence[int], *, language: str | None = None
    ) -> list[tuple[str, tuple[int, ...]]]:
        """Token ids -> [(word, its tokens)], each word with its leading space if it has one.

        A word begins at a space, at punctuation and at a special token (whose text is empty);
        languages written without spaces are split at every whole character. Tokens that end
        inside a character stay with the next. All tokens are returned, in order.
        """
        pieces = self._split_characters(tokens)
        if language in _SPACELESS:
            return list(pieces)
        words: list[tuple[str, tuple[int, ...]]] = []
        for text, piece in pieces:
            begins = piece[0] >= self.eot or text.startswith(" ")
            if begins or not words or text.strip() in string.punctuation:
                words.append((text, piece))
            else:
                words[-1] = (words[-1][0] + text, words[-1][1] + piece)
        return words

    def _check_added(self, vocabulary: Vocabulary) -> None:
        """ModelError where the file numbers a special token other than Whisper does."""
        for name, token in vocabulary.added.items():
            expected = self._specials.get(_NAMED_DIFFERENTLY.get(name, name), token)
            if expected != token:
                raise ModelError(
                    "model.bad_vocabulary",
                    f"{vocabulary.source} numbers {name} {token}, the model needs {expected}",
                    remedy="take the vocabulary of the same model: English-only, multilingual "
                    "and large-v3 ones differ",
                )

    def _split_characters(self, tokens: Iterable[int]) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the shortest runs of tokens that end on a character's end, with their text."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        text = ""
        run: list[int] = []
        for token in tokens:
            if token >= self.eot:
                if run:
                    yield text + decoder.decode(b"", final=True), tuple(run)
                    # A special token ends no character: one that was begun is broken off.
                    decoder.reset()
                    text, run = "", []
                yield "", (token,)
                continue
            text += decoder.decode(self._text_tokens[token])
            run.append(token)
            if not decoder.getstate()[0]:
                yield text, tuple(run)
                text, run = "", []
        if run:
            yield text + decoder.decode(b"", final=True), tuple(run)


def _numbering(n_vocab: int, added: Mapping[str, int]) -> tuple[int, int]:
    """(text tokens, languages) of a model with `n_vocab` tokens, of which some may be its own."""
    for n_text, n_languages in (
        (_ENGLISH_ONLY_TEXT_TOKENS, len(LANGUAGES) - 1),
        (_MULTILINGUAL_TEXT_TOKENS, len(LANGUAGES) - 1),
        (_MULTILINGUAL_TEXT_TOKENS, len(LANGUAGES)),
    ):
        if n_vocab == _n_tokens(n_text, n_languages):
            return n_text, n_languages
    n_text = added.get("<|endoftext|>", 0)
    n_languages = added.get("<|translate|>", 0) - added.get("<|startoftranscript|>", 0) - 1
    is_whole = n_text > 0 and 0 < n_languages <= len(LANGUAGES)
    if is_whole and _n_tokens(n_text, n_languages) <= n_vocab:
        return n_text, n_languages
    raise ModelError(
        "model.unknown_vocabulary",
        f"the model has {n_vocab} tokens, Whisper has 51864, 51865 or 51866, and its vocabulary "
        "does not say what the others are",
        remedy="put the model's own tokenizer.json beside its weights",
    )


def _n_tokens(n_text: int, n_languages: int) -> int:
    return n_text + 2 + n_languages + _N_TASK_TOKENS + N_TIMESTAMPS


def _special_tokens(n_text: int, n_languages: int) -> dict[str, int]:
    names = [
        "<|endoftext|>",
        "<|startoftranscript|>",
        *(f"<|{code}|>" for code in LANGUAGES[:n_languages]),
        *("<|translate|>", "<|transcribe|>", "<|startoflm|>"),
        *("<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
        *(f"<|{step * 0.02:.2f}|>" for step in range(N_TIMESTAMPS)),
    ]
    return {name: n_text + at for at, name in enumerate(names)}


def _text_tokens(vocabulary: Vocabulary, n_text: int) -> tuple[bytes, ...]:
    """Return the `n_text` text tokens; ModelError unless distinct and covering every byte."""
    tokens = vocabulary.tokens[:n_text]
    distinct = set(tokens)
    if len(distinct) != n_text:
        fault = f"{len(distinct)} distinct text tokens, the model needs {n_text}"
    elif not distinct.issuperset(bytes([byte]) for byte in range(256)):
        fault = "no token for some byte"
    else:
        return tokens
    raise ModelError(
        "model.bad_vocabulary",
        f"{vocabulary.source} has {fault}",
        remedy="take the vocabulary of the same model: English-only and multilingual ones differ",
    )
