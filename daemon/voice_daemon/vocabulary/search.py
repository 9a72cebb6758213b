"""Search of encoded audio for the most probable sentence of a home.

Hypotheses walk the token automaton, all in one decoder call a step, and die as soon as they cannot
come within reach of what was heard.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.cooperative import Steps
from voice_daemon.asr.model import CrossKeys
from voice_daemon.asr.tokenizer import WhisperTokenizer
from voice_daemon.vocabulary.branches import Branches, BranchingDecoder, beginning, together
from voice_daemon.vocabulary.tokens import Node, TokenAutomaton

LOWEST = -1e9


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """Bounds of the search. Scores are in nats."""

    width: int = 8
    """Hypotheses in a decoder call."""
    rivals: float = 5.0
    """Hypotheses within so much of the best sentence are followed to their end."""
    max_tokens: int = 40
    n_anything: int = 2
    """Tokens that are tried at each place of a wildcard."""
    trailing: float = 6.0
    """Hypotheses so far behind the best of the same length are given up."""
    likely: float = 1e-3
    """Probability from which on a token of the free reading counts wherever the search is."""
    n_sentences: int = 6
    """Sentences that are returned."""


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


class _Writing:
    """The model's tokens, as far as the beam needs them."""

    def __init__(self, tokenizer: WhisperTokenizer, suppressed: Sequence[int]) -> None:
        self.end = tokenizer.eot
        self.stops = tuple(tokenizer.encode(sign)[0] for sign in (".", "?", "!"))
        self.forbidden = [t for t in {*suppressed, *self.stops} if t < tokenizer.eot]
        """Never written inside a wildcard."""
        self._tokenizer = tokenizer
        self._pieces: dict[int, str] = {}

    def text(self, tokens: Sequence[int]) -> str:
        """The text of some tokens."""
        return self._tokenizer.decode(tokens).strip()

    def piece(self, token: int) -> str:
        """The text of one token, without case."""
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._tokenizer.decode([token]).casefold()
        return found


class _Hypothesis(NamedTuple):
    score: float
    tokens: tuple[int, ...]
    node: Node | None
    """None behind a full stop, where only the end may come."""
    row: int
    """Of the batch it was computed in; -1 where it is a beginning of the free reading."""
    folded: str
    """Its text without case."""
    places: tuple[int, ...]
    """Where each token's probability was computed: in the free reading, then in the batches."""


class _Whole(NamedTuple):
    """A whole sentence, its end in `places` and in `score`."""

    score: float
    tokens: tuple[int, ...]
    places: tuple[int, ...]


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
        self._writing = _Writing(tokenizer, suppressed)

    def searching(
        self,
        automaton: TokenAutomaton,
        cross: CrossKeys,
        opening: Sequence[int],
        heard: Sequence[int],
        *,
        reach: Callable[[float, int], float],
    ) -> Steps[Found]:
        """Search audio of which `heard` is the free reading, in a step a decoder call.

        `reach`: (score of what was heard, its words) -> how far below it a hypothesis is
        followed.
        """
        limits = self._limits
        free, ahead = self._decoder.read(cross, opening, heard)
        heard_score = self._score(ahead, heard)
        scored = ScoredSentence(self._writing.text(heard), heard_score)
        floor = heard_score - reach(heard_score, len(scored.text.split()))
        beam = _Beam(
            automaton,
            tuple(heard),
            ahead,
            writing=self._writing,
            limits=limits,
            floor=floor,
        )
        # Each step scores these and what may follow; all of the vocabulary comes once, last.
        likely = {*np.nonzero(ahead > np.log(limits.likely))[1].tolist(), *heard, self._writing.end}
        rows: Branches | None = None
        hidden: list[mx.array] = []
        n_calls = 1
        for length in range(limits.max_tokens):
            chosen = beam.advance(None if rows is None else rows.logprobs)
            apart = [hypothesis for hypothesis in chosen if hypothesis.row >= 0]
            if apart:
                yield
                parents = beam.parents_of(apart)
                caches = () if rows is None else rows.caches
                if min(parents) < 0:
                    # A sentence leaves the free reading here, and shares its keys up to this token.
                    begun = beginning(free, len(opening) + length)
                    n_rows = caches[0].shape[0] if caches else 0
                    caches = together(caches, begun) if caches else begun
                    parents = [n_rows if parent < 0 else parent for parent in parents]
                tokens = [hypothesis.tokens[-1] for hypothesis in apart]
                among = likely.union(*(automaton.following(h.node) for h in apart))
                rows = self._decoder.step(cross, tokens, caches, parents, among)
                hidden.append(rows.hidden)
                n_calls += 1
            elif not chosen:
                break
            else:
                rows = None
        sentences = self._scored(beam.wholes(), ahead, hidden)
        reached = tuple(sentence for sentence in sentences if sentence.score > floor)
        return Found(scored, reached, n_calls)

    def _scored(
        self, wholes: Sequence[_Whole], ahead: NDArray[np.float32], hidden: Sequence[mx.array]
    ) -> list[ScoredSentence]:
        """Score sentences over the whole vocabulary, once for what they share; the best first."""
        following = dict(enumerate(ahead))
        searched = sorted({at for whole in wholes for at in whole.places} - set(following))
        if searched:
            states = mx.concatenate([*hidden])[mx.array(searched) - len(ahead)]
            following.update(zip(searched, self._decoder.logprobs(states), strict=True))
        end = self._writing.end
        scored = []
        for whole in wholes:
            path = zip(whole.places, (*whole.tokens, end), strict=True)
            score = sum(float(following[at][token]) for at, token in path)
            scored.append(ScoredSentence(self._writing.text(whole.tokens), score))
        return sorted(scored, key=lambda sentence: -sentence.score)

    def _score(self, ahead: NDArray[np.float32], tokens: Sequence[int]) -> float:
        """Log-probability of a text with its end; a full stop that it lacks is allowed."""
        inside = float(sum(ahead[at, token] for at, token in enumerate(tokens)))
        return inside + float(ahead[len(tokens), self._writing.end])


class _Beam:
    """The hypotheses of one search."""

    def __init__(
        self,
        automaton: TokenAutomaton,
        heard: tuple[int, ...],
        ahead: NDArray[np.float32],
        *,
        writing: _Writing,
        limits: SearchLimits,
        floor: float,
    ) -> None:
        self._writing = writing
        self._limits = limits
        self._automaton = automaton
        self._heard = heard
        self._ahead = ahead
        self._floor = floor
        self._live = [_Hypothesis(0.0, (), automaton.start, -1, "", ())]
        self._n_places = len(ahead)
        """Places up to the newest batch."""
        self._parents: list[int] = []
        self._done: dict[str, _Whole] = {}
        self._best = LOWEST

    def advance(self, logprobs: NDArray[np.float32] | None) -> list[_Hypothesis]:
        """Write one token more; those that share the free reading's beginning have row -1."""
        limits = self._limits
        candidates: list[_Hypothesis] = []
        for hypothesis in self._live:
            if hypothesis.row < 0:
                following = self._ahead[len(hypothesis.tokens)]
            else:
                assert logprobs is not None  # noqa: S101 - such rows come from a step
                following = logprobs[hypothesis.row]
            candidates += self._continued(hypothesis, following)
        floor = max(self._floor, self._best - limits.rivals)
        ahead = max((c.score for c in candidates), default=LOWEST)
        floor = max(floor, ahead - limits.trailing)
        candidates = [c for c in candidates if c.score > floor]
        candidates.sort(key=lambda candidate: -candidate.score)
        self._n_places += len(self._parents)
        self._live, self._parents = [], []
        seen: set[tuple[int, str]] = set()
        for candidate in candidates:
            # Spellings that differ in case alone are one: they must not fill the beam.
            key = (id(candidate.node), candidate.folded)
            if key in seen:
                continue
            seen.add(key)
            self._keep(candidate)
            if len(self._live) >= limits.width:
                break
        return self._live

    def _keep(self, candidate: _Hypothesis) -> None:
        """Give it its row in the next batch."""
        n_tokens = len(candidate.tokens)
        if candidate.tokens == self._heard[:n_tokens]:
            self._live.append(candidate._replace(row=-1))
            return
        self._live.append(candidate._replace(row=len(self._parents)))
        self._parents.append(candidate.row)

    def parents_of(self, apart: Sequence[_Hypothesis]) -> list[int]:
        """The rows that those come from, in the batch before; -1 for the free reading's."""
        return [self._parents[hypothesis.row] for hypothesis in apart]

    def _continued(
        self, hypothesis: _Hypothesis, following: NDArray[np.float32]
    ) -> Iterator[_Hypothesis]:
        writing, node = self._writing, hypothesis.node
        score, tokens = hypothesis.score, hypothesis.tokens
        end = float(following[writing.end])
        places = self._places(hypothesis)
        if node is None:
            self._end(score + end, tokens, places)
            return
        opened = self._automaton.open(node)
        following_nodes = opened.next or {}
        if opened.accepts and tokens:
            self._end(score + end, tokens, places)
            for stop in writing.stops:
                yield _Hypothesis(
                    score + float(following[stop]),
                    (*tokens, stop),
                    None,
                    hypothesis.row,
                    hypothesis.folded + ".",
                    places,
                )
        for token in self._promising(following_nodes, following):
            yield self._with(hypothesis, token, following, following_nodes[token])
        if opened.anything is not None:
            for token in self._likeliest(following, following_nodes):
                yield self._with(hypothesis, token, following, opened.anything)

    def _with(
        self, hypothesis: _Hypothesis, token: int, following: NDArray[np.float32], node: Node
    ) -> _Hypothesis:
        return _Hypothesis(
            hypothesis.score + float(following[token]),
            (*hypothesis.tokens, token),
            node,
            hypothesis.row,
            hypothesis.folded + self._writing.piece(token),
            self._places(hypothesis),
        )

    def _places(self, hypothesis: _Hypothesis) -> tuple[int, ...]:
        """Its own places and that of its next token."""
        row = hypothesis.row
        place = len(hypothesis.tokens) if row < 0 else self._n_places + row
        return (*hypothesis.places, place)

    def _promising(self, nodes: dict[int, Node], following: NDArray[np.float32]) -> Iterator[int]:
        """Tokens that may come into the beam."""
        most = 2 * self._limits.width
        if len(nodes) <= most:
            yield from nodes
            return
        tokens = np.fromiter(nodes, dtype=np.int64, count=len(nodes))
        scores = following[tokens]
        # In no order: `advance` sorts all candidates.
        for at in np.argpartition(-scores, most)[:most]:
            yield int(tokens[at])

    def _likeliest(self, following: NDArray[np.float32], nodes: dict[int, Node]) -> Iterator[int]:
        """The model's own choice, in a wildcard."""
        allowed = following[: self._writing.end].copy()
        allowed[self._writing.forbidden] = -np.inf
        n = self._limits.n_anything
        for token in np.argpartition(-allowed, n)[:n]:
            if int(token) not in nodes:
                yield int(token)

    def _end(self, score: float, tokens: tuple[int, ...], places: tuple[int, ...]) -> None:
        """Note a whole sentence."""
        self._best = max(self._best, score)
        text = self._writing.text(tokens)
        key = text.casefold().rstrip(".?!")
        if key not in self._done or score > self._done[key].score:
            self._done[key] = _Whole(score, tokens, places)

    def wholes(self) -> list[_Whole]:
        """The most probable sentences above the floor."""
        above = [whole for whole in self._done.values() if whole.score > self._floor]
        return sorted(above, key=lambda whole: -whole.score)[: self._limits.n_sentences]
