"""The vocabulary document: what it may hold, what is left out, and what is said about it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_daemon.vocabulary import document as bounds
from voice_daemon.vocabulary.document import Document, VocabularyError, read_document

SECRET = "Grandmother Ottilie"


def written(**parts: object) -> bytes:
    return json.dumps({"schema": 1, **parts}).encode()


def one_fault(document: Document) -> str:
    assert document.n_left_out == 1, document.faults
    return str(document.faults[0])


def test_names_are_read_as_texts_and_as_objects() -> None:
    document = read_document(
        written(
            language="en",
            entities=["TV", {"name": "Bed Light", "domain": "light", "aliases": ["night lamp"]}],
            areas=[{"name": "Kitchen"}],
            floors=["Upstairs"],
            lists={"artist": ["Zaho de Sagazan"]},
            sentences=["play {artist} [now]"],
        )
    )
    assert [name.text for name in document.entities] == ["TV", "Bed Light"]
    assert document.entities[1].aliases == ("night lamp",)
    assert document.n_names == 4
    assert document.sentences == ("play {artist} [now]",)
    assert document.faults == ()
    assert len(document.sha256) == 64


def test_toml_says_the_same_as_json() -> None:
    toml = b'schema = 1\nareas = ["Kitchen"]\n[[entities]]\nname = "TV"\ndomain = "media_player"\n'
    same = written(areas=["Kitchen"], entities=[{"name": "TV", "domain": "media_player"}])
    assert read_document(toml, toml=True).entities == read_document(same).entities


def test_white_space_and_composed_letters_are_made_one() -> None:
    document = read_document(written(entities=["  Bu\u0308ro   Lampe ", "Frank\u2019s"]))
    assert [name.text for name in document.entities] == ["B\u00fcro Lampe", "Frank's"]


def test_the_same_name_counts_once() -> None:
    assert read_document(written(areas=["Kitchen", "kitchen"])).n_names == 1


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"{", "line 1"),
        (b"\n", "empty"),
        (b"\xff", "UTF-8"),
        (b"[]", "list"),
        (b"{}", "schema is missing"),
        (b'{"schema": 2}', "schema is 2"),
        (b'{"schema": true}', "schema"),
        (b'{"schema": 1, "entities": {}}', "entities"),
        (b'{"schema": 1, "lists": []}', "lists"),
        (b'{"schema": 1, "language": 5}', "language"),
        (b'{"schema": 1, "language": "../x"}', "language"),
        (b'{"schema": NaN}', "JSON"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "JSON"),
        (b"[" * 100_00 + b"]" * 100_00, "JSON"),
        (b'{"schema": 1, "entities": [[[[[[["x"]]]]]]]}', "nested"),
        (b" " * (bounds.MAX_BYTES + 1), "bytes"),
    ],
)
def test_a_document_that_cannot_be_used_is_refused_with_a_remedy(payload: bytes, said: str) -> None:
    with pytest.raises(VocabularyError, match=said) as caught:
        read_document(payload)
    assert caught.value.code == "vocabulary.bad_document"
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        (5, "entities[0]"),
        ({"nam": "x"}, "entities[0].name"),
        ("\x07bell", "entities[0].name"),
        ("...", "entities[0].name"),
        ("x" * (bounds.MAX_NAME_CHARACTERS + 1), "entities[0].name"),
        ("a b c d e f g h i", "entities[0].name"),
        ("a {b}", "entities[0].name"),
    ],
)
def test_an_odd_name_is_left_out_and_its_place_told(entry: object, place: str) -> None:
    document = read_document(written(entities=[entry, "Good"]))
    assert [name.text for name in document.entities] == ["Good"]
    assert one_fault(document).startswith(place)


def test_a_misspelt_key_is_told_with_the_one_that_was_meant() -> None:
    entry = {"name": "Bed Light", "domian": "light"}
    fault = one_fault(read_document(written(entities=[entry])))
    assert fault == "a key of entities[0]: is not known; write domain"


@pytest.mark.parametrize(
    ("parts", "warning"),
    [
        (
            {"entities": ["TV", {"name": "Plug", "domain": "swich"}]},
            (
                'entities[1].domain: "swich" is not a kind of entity that Home Assistant has; '
                'write "switch"'
            ),
        ),
        (
            {"entities": [{"name": "Plug", "domain": "gadgetry"}]},
            (
                'entities[0].domain: "gadgetry" is not a kind of entity that Home Assistant has; '
                "sentences for a kind do not name it"
            ),
        ),
        (
            {"areas": [{"name": "Kitchen", "domain": "light"}]},
            (
                'areas[0].domain: "light" is the kind of an area or a floor, which has none; '
                "leave it out, or write the name under entities"
            ),
        ),
        (
            {"entities": ["Lamp", "TV", {"name": "Desk", "aliases": ["lamp"]}]},
            (
                'entities[2]: "lamp" is also the name of entities[0]; '
                "call one of them something else"
            ),
        ),
        (
            {"areas": ["Kitchen", "kitchen"]},
            'areas[1]: "kitchen" is also the name of areas[0]; call one of them something else',
        ),
        ({"language": "german"}, 'language: "german" is not a known language; write "de"'),
        (
            {"language": "qq"},
            'language: "qq" is not a known language; write a code such as "en" or "de-CH"',
        ),
        (
            {"lists": {"artist": []}, "sentences": ["play {artist}"]},
            "lists[0]: has no value; add one: no sentence with this list can be said",
        ),
    ],
)
def test_what_is_hardly_meant_is_told_and_nothing_left_out(
    parts: dict[str, object], warning: str
) -> None:
    document = read_document(written(**parts))
    assert [str(found) for found in document.warnings] == [warning]
    assert (document.n_left_out, document.faults) == (0, ())


def test_nothing_is_warned_of_where_two_kinds_share_a_name() -> None:
    document = read_document(
        written(
            language="pt-BR",
            entities=[
                {"name": "Kitchen", "domain": "light", "aliases": ["kitchen"]},
                {"name": "Kitchen", "domain": "Media_Player"},
            ],
            areas=["Kitchen"],
            floors=["Kitchen"],
        )
    )
    assert document.warnings == ()


def test_a_domain_that_is_none_is_told_with_the_one_that_was_meant() -> None:
    entry = {"name": "Telly", "domain": "media player"}
    fault = one_fault(read_document(written(entities=[entry])))
    assert fault == 'entities[0].domain: is not a domain; write one such as "media_player"'


def test_an_entity_of_a_room_says_that_documents_have_no_such_key() -> None:
    fault = one_fault(read_document(written(entities=[{"name": "Lamp", "area": "Kitchn"}])))
    assert fault.startswith("a key of entities[0]: is not known")


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("(a|b", "lacks a )"),
        ("a)", "a ) too many"),
        ("play {artist}", "list"),
        ("<rule> it", "holds one of"),
        ("((((((( x )))))))", "nested"),
        ("(a;b;c;d;e)", "permutes"),
        ("x" * (bounds.MAX_SENTENCE_CHARACTERS + 1), "characters"),
        ("", "characters"),
        (3, "number"),
    ],
)
def test_an_odd_sentence_is_left_out(sentence: object, said: str) -> None:
    document = read_document(written(sentences=[sentence, "good"]))
    assert document.sentences == ("good",)
    assert said in one_fault(document)


@pytest.mark.parametrize(
    ("key", "most"),
    [("entities", bounds.MAX_NAMES), ("areas", bounds.MAX_AREAS), ("floors", bounds.MAX_FLOORS)],
)
def test_one_name_more_than_there_is_room_for_is_left_out(key: str, most: int) -> None:
    names = [f"name {at}" for at in range(most + 1)]
    document = read_document(written(**{key: names}))
    assert document.n_names == most
    assert document.n_left_out == 1


def test_aliases_take_room_as_names_do() -> None:
    alias = [f"alias {at}" for at in range(bounds.MAX_NAMES)]
    document = read_document(written(entities=[{"name": "One", "aliases": alias}]))
    assert len(document.entities[0].aliases) == bounds.MAX_NAMES - 1
    assert document.n_left_out == 1


def test_lists_and_their_values_are_bounded() -> None:
    lists = {f"list_{at}": ["x"] for at in range(bounds.MAX_LISTS + 1)}
    assert len(read_document(written(lists=lists)).lists) == bounds.MAX_LISTS
    values = [f"value {at}" for at in range(bounds.MAX_VALUES + 1)]
    document = read_document(written(lists={"big": values}))
    assert len(document.lists["big"]) == bounds.MAX_VALUES
    assert document.n_left_out == 1


@pytest.mark.parametrize("key", ["entities", "areas", "floors", "sentences"])
def test_no_fault_repeats_what_stands_in_the_document(key: str) -> None:
    odd = [
        f"{SECRET} {{x}}",
        f"{SECRET}\x07",
        {SECRET: SECRET},
        [SECRET],
        f"{SECRET} (",
        SECRET * 9,
    ]
    document = read_document(written(**{key: odd, SECRET: 1, "lists": {SECRET: [SECRET]}}))
    assert document.n_left_out > 3
    assert not any("Ottilie" in str(fault) for fault in document.faults)


@pytest.mark.parametrize("toml", [True, False])
def test_no_refusal_repeats_what_stands_in_the_document(toml: bool) -> None:  # noqa: FBT001
    for broken in (f'{{"schema": "{SECRET}"}}', f"[[{SECRET}", f'schema = "{SECRET}"', SECRET):
        with pytest.raises(VocabularyError) as caught:
            read_document(broken.encode(), toml=toml)
        assert "Ottilie" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(sorted(bounds._KEYS)), json_values))
def test_any_json_is_read_or_refused_and_nothing_else(parts: dict[str, object]) -> None:
    try:
        document = read_document(json.dumps({**parts, "schema": 1}).encode())
    except VocabularyError:
        return
    assert document.n_names <= bounds.MAX_NAMES + bounds.MAX_AREAS + bounds.MAX_FLOORS


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_read_or_refused_and_nothing_else(payload: bytes, toml: bool) -> None:  # noqa: FBT001
    with pytest.raises(VocabularyError):
        read_document(payload, toml=toml)
