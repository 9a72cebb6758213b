"""Every value, name and text that is refused, and what its writer is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.config_files import entry, mistakes, problems_of
from voice_daemon.config import load_effective
from voice_daemon.config.load import MAX_STRANGERS, all_keys, model_of, variable
from voice_daemon.config.problems import bounds
from voice_daemon.config.rules import Key

NUMERIC = [
    (key, limits)
    for key in all_keys()
    if (limits := bounds(model_of(key[0]).model_fields[key[1]])) is not None
]


@pytest.mark.parametrize(("key", "limits"), NUMERIC, ids=lambda value: ".".join(map(str, value)))
def test_every_number_is_accepted_within_its_bounds_only(
    key: Key, limits: tuple[float, float], file: Path
) -> None:
    whole = model_of(key[0]).model_fields[key[1]].annotation is int
    low, high = (int(limits[0]), int(limits[1])) if whole else limits
    for good in (low, high):
        environ = {
            # Pairs of keys have an order; the other of the pair is put out of the way.
            "VOICE_DAEMON_MQTT__RECONNECT_MIN_S": "0.1",
            "VOICE_DAEMON_MQTT__RECONNECT_MAX_S": "3600",
        }
        environ.pop(variable(key), None)
        file.write_text(entry(key, good))
        assert load_effective(file, environ).value(key) == good
    for bad, said in ((low - 1, f"is less than {low:g}"), (high + 1, f"is more than {high:g}")):
        (line,) = mistakes(file, entry(key, bad))
        assert line.startswith(f"{file}: [{key[0]}] {key[1]} = {bad:g}: {said}; give a ")
        assert f"from {low:g} to {high:g}" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[mqtt]\nport = "1883"', '[mqtt] port = "1883": is not a whole number; '),
        ("[mqtt]\nport = 1883.0", "[mqtt] port = 1883: is not a whole number; "),
        ("[wake]\nthreshold = true", "[wake] threshold = true: is not a number; "),
        ("[wake]\nthreshold = nan", "[wake] threshold = nan: is not a finite number; "),
        ("[wake]\ntrigger_level = true", "[wake] trigger_level = true: is not a whole number; "),
        ('[mqtt]\ntls = "yes"', '[mqtt] tls = "yes": is not true or false; '),
        ("[mqtt]\ntls = 1", "[mqtt] tls = 1: is not true or false; "),
        ("[audio]\ndevice = 3", "[audio] device = 3: is not a text in quotes; "),
        ('[audio]\ndevice = " "', '[audio] device = " ": is empty; '),
        ('[audio]\ndevice = "a\\nb"', '[audio] device = "a\\nb": holds a control character; '),
        ('[wake]\nmodels = "alexa"', '[wake] models = "alexa": is not a list of texts; '),
        ("[wake]\nmodels = []", "[wake] models = []: is empty; "),
        ('[wake]\nmodels = ["a", "a"]', '[wake] models = ["a", "a"]: names the same one twice; '),
        ('[wake]\nmodels = ["a b", "A-B"]', '[wake] models = ["a b", "A-B"]: names the same one '),
        ("[wake]\nthresholds = {a = 0.5, A = 0.6}", "[wake] thresholds = { a = 0.5, A = 0.6 }: "),
        (
            '[vocabulary]\nprotected = ["lock.a"]',
            '[vocabulary] protected = ["lock.a"]: holds something ',
        ),
        ('[wake]\nbackend = "onyx"', '[wake] backend = "onyx": is not one of the choices; did'),
        ('[asr]\nlanguage = "german"', '[asr] language = "german": is not a language code '),
        ('[mqtt]\nhost = "mqtt://x"', '[mqtt] host = "mqtt://x": is not a host name or '),
        ('[mqtt]\nhost = ""', '[mqtt] host = "": is not a host name or an address; '),
        ('[mqtt]\nbase_topic = "a/#"', '[mqtt] base_topic = "a/#": holds a wildcard'),
        ('[mqtt]\nbase_topic = "/a"', '[mqtt] base_topic = "/a": has an empty level; '),
        ('[mqtt]\nbase_topic = ""', '[mqtt] base_topic = "": has an empty level; '),
        ('[mqtt]\nbase_topic = "voice/"', '[mqtt] base_topic = "voice/": has an empty level; '),
        ('[mqtt]\nbase_topic = "a//b"', '[mqtt] base_topic = "a//b": has an empty level; '),
        (
            '[mqtt]\nbase_topic = "a\\nb"',
            '[mqtt] base_topic = "a\\nb": holds a control character; ',
        ),
        (
            '[mqtt]\nbase_topic = "a\u200bb"',
            '[mqtt] base_topic = "a\\u200bb": holds a character that cannot be printed; ',
        ),
        ('[mqtt]\nbase_topic = "$SYS"', '[mqtt] base_topic = "$SYS": begins with $'),
        ("[mqtt]\nca_file = 3", "[mqtt] ca_file = 3: is not a text or nothing; "),
        ('node_id = "Küche"', 'node_id = "Küche": holds other characters; '),
        ('node_id = ""', 'node_id = "": is empty; '),
        ("audio = 5", "audio = 5: is a section; write [audio] on a line of its own"),
        ("[[audio]]\ngain_db = 1", "audio = [{...}]: is a section; "),
        ("[audio.device]\nx = 1", "[audio] device = {...}: is not a text in quotes; "),
        ("[log]\nlevel = 1979-05-27", "[log] level = 1979-05-27: is not one of the choices; "),
    ],
)
def test_a_bad_value_is_told_with_its_file_key_value_and_remedy(
    text: str, expected: str, file: Path
) -> None:
    (line,) = mistakes(file, text)
    assert line.startswith(f"{file}: {expected}")
    assert "; " in line


def test_a_topic_leaves_room_for_what_comes_behind_it(file: Path) -> None:
    (line,) = mistakes(file, f'[mqtt]\nbase_topic = "{"ü" * 101}"')
    assert "is longer than 200 bytes; " in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[wake]\ntresholt = 1", "[wake] tresholt = 1: there is no such key; did you mean thresh"),
        ("[wake]\nsilence_ms = 1", "there is no such key; did you mean [session] silence_ms?"),
        ("[audio]\nport = 1", "did you mean [mqtt] port or [wyoming] port?"),
        ("threshold = 1", "threshold = 1: there is no such key; did you mean [wake] threshold?"),
        ("[audio]\ntreshold = 1", "did you mean [wake] threshold?"),
        ("[asr]\nstep-s = 1", "[asr] step-s = 1: there is no such key; did you mean step_s?"),
        ("node = 1", "node = 1: there is no such key; did you mean node_id?"),
        ("[log]\nxyzzy = 1", "[log] xyzzy = 1: there is no such key; [log] has level, max_mb"),
        ("[wakeword]\n", "[wakeword]: there is no such section; did you mean [wake]?"),
        ("[xyzzy]\n", "[xyzzy]: there is no such section; the sections are audio, wake,"),
    ],
)
def test_an_unknown_name_is_refused_with_a_suggestion(text: str, expected: str, file: Path) -> None:
    (line,) = mistakes(file, text)
    assert line.startswith(f"{file}: ")
    assert expected in line


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("VOICE_DAEMON_WAKE_THRESHOLD", "did you mean VOICE_DAEMON_WAKE__THRESHOLD?"),
        ("VOICE_DAEMON_SILENCE_MS", "did you mean VOICE_DAEMON_SESSION__SILENCE_MS?"),
        ("VOICE_DAEMON_CONFG", "did you mean VOICE_DAEMON_CONFIG?"),
        ("voice_daemon_wake__threshold", "did you mean VOICE_DAEMON_WAKE__THRESHOLD?"),
        ("VOICE_DAEMON_AUDIO", "there is no such variable; "),
        ("VOICE_DAEMON_XYZZY", "unset it, or write VOICE_DAEMON_<SECTION>__<KEY>"),
    ],
)
def test_an_unknown_variable_is_refused_with_a_suggestion(
    name: str, expected: str, tmp_path: Path
) -> None:
    (line,) = problems_of(None, {"VOICE_DAEMON_HOME": str(tmp_path), name: "0.5"})
    assert line.startswith(f'environment: {name} = "0.5": there is no such variable; ')
    assert expected in line


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    text = 'prompt = 1\n[wake]\nthreshold = 7\nbackend = 3\n[mqtt]\nport = "x"\nprot = 1\n'
    lines = mistakes(file, text, {"VOICE_DAEMON_LOG__LEVEL": "loud", "VOICE_DAEMON_X": ""})
    assert len(lines) == 7
    assert all(line.count("\n") == 0 and ": " in line and "; " in line for line in lines)


@pytest.mark.parametrize("form", ["k{} = 1\n", "[s{}]\n", "[mqtt.k{}]\n"])
def test_a_file_of_another_program_is_told_by_its_first_names(form: str, file: Path) -> None:
    """To look for what each of thousands meant would take a minute, and nobody would read it."""
    lines = mistakes(file, "".join(form.format(i) for i in range(3000)))
    assert len(lines) == MAX_STRANGERS + 1
    assert lines[-1].startswith(f"{file}: more than {MAX_STRANGERS} names are unknown; ")


def test_the_environment_of_another_program_is_told_by_its_first_names(file: Path) -> None:
    environ = {f"VOICE_DAEMON_X{i}": "1" for i in range(3000)}
    assert len(mistakes(file, "", environ)) == MAX_STRANGERS + 1


def test_an_empty_name_and_an_endless_one_are_shown_as_such(file: Path) -> None:
    (line,) = mistakes(file, '"" = 1\n')
    assert line.startswith(f'{file}: "" = 1: there is no such key')
    (line,) = mistakes(file, f"[mqtt]\n{'k' * 60_000} = 1\n")
    assert len(line) < 1000


def test_a_mistake_in_the_file_is_told_even_where_the_environment_wins(file: Path) -> None:
    (line,) = mistakes(file, "[wake]\nthreshold = 7\n", {"VOICE_DAEMON_WAKE__THRESHOLD": "0.5"})
    assert line.startswith(f"{file}: [wake] threshold = 7: ")


@pytest.mark.parametrize(
    ("text", "line_number", "said"),
    [
        ("[wake]\nthreshold = \n", 2, "is not TOML: Invalid value"),
        ("[wake]\n[wake]\n", 2, "is not TOML: Cannot declare"),
        ("[wake]\nmodels = [\n'a',\n", 3, "is not TOML: "),
        ("hello\n", 1, "is not TOML: "),
        ("{json: true}", 1, "is not TOML: "),
    ],
)
def test_a_syntax_error_is_told_with_its_line(
    text: str, line_number: int, said: str, file: Path
) -> None:
    (line,) = mistakes(file, text)
    assert line.startswith(f"{file}:{line_number}: {said}")
    assert "(at " not in line


def test_a_file_that_is_no_text_is_refused(file: Path) -> None:
    file.write_bytes(b"\xc3[w]")
    (line,) = problems_of(file, {})
    assert line.startswith(f"{file}: is not UTF-8 text (")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"a = {'[' * 5000}", "it is nested too deeply"),
        (f"a = {'9' * 5000}", "4300 digits"),
        (f"#{' ' * 2**16}", "it is longer than 64 KiB"),
    ],
)
def test_a_file_beyond_every_bound_is_refused_in_words(text: str, said: str, file: Path) -> None:
    (line,) = mistakes(file, text)
    assert line.startswith(f"{file}: cannot be read: ")
    assert said in line


def test_a_folder_is_no_configuration_file(tmp_path: Path) -> None:
    (line,) = problems_of(tmp_path, {})
    assert line.startswith(f"{tmp_path}: is not a file; ")


def test_an_unreadable_file_does_not_hide_what_is_wrong_with_the_environment(file: Path) -> None:
    lines = mistakes(file, "?", {"VOICE_DAEMON_LOG__LEVEL": "loud"})
    assert [line.split(":")[0] for line in lines] == [str(file), "environment"]


@pytest.mark.parametrize(
    ("text", "blamed", "said"),
    [
        ('[asr]\nlanguage = "de"', '[asr] language = "de"', "knows English only"),
        ('[asr]\ntask = "translate"', '[asr] task = "translate"', "cannot translate"),
        ("[mqtt]\nreconnect_min_s = 61\n", "[mqtt] reconnect_min_s = 61", "is more than 60"),
        (
            "[mqtt]\nreconnect_min_s = 9\nreconnect_max_s = 2",
            "[mqtt] reconnect_min_s = 9",
            "greater than",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_told(
    text: str, blamed: str, said: str, file: Path
) -> None:
    (line,) = mistakes(file, text)
    assert line.startswith(f"{file}: {blamed}: ")
    assert said in line


@pytest.mark.parametrize("folder", ["/models/whisper-german.en", "~/german.en", "./german.en"])
def test_a_folder_of_ones_own_is_not_judged_by_its_name(file: Path, folder: str) -> None:
    file.write_text(f'[asr]\nmodel = "{folder}"\nlanguage = "de"')
    assert load_effective(file, {}).settings.asr.language == "de"


def test_the_key_that_was_set_is_blamed_for_a_contradiction_with_a_default(file: Path) -> None:
    (line,) = mistakes(
        file,
        '[asr]\nmodel = "base.en"\n',
        {"VOICE_DAEMON_ASR__LANGUAGE": "fr"},
    )
    assert line.startswith('environment: VOICE_DAEMON_ASR__LANGUAGE = "fr": ')
