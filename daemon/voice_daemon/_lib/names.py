"""Names as people write them, met with names as systems write them.

One name has several spellings: in capitals, with an accent as a character of its own (as macOS
writes file names), with a typographic apostrophe (as it names a person's devices), with an odd
space. Nobody means two things by them.
"""

import os
import unicodedata
from pathlib import Path


def name_key(name: str) -> str:
    """Give what all spellings of one name share."""
    # Folding may undo the normal form, and what it folds to depends on it: Unicode 3.13, D145.
    folded = unicodedata.normalize("NFD", name).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).replace("\u2019", "'").split())


def path_in_any_normal_form(path: Path) -> Path:
    """Give the path that is there where this one differs in its normal form alone.

    macOS takes one for the other; on Linux a file that came from a Mac is not found by its name.
    """
    if path.exists():
        return path
    found = Path(path.anchor)
    for part in path.parts[len(found.parts) :]:
        found = _child(found, part)
    return found if found.exists() else path


def _child(folder: Path, name: str) -> Path:
    """Give the entry that a name means, as the folder spells it."""
    wanted = unicodedata.normalize("NFC", name)
    try:
        if name in (os.curdir, os.pardir) or (folder / name).exists():
            return folder / name
        entries = (entry.name for entry in folder.iterdir())
        return folder / next(e for e in entries if unicodedata.normalize("NFC", e) == wanted)
    except (OSError, StopIteration):
        return folder / name
