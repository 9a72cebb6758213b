"""`daemonctl vocabulary show|check|pull|say|spell`: the home's names, and what is made of them.

Names are shown here and nowhere else: whoever runs this owns them.
"""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from voice_daemon._lib.files import decode_text, open_to_others, open_to_read, read_json
from voice_daemon.asr.cooperative import at_once
from voice_daemon.cli.context import Context
from voice_daemon.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, UsageError
from voice_daemon.vocabulary.correction import HomeVocabulary, reading_vocabulary
from voice_daemon.vocabulary.document import Document, Name, VocabularyError, read_document
from voice_daemon.vocabulary.home_assistant import pull
from voice_daemon.vocabulary.reading import Reading
from voice_daemon.vocabulary.spelling import spellings_of, voices
from voice_daemon.vocabulary.spoken import fold, sound_distance
from voice_daemon.vocabulary.store import KnownDocument, known_document, read_file, store

MAX_SHOWN: Final = 12
MAX_TOKEN_BYTES: Final = 4096
SOUNDS_ALIKE: Final = 0.5
"""Names nearer than this are shown; 0 is the same sound."""


def run(args: argparse.Namespace, context: Context) -> int:
    """Do one action; raises `VoiceDaemonError`."""
    actions = {"show": _show, "check": _check, "pull": _pull, "say": _say, "spell": _spell}
    return actions[args.action](args, context)


def _known(context: Context) -> KnownDocument | None:
    wanted = context.settings().vocabulary
    return known_document(context.paths().vocabulary_file, wanted.file)


def _show(args: argparse.Namespace, context: Context) -> int:
    known = _known(context)
    if args.json:
        found = {"source": known.source, **_summary(known.document)} if known else {"source": None}
        listed = _names(known.document) if known else {}
        context.print_json({**found, **listed})
        return EXIT_OK
    if known is None:
        context.out.write("no names are known\n  -> docs/vocabulary.md says where they come from\n")
        return EXIT_OK
    document = known.document
    context.out.write(f"{_counts(document)}, from {known.source}; sha256 {document.sha256[:12]}\n")
    for kind, names in (("areas", document.areas), ("floors", document.floors)):
        if names:
            context.out.write(f"{kind}: {', '.join(_told(name) for name in names)}\n")
    for domain in sorted({name.domain for name in document.entities}):
        named = [_told(name) for name in document.entities if name.domain == domain]
        context.out.write(f"{domain or 'of an unknown kind'}: {', '.join(named)}\n")
    for name, values in document.lists.items():
        context.out.write(f"{{{name}}}: {', '.join(values)}\n")
    for sentence in document.sentences:
        context.out.write(f"sentence: {sentence}\n")
    return EXIT_OK


def _told(name: Name) -> str:
    others = [*name.aliases, *(f"~{spelling}" for spelling in name.spellings)]
    return f"{name.text} ({', '.join(others)})" if others else name.text


def _counts(document: Document) -> str:
    parts = {
        "names": len(document.entities),
        "areas": len(document.areas),
        "floors": len(document.floors),
        "lists": len(document.lists),
        "sentences": len(document.sentences),
    }
    return ", ".join(f"{n} {what}" for what, n in parts.items() if n) or "nothing"


def _summary(document: Document) -> dict[str, object]:
    return {
        "language": document.language or None,
        "names": document.n_names,
        "lists": len(document.lists),
        "sentences": len(document.sentences),
        "left_out": document.n_left_out,
        "sha256": document.sha256,
    }


def _names(document: Document) -> dict[str, object]:
    return {
        "entities": [asdict(name) for name in document.entities],
        "areas": [asdict(name) for name in document.areas],
        "floors": [asdict(name) for name in document.floors],
        "values": {name: list(values) for name, values in document.lists.items()},
        "own_sentences": list(document.sentences),
    }


def _check(args: argparse.Namespace, context: Context) -> int:
    try:
        document = read_file(args.file)
    except VocabularyError as error:
        if args.json:
            whole = {"where": "", "what": error.message, "remedy": error.remedy}
            context.print_json({"ok": False, "problems": [whole], "warnings": []})
        else:
            where = "" if str(args.file) in error.message else f"{args.file}: "
            context.err.write(f"daemonctl: {where}{error.message}\n  -> {error.remedy}\n")
        return EXIT_USAGE
    faults = [asdict(fault) for fault in document.faults]
    warnings = [asdict(warning) for warning in document.warnings]
    if args.json:
        told = {"ok": not faults, **_summary(document), "problems": faults, "warnings": warnings}
        context.print_json(told)
    else:
        context.out.write(f"{args.file}: {_counts(document)}\n")
        for fault in document.faults:
            context.err.write(f"daemonctl: left out: {fault}\n")
        if document.n_left_out > len(faults):
            context.err.write(f"daemonctl: {document.n_left_out} entries are left out in all\n")
        for warning in document.warnings:
            context.err.write(f"daemonctl: warning: {warning}\n")
    return EXIT_FAILED if faults else EXIT_OK


def _pull(args: argparse.Namespace, context: Context) -> int:
    pulled = pull(args.url, _token(args.token_file))
    payload = json.dumps(pulled, ensure_ascii=False, indent=1).encode()
    document = read_document(payload)
    _write_out(payload, args, context)
    if args.json:
        context.print_json({**_summary(document), "document": pulled})
    context.err.write(f"daemonctl: {_counts(document)}\n")
    if args.out is not None and not args.json:
        context.err.write(f'  -> set file = "{args.out.absolute()}" in [vocabulary]\n')
    return EXIT_FAILED if document.faults else EXIT_OK


def _write_out(payload: bytes, args: argparse.Namespace, context: Context) -> None:
    if args.out is not None:
        store(args.out, payload)
    elif not args.json:
        context.out.write(payload.decode() + "\n")


def _token(path: Path) -> str:
    """Read a token from its file, which its owner alone may read."""
    try:
        with open_to_read(path) as file:
            mode = open_to_others(os.fstat(file.fileno()))
            token = decode_text(file.read(MAX_TOKEN_BYTES)).strip()
        token.encode("ascii")
    except (OSError, UnicodeError) as error:
        raise UsageError(
            "vocabulary.token",
            f"{path} cannot be read as a token: {type(error).__name__}",
            remedy="put the token alone into that file",
        ) from None
    if mode is not None:
        raise UsageError(
            "vocabulary.token_not_private",
            f"others may read {path} (mode {mode})",
            remedy=f"chmod 600 {path}, and make a new token if others could see it",
        )
    if not token:
        raise UsageError("vocabulary.token", f"{path} is empty", remedy="put the token into it")
    return token


def _say(args: argparse.Namespace, context: Context) -> int:
    document = _document_to_say(args.vocabulary, context)
    home = _home(document, context)
    readings = home.reader.read(args.text)
    begun, following = home.reader.understood(args.text)
    nearest = _nearest(args.text, home)
    if args.json:
        context.print_json(
            {
                "text": args.text,
                "language": home.language,
                "in_vocabulary": bool(readings),
                "readings": [_reading(reading) for reading in readings],
                "understood": begun,
                "next": list(following[:MAX_SHOWN]),
                "sounds_like": nearest,
            }
        )
        return EXIT_OK if readings else EXIT_FAILED
    if readings:
        context.out.write(f"understood: {args.text}\n")
        for reading in readings[:MAX_SHOWN]:
            context.out.write(f"  {_reading_text(reading)}\n")
        return EXIT_OK
    context.out.write(f"not a sentence of this home: {args.text}\n")
    context.out.write(f'  understood up to: "{begun}"\n')
    if following:
        context.out.write(f"  could go on with: {', '.join(following[:MAX_SHOWN])}\n")
    for name, distance in nearest.items():
        context.out.write(f"  sounds like a name: {name} ({distance:.2f})\n")
    return EXIT_FAILED


def _document_to_say(file: Path | None, context: Context) -> Document:
    if file is not None:
        return read_file(file)
    known = _known(context)
    if known is None:
        raise VocabularyError(
            "vocabulary.none",
            "no names are known",
            remedy="name a document with --vocabulary FILE, or see docs/vocabulary.md",
        )
    return known.document


def _home(document: Document, context: Context) -> HomeVocabulary:
    settings = context.settings()
    language = "en" if settings.asr.language == "auto" else settings.asr.language
    wanted = settings.vocabulary.sentences
    return at_once(reading_vocabulary(document, language=language, sentences=wanted))


def _spell(args: argparse.Namespace, context: Context) -> int:
    """Speak every name, read it, and add what was read as spellings of it."""
    document = read_file(args.file)
    settings = context.settings()
    language = document.language or settings.asr.language
    speakers = voices(language)
    if not speakers:
        raise VocabularyError(
            "vocabulary.no_voice",
            f"no speech synthesis for {language!r} is installed",
            remedy="on Debian: apt-get install flite espeak-ng; macOS has one",
        )
    from voice_daemon.runtime.build import load_free_reader  # noqa: PLC0415 - only `spell` needs MLX

    read = load_free_reader(settings.asr, context.paths().models_dir)
    names = (*document.entities, *document.areas, *document.floors)
    taken = frozenset(fold(text) for name in names for text in (name.text, *name.aliases))
    raw = read_json(args.file)
    n_learned = 0
    for entry in raw.get("entities", []):
        named = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(named, dict) or not isinstance(named.get("name"), str):
            continue
        found = spellings_of(named["name"], read, language=language, speakers=speakers, taken=taken)
        named["spellings"] = list(dict.fromkeys([*named.get("spellings", []), *found]))
        n_learned += len(found)
        raw["entities"][raw["entities"].index(entry)] = named
        context.err.write(f"{named['name']}: {', '.join(found) or 'as it is written'}\n")
    payload = json.dumps(raw, ensure_ascii=False, indent=1).encode()
    read_document(payload)
    _write_out(payload, args, context)
    if args.json:
        context.print_json({"spellings": n_learned, "document": raw})
    return EXIT_OK


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "intent": reading.meaning.intent,
        "slots": dict(sorted(reading.meaning.slots)),
        "own_sentence": reading.sentence if reading.sentence >= 0 else None,
        "domains": sorted(reading.domains),
    }


def _reading_text(reading: Reading) -> str:
    slots = ", ".join(f"{slot} = {value}" for slot, value in sorted(reading.meaning.slots))
    own = f"own sentence {reading.sentence + 1}" if reading.sentence >= 0 else None
    return f"{own or reading.meaning.intent}{f': {slots}' if slots else ''}"


def _nearest(text: str, home: HomeVocabulary) -> dict[str, float]:
    """Names that sound like a part of the text, the nearest first."""
    words = fold(text)
    found: dict[str, float] = {}
    for name in (*home.document.entities, *home.document.areas, *home.document.floors):
        n = len(fold(name.text))
        spans = (words[at : at + n] for at in range(max(1, len(words) - n + 1)))
        found[name.text] = min(
            sound_distance(" ".join(span), name.text, home.language) for span in spans
        )
    near = sorted(found, key=lambda name: found[name])[:3]
    return {name: round(found[name], 2) for name in near if found[name] < SOUNDS_ALIKE}
