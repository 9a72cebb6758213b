"""The benchmark's findings as tables, JSON and Markdown.

Owns what is said about a run and how it is named; docs/benchmark.md explains each figure. Knows
nothing of how the figures came about.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from tools.bench.benchmark import Skipped
from tools.bench.memory import Memory
from tools.bench.scores import Score
from tools.bench.summary import Summary, summarise
from tools.bench.systems import OFFLINE, OURS
from tools.bench.tables import Table, labels, milliseconds, number, percent, seconds, spread, yes_no
from voice_daemon import __version__

SCHEMA: Final = 1
RATIO_STEP_S: Final = 0.5
"""Where the computing of two systems is set against each other."""
LIBRARIES: Final = ("mlx", "numpy", "mlx-audio", "faster-whisper", "ctranslate2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that a benchmark found."""

    model: str
    clock: str
    """What counted as computing: `wall` or `cpu` time."""
    folders: tuple[str, ...]
    scores: Mapping[tuple[str, float | None], Sequence[Score]]
    skipped: tuple[Skipped, ...]
    memory: Mapping[str, Memory]
    daemon_false_texts: Mapping[str, tuple[str, ...]]
    """Clip without speech -> what the whole daemon would publish for it."""

    def summaries(self) -> tuple[Summary, ...]:
        """One for each system and step length."""
        return tuple(summarise(scores) for scores in self.scores.values())

    def by_folder(self) -> Iterable[tuple[str, Summary]]:
        """The same for each folder apart."""
        for folder in self.folders:
            for scores in self.scores.values():
                chosen = [score for score in scores if score.folder == folder]
                if chosen:
                    yield folder, summarise(chosen)


def machine() -> dict[str, object]:
    """Where the figures were measured."""
    versions = {"voice-daemon": __version__}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "versions": versions,
    }


def tables(findings: Findings) -> tuple[Table, ...]:
    """Everything that is shown, in order."""
    found = findings.summaries()
    shown = [_speed(found, findings), _words(found), _latency(found), _finals(found)]
    if len(findings.folders) > 1:
        shown.append(_folders(findings))
    if any(summary.n_nonspeech for summary in found):
        shown.append(_false_text(found, findings))
    return tuple(shown)


def headlines(findings: Findings) -> tuple[str, ...]:
    """What to know first, a sentence each."""
    found = findings.summaries()
    lines = []
    for system in dict.fromkeys(summary.system for summary in found):
        streamed = [s for s in found if s.system == system and s.step_s is not None]
        if streamed:
            lines.append(_shortest_step(system, streamed))
    ours = _rtf(found, OURS)
    for system in dict.fromkeys(s.system for s in found if s.system not in {OURS, OFFLINE}):
        theirs = _rtf(found, system)
        if ours and theirs:
            ratio = f"{theirs / ours:.1f} times"
            lines.append(f"{system} computes {ratio} as long as ours at {RATIO_STEP_S:g} s steps.")
    lines += [f"{s.system} was not run at {s.step_s:g} s: {s.reason}." for s in findings.skipped]
    return tuple(lines)


def as_json(findings: Findings) -> dict[str, object]:
    """The document of `results.json`."""
    return {
        "schema": SCHEMA,
        "machine": machine(),
        "model": findings.model,
        "clock": findings.clock,
        "folders": list(findings.folders),
        "summaries": [summary.as_json() for summary in findings.summaries()],
        "by_folder": [{"folder": f, **summary.as_json()} for f, summary in findings.by_folder()],
        "memory": {name: asdict(memory) for name, memory in findings.memory.items()},
        "skipped": [asdict(skipped) for skipped in findings.skipped],
        "daemon_false_texts": {
            clip: list(texts) for clip, texts in findings.daemon_false_texts.items()
        },
        "clips": [asdict(score) for scores in findings.scores.values() for score in scores],
    }


def write(findings: Findings, folder: Path) -> None:
    """Write `results.json` and `results.md` into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps(as_json(findings), ensure_ascii=False, indent=1)
    (folder / "results.json").write_text(document + "\n", encoding="utf-8")
    about = machine()
    where = f"{about['system']}, {about['cores']} cores, Python {about['python']}, "
    where += f"{findings.clock} time"
    heads = "\n".join(f"- {line}" for line in headlines(findings))
    parts = [f"## {findings.model}: {', '.join(findings.folders)}", where, heads]
    parts += [table.as_markdown() for table in tables(findings)]
    (folder / "results.md").write_text("\n\n".join(parts), encoding="utf-8")


def _shortest_step(system: str, streamed: Sequence[Summary]) -> str:
    kept = [s.step_s for s in streamed if s.keeps_up and s.step_s is not None]
    if not kept:
        longest = max(s.step_s or 0 for s in streamed)
        return f"{system} does not keep up with steps of {longest:g} s or shorter."
    return f"{system} keeps up with steps down to {min(kept):g} s."


def _rtf(found: Sequence[Summary], system: str) -> float | None:
    chosen = (s.rtf for s in found if s.system == system and s.step_s == RATIO_STEP_S)
    return next(chosen, None)


def _speed(found: Sequence[Summary], findings: Findings) -> Table:
    rows = []
    for s in found:
        peak = findings.memory.get(s.system)
        rows.append(
            (
                s.system,
                seconds(s.step_s),
                number(s.rtf, 3),
                yes_no(s.keeps_up),
                milliseconds(s.step_compute_s),
                milliseconds(s.final_compute_s),
                number(peak.resident_mib if peak else None, 0),
                number(peak.mlx_mib if peak else None, 0),
            )
        )
    columns = (
        *("system", "step", "RTF", "keeps up", "step ms p50/p95", "final ms p50/p95"),
        *("peak MiB", "MLX's MiB"),
    )
    total_s = found[0].audio_s if found else 0
    title = f"Computing ({found[0].n_clips if found else 0} clips, {total_s:.0f} s)"
    return Table(title, columns, tuple(rows), n_labels=2)


def _words(found: Sequence[Summary]) -> Table:
    rows = tuple(
        (
            s.system,
            seconds(s.step_s),
            percent(s.changed_committed_percent),
            percent(s.changed_final_percent),
            percent(s.wer_committed_percent),
            percent(s.wer_final_percent),
            f"{s.slots_understood}/{s.slots}" if s.slots else labels(()),
            str(s.n_violations),
            str(s.n_revised),
            str(s.n_loops),
        )
        for s in found
    )
    columns = (
        *("system", "step", "committed changed", "final changed", "committed WER", "final WER"),
        *("slots", "taken back", "revised", "loops"),
    )
    return Table("Words", columns, rows, note="Changed: against offline.", n_labels=2)


def _latency(found: Sequence[Summary]) -> Table:
    rows = tuple(
        (
            s.system,
            seconds(s.step_s),
            spread(s.committed_live_s),
            spread(s.committed_audio_s),
            spread(s.draft_live_s),
            spread(s.draft_audio_s),
            str(s.n_missed_words),
        )
        for s in found
    )
    columns = (
        *("system", "step", "committed, live", "committed, audio", "draft, live", "draft, audio"),
        "missed",
    )
    note = "Seconds after the end of each word, p50 / p95 / mean. Live: computing counted."
    return Table("Latency of words", columns, rows, note=note, n_labels=2)


def _finals(found: Sequence[Summary]) -> Table:
    rows = tuple(
        (
            s.system,
            seconds(s.step_s),
            spread(s.final_wait_s),
            spread(s.final_after_speech_s),
            number(s.laal_live_s),
            number(s.laal_s),
            number(s.erasure),
        )
        for s in found
    )
    columns = ("system", "step", "final wait", "final after speech", "LAAL, live", "LAAL, audio")
    note = "Seconds, p50 / p95 / mean; LAAL: mean."
    return Table("Finals and the whole", (*columns, "erasure"), rows, note=note, n_labels=2)


def _folders(findings: Findings) -> Table:
    rows = tuple(
        (
            folder,
            s.system,
            seconds(s.step_s),
            percent(s.changed_committed_percent),
            percent(s.changed_final_percent),
            percent(s.wer_final_percent),
            f"{s.slots_understood}/{s.slots}" if s.slots else labels(()),
            number(s.committed_audio_s.mean),
            number(s.draft_audio_s.mean),
        )
        for folder, s in findings.by_folder()
        if s.n_clips > s.n_nonspeech
    )
    columns = (
        *("folder", "system", "step", "committed changed", "final changed", "final WER"),
        *("slots", "committed lag", "draft lag"),
    )
    return Table("By folder", columns, rows, note="Lags: mean, audio time.", n_labels=3)


def _false_text(found: Sequence[Summary], findings: Findings) -> Table:
    rows = [
        (
            s.system,
            seconds(s.step_s),
            f"{s.n_false_final}/{s.n_nonspeech}",
            f"{s.n_false_committed}/{s.n_nonspeech}",
            f"{s.n_false_draft}/{s.n_nonspeech}",
        )
        for s in found
    ]
    texts = findings.daemon_false_texts
    if texts:
        wrote = f"{sum(map(bool, texts.values()))}/{len(texts)}"
        rows.append(("the daemon", seconds(None), wrote, wrote, wrote))
    columns = ("system", "step", "in the final", "committed", "drafted")
    return Table("Clips without speech that gave text", columns, tuple(rows), n_labels=2)
