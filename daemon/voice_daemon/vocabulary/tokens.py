"""The grammar's sentences as an automaton over a model's tokens, made as the search walks it.

A text's words begin with a space, so that each has its own tokens whatever stands around it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from voice_daemon.asr.cooperative import Steps
from voice_daemon.vocabulary.grammar import START, ListArc, Position, SentenceGrammar

MAX_NODES = 50_000
"""Nodes that are kept; beyond it they are made anew for the next utterance."""
LONGEST_INITIALS = 4
"""Letters of a word that may be initials, such as HVAC."""

Positions = frozenset["Position"]


class _Trie:
    """Values of a list in tokens: one node before or inside a word."""

    __slots__ = ("ends", "final", "next")

    def __init__(self) -> None:
        self.next: dict[int, _Trie] = {}
        self.ends: _Trie | None = None
        """The node before the next word, where a word may end here."""
        self.final = False
        """True before a word that need not come."""


class Node:
    """A state: what may be written next."""

    __slots__ = ("accepts", "anything", "literal", "next", "over", "rest", "wild")

    def __init__(
        self,
        rest: Positions,
        literal: frozenset[tuple[tuple[int, ...], Positions]],
        over: frozenset[tuple[_Trie, Positions]],
        wild: Positions,
    ) -> None:
        self.rest = rest
        """Positions at which a word is complete."""
        self.literal = literal
        """Tokens that are left of a word, and the positions behind it."""
        self.over = over
        """Places in lists, and the positions behind them."""
        self.wild = wild
        """Positions behind the wildcard that this is in."""
        self.next: dict[int, Node] | None = None
        self.anything: Node | None = None
        """Where any other token leads, in a wildcard."""
        self.accepts = False
        """True when a sentence may end here."""


class TokenAutomaton:
    """Deterministic over tokens; nodes are kept for later utterances."""

    def __init__(self, grammar: SentenceGrammar, encode: Callable[[str], list[int]]) -> None:
        self._grammar = grammar
        self._encode = encode
        self._written: dict[str, tuple[tuple[int, ...], ...]] = {}
        self._tries: dict[ListArc, _Trie] = {}
        self._known: frozenset[int] = frozenset()
        self._n_known = 0
        self.clear()

    @property
    def start(self) -> Node:
        """Before the first token."""
        return self._start

    @property
    def n_nodes(self) -> int:
        """Nodes that are kept."""
        return len(self._nodes)

    @property
    def known_tokens(self) -> Collection[int]:
        """Every token of the words that were met."""
        if self._n_known != len(self._written):
            ways = (way for ways in self._written.values() for way in ways)
            self._known = frozenset(token for way in ways for token in way)
            self._n_known = len(self._written)
        return self._known

    def clear(self) -> None:
        """Forget the nodes; only between utterances."""
        self._nodes: dict[tuple[object, ...], Node] = {}
        self._start = self._node(frozenset([START]), (), (), frozenset())

    def tidy(self) -> None:
        """Forget the nodes where there are too many."""
        if len(self._nodes) > MAX_NODES:
            self.clear()

    def warming(self) -> Steps[None]:
        """Open the start and what follows the commonest first tokens, in steps."""
        for at, (word, _) in enumerate(self._grammar.arcs(START).words):
            self._ways_to_write(word)
            if at % 64 == 0:
                yield
        for arc, _ in self._grammar.arcs(START).lists:
            yield from self._growing(arc)
        yield from self._opening(self._start)
        after = self._start.next or {}
        yield
        widest = sorted(after.values(), key=lambda node: -len(node.rest))[:12]
        for node in widest:
            for arc in {arc for p in node.rest for arc, _ in self._grammar.arcs(p).lists}:
                yield from self._growing(arc)
            if node.next is None:
                yield from self._opening(node)
            yield

    def open(self, node: Node) -> Node:
        """Fill in what may follow a node; computed once."""
        if node.next is None:
            for _ in self._opening(node):
                pass
        return node

    def following(self, node: Node | None) -> Collection[int]:
        """The tokens that may be written next."""
        return () if node is None else self.open(node).next or ()

    def following_along(self, tokens: Iterable[int]) -> Collection[int]:
        """The tokens that may be written next after any beginning of a text."""
        found: set[int] = set()
        node: Node | None = self._start
        for token in tokens:
            if node is None:
                break
            opened = self.open(node)
            following = opened.next or {}
            found.update(following)
            node = following.get(token) or opened.anything
        found.update(self.following(node))
        return found

    def _opening(self, node: Node) -> Steps[None]:
        """Do as `open` does, in steps."""
        into = _Followers()
        left = yield from self._leaving(node, into)
        wild = frozenset(left | node.wild)
        for tokens, behind in node.literal:
            into.literal(tokens, behind)
        for trie, behind in node.over:
            into.within(trie, behind)
        # In a wildcard a word may also be its end, and what follows it begin.
        following: dict[int, Node] = {}
        for at, (token, follower) in enumerate(into.by_token.items()):
            if at % 256 == 255:
                yield
            rest = frozenset(follower.rest | wild)
            following[token] = self._node(rest, follower.literal, follower.over, wild)
        if wild:
            node.anything = self._node(wild, (), (), wild)
        node.next = following

    def _leaving(self, node: Node, into: _Followers) -> Steps[set[Position]]:
        """Add the words that begin here; returns the positions behind a wildcard that does."""
        words: dict[str, set[Position]] = {}
        lists: dict[ListArc, set[Position]] = {}
        anything: set[Position] = set()
        for position in node.rest:
            arcs = self._grammar.arcs(position)
            node.accepts |= arcs.block >= 0
            for word, after in arcs.words:
                words.setdefault(word, set()).add(after)
            for arc, after in arcs.lists:
                lists.setdefault(arc._replace(slot=""), set()).add(after)
            anything.update(arcs.anything)
        for word, behind in words.items():
            for tokens in self._ways_to_write(word):
                into.literal(tokens, frozenset(behind))
        for at, (arc, behind) in enumerate(lists.items()):
            if at % 8 == 7:
                yield
            into.within(self._trie(arc), frozenset(behind))
        return anything

    def accepts(self, tokens: Iterable[int]) -> bool:
        """True when the tokens are a whole sentence."""
        node: Node | None = self._start
        for token in tokens:
            opened = self.open(node)  # type: ignore[arg-type]
            node = (opened.next or {}).get(token) or opened.anything
            if node is None:
                return False
        return self.open(node).accepts  # type: ignore[arg-type]

    def _node(
        self,
        rest: Positions,
        literal: Iterable[tuple[tuple[int, ...], Positions]],
        over: Iterable[tuple[_Trie, Positions]],
        wild: Positions,
    ) -> Node:
        key = (rest, frozenset(literal), frozenset(over), wild)
        found = self._nodes.get(key)
        if found is None:
            found = self._nodes[key] = Node(*key)
        return found

    def _ways_to_write(self, word: str) -> tuple[tuple[int, ...], ...]:
        """Tokens of a word in every case that recognisers write it in."""
        found = self._written.get(word)
        if found is None:
            before = self._encode(",") if word[:1] == "," else []
            said = word.lstrip(",")
            low = said.lower()
            forms = {said, low, said[:1].upper() + said[1:], low[:1].upper() + low[1:]}
            if len(said) <= LONGEST_INITIALS:
                forms.add(said.upper())
            found = tuple(sorted({(*before, *self._encode(f" {form}")) for form in forms if form}))
            self._written[word] = found
        return found

    def _trie(self, arc: ListArc) -> _Trie:
        for _ in self._growing(arc):
            pass
        return self._tries[arc._replace(slot="")]

    def _growing(self, arc: ListArc) -> Steps[None]:
        """Make the trie of a list in steps."""
        key = arc._replace(slot="")
        if key in self._tries:
            return
        root = _Trie()
        before: dict[tuple[str, ...], _Trie] = {(): root}
        for at, value in enumerate(self._grammar.lists[arc.list_id]):
            if at % 64 == 63:
                yield
            words = (arc.prefix + value.words[0], *value.words[1:])
            words = (*words[:-1], words[-1] + arc.suffix)
            for n in range(len(words)):
                begun = tuple(word.casefold() for word in words[: n + 1])
                then = before.setdefault(begun, _Trie())
                for tokens in self._ways_to_write(words[n]):
                    inside = before[begun[:-1]]
                    for token in tokens:
                        inside = inside.next.setdefault(token, _Trie())
                    inside.ends = then
            before[tuple(word.casefold() for word in words)].final = True
        self._tries[key] = root


class _Follower:
    """The position that one token leads to."""

    __slots__ = ("literal", "over", "rest")

    def __init__(self) -> None:
        self.rest: set[Position] = set()
        self.literal: set[tuple[tuple[int, ...], Positions]] = set()
        self.over: set[tuple[_Trie, Positions]] = set()


class _Followers:
    """The positions that every token leads to, gathered."""

    def __init__(self) -> None:
        self.by_token: dict[int, _Follower] = {}

    def _at(self, token: int) -> _Follower:
        found = self.by_token.get(token)
        if found is None:
            found = self.by_token[token] = _Follower()
        return found

    def literal(self, tokens: tuple[int, ...], behind: Positions) -> None:
        """Add the next token of a word."""
        follower = self._at(tokens[0])
        if len(tokens) == 1:
            follower.rest |= behind
        else:
            follower.literal.add((tokens[1:], behind))

    def within(self, trie: _Trie, behind: Positions) -> None:
        """Add the next tokens of a list."""
        for token, child in trie.next.items():
            follower = self._at(token)
            if child.next:
                follower.over.add((child, behind))
            before = child.ends
            if before is not None:
                if before.final:
                    follower.rest |= behind
                if before.next:
                    follower.over.add((before, behind))
