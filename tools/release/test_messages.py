"""The list of messages finds what a user can see."""

from __future__ import annotations

from pathlib import Path

from tools.release.messages import messages

CODE = '''
HINT: Final = f"look for {n} of them"
STOP_WORDS = "a an the of".split()
TEMPLATE = "{{ value if value else none }}"

def run(n, context):
    """Not shown."""
    if n < 0:
        raise UsageError("usage.lines", f"--lines {n} is negative", remedy="give 0 or more")
    context.out.write("nothing was changed\\n" if n else "done so far\\n")
    parser.add_argument("--json", help="print JSON")
    log.warning("mic.lost", reason="it was unplugged")
    return {"name": "Mute"}
'''


def test_errors_remedies_output_help_logs_and_names_are_listed_once(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(CODE)
    (tmp_path / "b.py").write_text(CODE)
    found = [(message.kind, message.text) for message in messages(tmp_path)]
    assert sorted(found) == [
        ("error", "--lines {...} is negative"),
        ("help", "print JSON"),
        ("log", "it was unplugged"),
        ("name", "Mute"),
        ("output", "done so far"),
        ("output", "nothing was changed"),
        ("remedy", "give 0 or more"),
        ("text", "look for {...} of them"),
    ]
