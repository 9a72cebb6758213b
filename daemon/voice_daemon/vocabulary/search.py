"""Search of encoded audio for the most probable sentence of a home.

Hypotheses walk the token automaton, many in one decoder call, and die as soon as they cannot come
within reach of what was heard.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.cooperative import Steps
from voice_daemon.asr.model import CrossKeys
from voice_daemon.asr.tokenizer import WhisperTokenizer
from voice_daemon.vocabulary.branches import BranchingDecoder, TokenTree
from voice_daemon.vocabulary.frontier import LOWEST, Frontier, SearchLimits, Whole, Writing
from voice_daemon.vocabulary.tokens import TokenAutomaton


@dataclass(frozen=True, slots=True)
class ScoredSentence:
    """A text and its log-probability, end-of-text included."""

    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search."""

    heard: ScoredSentence
    """The free reading."""
    sentences: tuple[ScoredSentence, ...]
    """The home's, the most probable first; () where none came within reach."""
    n_calls: int
    """Calls of the decoder."""


class SentenceSearch:
    """Searches with one model; `searching` may be given up at any step."""

    def __init__(
        self,
        decoder: BranchingDecoder,
        tokenizer: WhisperTokenizer,
        *,
        suppressed: Sequence[int] = (),
        limits: SearchLimits | None = None,
    ) -> None:
        self._decoder = decoder
        self._limits = limits or SearchLimits()
        self._writing = Writing(tokenizer, suppressed)

    def searching(
        self,
        automaton: TokenAutomaton,
        cross: CrossKeys,
        opening: Sequence[int],
        heard: Sequence[int],
        *,
        reach: Callable[[float, int], float],
        rival_floor: Callable[[str, float], float] = lambda _text, _score: LOWEST,
    ) -> Steps[Found]:
        """Search audio of which `heard` is the free reading, in a step a decoder call.

        `reach`: (score of what was heard, its words) -> how far below it a hypothesis is
        followed. `rival_floor`: (a whole sentence, its score) -> the score from which on others
        matter beside it.
        """
        limits, writing = self._limits, self._writing
        # Calls score what matters; all of the vocabulary comes once, last.
        wanted = {*heard, writing.end, *writing.stops, *automaton.known_tokens}
        along = automaton.following_along(heard)
        tree = self._decoder.read(cross, opening, heard, wanted.union(along))
        near_score = self._score(tree.trunk, heard)
        floor = near_score - reach(near_score, len(writing.text(heard).split()))
        frontier = Frontier(
            automaton,
            tuple(heard),
            tree.trunk,
            writing=writing,
            limits=limits,
            floor=floor,
            rival_floor=rival_floor,
        )
        n_calls = 1
        while n_calls < limits.max_calls and (batch := frontier.next_batch()) is not None:
            yield
            among = wanted.union(frontier.following(batch))
            frontier.read(batch, tree.grow(batch.tokens, batch.parents, among))
            n_calls += 1
        heard_score, sentences = self._scored(frontier.wholes(), tree, heard)
        floor += heard_score - near_score
        reached = tuple(sentence for sentence in sentences if sentence.score > floor)
        return Found(ScoredSentence(writing.text(heard), heard_score), reached, n_calls)

    def _scored(
        self, wholes: Sequence[Whole], tree: TokenTree, heard: Sequence[int]
    ) -> tuple[float, list[ScoredSentence]]:
        """What was heard and sentences over the whole vocabulary, once for what they share.

        The best sentence comes first. Without any, nobody asks how probable exactly it is that
        was heard.
        """
        if not wholes:
            return self._score(tree.trunk, heard), []
        searched = {at for whole in wholes for at in whole.places} - set(range(len(heard) + 1))
        places = [*range(len(heard) + 1), *sorted(searched)]
        logprobs = tree.logprobs(places)
        following = dict(zip(places, logprobs, strict=True))
        end = self._writing.end
        scored = []
        for whole in wholes:
            path = zip(whole.places, (*whole.tokens, end), strict=True)
            score = sum(float(following[at][token]) for at, token in path)
            scored.append(ScoredSentence(self._writing.text(whole.tokens), score))
        best_first = sorted(scored, key=lambda sentence: -sentence.score)
        return self._score(logprobs[: len(heard) + 1], heard), best_first

    def _score(self, ahead: NDArray[np.float32], tokens: Sequence[int]) -> float:
        """Log-probability of a text with its end; a full stop that it lacks is allowed."""
        inside = float(sum(ahead[at, token] for at, token in enumerate(tokens)))
        return inside + float(ahead[len(tokens), self._writing.end])
