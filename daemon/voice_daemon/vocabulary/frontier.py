"""The hypotheses of a search: beginnings of sentences, and which are worth another look.

Pure but for the automaton, which makes its nodes as they are asked for.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.tokenizer import WhisperTokenizer
from voice_daemon.vocabulary.spoken import edit_share
from voice_daemon.vocabulary.tokens import Node, TokenAutomaton

LOWEST = -1e9


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """Bounds of the search. Scores are in nats."""

    width: int = 8
    """Hypotheses of a length that are followed, and that are in a decoder call."""
    rivals: float = 5.0
    """Hypotheses within so much of the best sentence are followed to their end, at most."""
    max_tokens: int = 40
    max_calls: int = 40
    n_anything: int = 2
    """Tokens that are tried at each place of a wildcard."""
    trailing: float = 6.0
    """Hypotheses so far behind the best of the same length are given up."""
    unlike: float = 0.6
    """Letters that may differ before a wildcard, of all."""
    n_rows: int = 20
    """Tokens in a decoder call, guesses of what may follow included."""
    guess: float = 0.01
    """Probability from which on a token is guessed to follow."""
    second_guess: float = 2.0
    """How far behind the best guess another one may be."""
    nats_of_place: float = 1.5
    """What a token of the free reading counts less for each token that it stands before or behind
    where it is expected."""
    n_sentences: int = 6
    """Sentences that are returned."""


class Writing:
    """The model's tokens, as far as the search needs them."""

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


class Hypothesis(NamedTuple):
    """The beginning of a sentence."""

    score: float
    tokens: tuple[int, ...]
    node: Node | None
    """None behind a full stop, where only the end may come."""
    folded: str
    """Its text without case."""
    places: tuple[int, ...]
    """Where each of its tokens was predicted: see `TokenTree`."""
    at: int
    """Tokens of the free reading that it has come past, as far as one can tell."""
    wild: str = ""
    """What stands in the wildcard that it is in."""


class Whole(NamedTuple):
    """A whole sentence, its end in `places` and in `score`."""

    score: float
    tokens: tuple[int, ...]
    places: tuple[int, ...]


class Batch(NamedTuple):
    """What is to be read in one call."""

    tokens: list[int]
    parents: list[int]
    """The place that each token follows; one may be of this batch."""
    texts: list[tuple[int, ...]]
    """All tokens up to and with each."""
    nodes: list[Node | None]


class Frontier:
    """Walks the automaton as far as the places that were read, and says which come next.

    Hypotheses are taken up as they come near the best of their length, whatever that is, so that
    a call reads many. With them go guesses: a sentence that left the free reading mostly comes
    back to it, and what follows there is the best guess of what follows here.
    """

    def __init__(
        self,
        automaton: TokenAutomaton,
        heard: tuple[int, ...],
        trunk: NDArray[np.float32],
        *,
        writing: Writing,
        limits: SearchLimits,
        floor: float,
        rival_floor: Callable[[str, float], float],
    ) -> None:
        """`rival_floor`: see `SentenceSearch.searching`."""
        self._automaton = automaton
        self._heard, self._trunk = heard, trunk
        self._writing, self._limits = writing, limits
        self._rival_floor = rival_floor
        self._said = _letters(writing.text(heard))
        self._following: list[NDArray[np.float32]] = [*trunk]
        """Of each place, the log-probabilities of what comes next."""
        self._places = {heard[:k]: k for k in range(len(heard) + 1)}
        self._open = [Hypothesis(0.0, (), automaton.start, "", (), 0)]
        self._best_spelling: dict[tuple[int, str], tuple[float, int]] = {
            _spelling(self._open[0]): (0.0, 0)
        }
        self._costs: dict[int, list[float]] = {0: [0.0]}
        """By the number of tokens, the negative scores in their order."""
        self._done: dict[str, Whole] = {}
        self._least = floor
        """The score from which on a hypothesis matters; rises with every whole sentence."""

    def next_batch(self) -> Batch | None:
        """What to read next; None where nothing is worth it."""
        self._expand()
        waiting = sorted(self._open, key=self._deficit)
        if not waiting:
            return None
        batch = self._with_guesses(waiting[: self._limits.width])
        # The others may not need their turn, but there is room.
        for hypothesis in waiting[self._limits.width :][: self._limits.n_rows - len(batch.tokens)]:
            text = hypothesis.tokens
            if text not in batch.texts:
                _put(batch, text, hypothesis.node, self._places[text[:-1]])
        return batch

    def read(self, batch: Batch, logprobs: NDArray[np.float32]) -> None:
        """Take over what was read."""
        for text, row in zip(batch.texts, logprobs, strict=True):
            self._places[text] = len(self._following)
            self._following.append(row)

    def following(self, batch: Batch) -> Collection[int]:
        """Tokens that may come after those of a batch."""
        return set().union(*(self._automaton.following(node) for node in batch.nodes))

    def wholes(self) -> list[Whole]:
        """The most probable sentences that matter."""
        above = [whole for whole in self._done.values() if whole.score > self._least]
        return sorted(above, key=lambda whole: -whole.score)[: self._limits.n_sentences]

    def _expand(self) -> None:
        """Continue every hypothesis that ends at a place that was read."""
        while True:
            self._open = [h for h in self._open if self._is_worth(h)]
            known = [h for h in self._open if h.tokens in self._places]
            if not known:
                return
            self._open = [h for h in self._open if h.tokens not in self._places]
            # The nearest first: what they come to may spare the others.
            for hypothesis in sorted(known, key=self._deficit):
                if self._is_worth(hypothesis) and len(hypothesis.tokens) < self._limits.max_tokens:
                    for child in self._continued(hypothesis):
                        self._add(child)

    def _deficit(self, hypothesis: Hypothesis) -> float:
        """How far it lies behind the best of its length."""
        return -self._costs[len(hypothesis.tokens)][0] - hypothesis.score

    def _is_worth(self, hypothesis: Hypothesis) -> bool:
        limits, score = self._limits, hypothesis.score
        if score <= self._least:
            return False
        # One whose spelling is better in other tokens counts in no costs: there may be none left.
        if score < self._best_spelling[_spelling(hypothesis)][0]:
            return False
        costs = self._costs[len(hypothesis.tokens)]
        return score > -costs[0] - limits.trailing and bisect_left(costs, -score) < limits.width

    def _add(self, child: Hypothesis) -> None:
        """Spellings that differ in case alone are one: they must not fill the beam."""
        key, n_tokens = _spelling(child), len(child.tokens)
        before = self._best_spelling.get(key)
        if child.score <= self._least or (before is not None and before[0] >= child.score):
            return
        if before is not None:
            self._costs[before[1]].remove(-before[0])
        self._best_spelling[key] = child.score, n_tokens
        insort(self._costs.setdefault(n_tokens, []), -child.score)
        self._open.append(child)

    def _continued(self, hypothesis: Hypothesis) -> Iterator[Hypothesis]:
        writing, node = self._writing, hypothesis.node
        place = self._places[hypothesis.tokens]
        following = self._following[place]
        end = hypothesis.score + float(following[writing.end])
        places = (*hypothesis.places, place)
        if node is None:
            self._end(end, hypothesis.tokens, places)
            return
        opened = self._automaton.open(node)
        nodes = opened.next or {}
        if opened.accepts and hypothesis.tokens:
            self._end(end, hypothesis.tokens, places)
            for stop in writing.stops:
                yield self._with(hypothesis, stop, following, None, ".")
        for token in self._promising(nodes, following):
            yield self._with(hypothesis, token, following, nodes[token])
        if opened.anything is not None:
            for token in self._likeliest(following, nodes):
                wild = _letters(hypothesis.wild + writing.piece(token))
                if self._may_stand(wild, hypothesis):
                    child = self._with(hypothesis, token, following, opened.anything)
                    yield child._replace(wild=wild)

    def _with(
        self,
        hypothesis: Hypothesis,
        token: int,
        following: NDArray[np.float32],
        node: Node | None,
        piece: str | None = None,
    ) -> Hypothesis:
        return Hypothesis(
            hypothesis.score + float(following[token]),
            (*hypothesis.tokens, token),
            node,
            hypothesis.folded + (self._writing.piece(token) if piece is None else piece),
            (*hypothesis.places, self._places[hypothesis.tokens]),
            self._past(hypothesis.at, token),
        )

    def _past(self, at: int, token: int) -> int:
        """Where the free reading goes on after a token."""
        piece, n_heard = self._writing.piece(token), len(self._heard)
        nearby = range(at, min(at + 3, n_heard))
        same = (k for k in nearby if self._writing.piece(self._heard[k]) == piece)
        return next(same, min(at, n_heard - 1)) + 1

    def _promising(self, nodes: dict[int, Node], following: NDArray[np.float32]) -> Iterator[int]:
        """Tokens that may come into the beam."""
        most = 2 * self._limits.width
        if len(nodes) <= most:
            yield from nodes
            return
        tokens = np.fromiter(nodes, dtype=np.int64, count=len(nodes))
        scores = following[tokens]
        # In no order: they are sorted with all others.
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

    def _may_stand(self, wild: str, before: Hypothesis) -> bool:
        """True where letters may stand in a wildcard: as they were heard, behind what sounds alike.

        Anything else is not taken in the end (see `Reading.keeps`), and would follow any speech.
        """
        at = self._said.find(wild)
        if at < 0 or before.wild:
            return at >= 0
        return edit_share(_letters(before.folded), self._said[:at]) < self._limits.unlike

    def _end(self, score: float, tokens: tuple[int, ...], places: tuple[int, ...]) -> None:
        """Note a whole sentence."""
        text = self._writing.text(tokens)
        key = text.casefold().rstrip(".?!")
        if key not in self._done or score > self._done[key].score:
            self._done[key] = Whole(score, tokens, places)
            if score > self._least:
                least = max(score - self._limits.rivals, self._rival_floor(text, score))
                self._least = max(self._least, least)

    def _with_guesses(self, first: Sequence[Hypothesis]) -> Batch:
        """The batch of some hypotheses and of what probably follows them, a token after another."""
        batch = Batch([], [], [], [])
        n_known = len(self._following)
        ends: list[tuple[int, Node | None, int]] = []
        for hypothesis in first:
            text = hypothesis.tokens
            _put(batch, text, hypothesis.node, self._places[text[:-1]])
            ends.append((n_known + len(ends), hypothesis.node, hypothesis.at))
        while ends and len(batch.tokens) < self._limits.n_rows:
            parent, node, at = ends.pop(0)
            for token, after in self._guesses(node, at):
                text = (*batch.texts[parent - n_known], token)
                if text in self._places or len(batch.tokens) >= self._limits.n_rows:
                    continue
                ends.append((n_known + len(batch.tokens), after, self._past(at, token)))
                _put(batch, text, after, parent)
        return batch

    def _guesses(self, node: Node | None, at: int) -> Iterator[tuple[int, Node | None]]:
        """What may follow a node where the free reading has come to `at`."""
        if node is None:
            return
        opened = self._automaton.open(node)
        nearby = np.arange(max(0, at - 1), min(at + 3, len(self._trunk)))
        # The free reading may be a word ahead or behind, but mostly it is not.
        unsure = self._limits.nats_of_place * np.abs(nearby - at)[:, None]
        if opened.next:
            tokens = np.fromiter(opened.next, dtype=np.int64, count=len(opened.next))
            likely = (self._trunk[np.ix_(nearby, tokens)] - unsure).max(axis=0)
            top = float(likely.max())
            least = max(top - self._limits.second_guess, np.log(self._limits.guess))
            for index in np.argsort(-likely)[:2]:
                if likely[index] >= least or len(tokens) == 1:
                    token = int(tokens[index])
                    yield token, opened.next[token]
        if opened.accepts:
            stops = self._trunk[np.ix_(nearby, np.array(self._writing.stops))].max(axis=0)
            yield self._writing.stops[int(stops.argmax())], None


def _put(batch: Batch, text: tuple[int, ...], node: Node | None, parent: int) -> None:
    batch.tokens.append(text[-1])
    batch.parents.append(parent)
    batch.texts.append(text)
    batch.nodes.append(node)


def _spelling(hypothesis: Hypothesis) -> tuple[int, str]:
    return id(hypothesis.node), hypothesis.folded


def _letters(text: str) -> str:
    """The text without case, spaces and signs."""
    return "".join(sign for sign in text.casefold() if sign.isalnum())
