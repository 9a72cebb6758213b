"""Measures a few seconds of a microphone: level, clipping, noise, speech, a verdict."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.audio.level import FAINT_DBFS, SILENCE_DBFS, dbfs
from voice_daemon.endpoint.vad import VoiceActivityDetector
from voice_daemon.events import SAMPLE_RATE

PERMISSION_REMEDY: Final = (
    "macOS: System Settings > Privacy & Security > Microphone, allow the program that hears (for "
    "this test the terminal; over SSH macOS gives none); else look for a mute switch, or choose "
    "another audio.device"
)

FAINT_REMEDY: Final = (
    "look for a mute switch on the microphone, check its cable, and the input's volume in the "
    "system's settings"
)

_FULL_SCALE: Final = 32_767
_VOICED: Final = 0.5
_MIN_VOICED_FRAMES: Final = 5
_NOISE_PERCENTILE: Final = 20
_CLIPPED_SHARE: Final = 1e-3
_QUIET_SPEECH_DBFS: Final = -45.0
_WANTED_SPEECH_DBFS: Final = -26.0
_POOR_SNR_DB: Final = 10.0
_OFFSET: Final = 0.02
_MOST_GAIN_DB: Final = 40
"""As in the configuration."""


@dataclass(frozen=True, slots=True)
class MicrophoneFinding:
    """Something that is wrong, and what to do."""

    code: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class MicReport:
    """The measures; levels in dB below full scale."""

    seconds: float
    peak_dbfs: float
    level_dbfs: float
    """Root mean square of everything."""
    noise_dbfs: float | None
    """Level of the quiet stretches without voice; None when there were none."""
    speech_dbfs: float | None
    """Level of the stretches with voice; None when nobody spoke."""
    clipped_share: float
    """Samples at full scale, 0..1."""
    zero_share: float
    """Samples that are exactly 0, 0..1."""
    offset: float
    """Mean of all samples, -1..1."""
    lost_samples: int

    @property
    def snr_db(self) -> float | None:
        """Speech above noise, in dB; None when either was not heard."""
        if self.speech_dbfs is None or self.noise_dbfs is None:
            return None
        return self.speech_dbfs - self.noise_dbfs


class MicrophoneTest:
    """Takes audio as it comes, `feed`, and gives the measures, `report`."""

    def __init__(self, vad: VoiceActivityDetector) -> None:
        self._vad = vad
        self._pending = np.zeros(0, np.int16)
        self._powers: list[float] = []
        self._voice: list[float] = []
        self._n_samples = self._n_clipped = self._n_zero = self._peak = 0
        self._metered = 0
        self._sum = 0.0
        self._square_sum = 0.0

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Take the next (n,) samples."""
        if not samples.size:
            return
        values = samples.astype(np.float64) / (_FULL_SCALE + 1)
        # int32: the magnitude of -32768 is not an int16.
        magnitudes = np.abs(samples.astype(np.int32))
        self._n_samples += samples.size
        self._n_clipped += int(np.count_nonzero(magnitudes >= _FULL_SCALE))
        self._n_zero += int(np.count_nonzero(magnitudes == 0))
        self._peak = max(self._peak, int(magnitudes.max()))
        self._sum += float(values.sum())
        self._square_sum += float(np.square(values).sum())
        self._follow_voice(samples)

    def take_level_dbfs(self) -> float:
        """Return the level of what came since the last call."""
        new, self._metered = self._powers[self._metered :], len(self._powers)
        return _decibels(sum(new) / len(new)) if new else SILENCE_DBFS

    def report(self, *, lost_samples: int = 0) -> MicReport:
        """Return the measures so far."""
        n = max(1, self._n_samples)
        powers, voice = np.array(self._powers), np.array(self._voice)
        voiced, quiet = powers[voice >= _VOICED], powers[voice < _VOICED]
        enough = len(voiced) >= _MIN_VOICED_FRAMES
        return MicReport(
            seconds=self._n_samples / SAMPLE_RATE,
            peak_dbfs=_decibels((self._peak / (_FULL_SCALE + 1)) ** 2),
            level_dbfs=_decibels(self._square_sum / n),
            noise_dbfs=_decibels(float(np.percentile(quiet, _NOISE_PERCENTILE)))
            if len(quiet)
            else None,
            speech_dbfs=_decibels(float(voiced.mean())) if enough else None,
            clipped_share=self._n_clipped / n,
            zero_share=self._n_zero / n,
            offset=self._sum / n,
            lost_samples=lost_samples,
        )

    def _follow_voice(self, samples: NDArray[np.int16]) -> None:
        """Keep power and voice probability of every frame that the voice detector completes."""
        self._voice += self._vad.feed(samples)
        audio = np.concatenate((self._pending, samples))
        size = self._vad.frame_samples
        whole = audio.size - audio.size % size
        self._pending = audio[whole:]
        frames = audio[:whole].reshape(-1, size).astype(np.float64) / (_FULL_SCALE + 1)
        self._powers += np.square(frames).mean(axis=1).tolist()


def findings(report: MicReport, *, gain_db: float = 0.0) -> tuple[MicrophoneFinding, ...]:
    """Say what is wrong, the gravest first; () for a microphone that will do."""
    if report.seconds == 0:
        no_audio = MicrophoneFinding(
            "mic.no_audio", "it delivers no audio at all", "check its cable"
        )
        return (no_audio,)
    if report.zero_share == 1:
        silent = f"{report.seconds:.1f} s of digital silence"
        return (MicrophoneFinding("mic.silent", silent, PERMISSION_REMEDY),)
    if report.level_dbfs < FAINT_DBFS and report.speech_dbfs is None:
        faint = f"almost nothing arrives: {report.level_dbfs:.0f} dBFS; is it muted?"
        return (MicrophoneFinding("mic.faint", faint, FAINT_REMEDY),)
    found = (*_distortions(report), *_speech(report, gain_db=gain_db))
    return tuple(finding for finding in found if finding is not None)


def _distortions(report: MicReport) -> tuple[MicrophoneFinding | None, ...]:
    clipped = lost = offset = None
    if report.clipped_share > _CLIPPED_SHARE:
        clipped = MicrophoneFinding(
            "mic.clipping",
            f"{report.clipped_share:.1%} of the samples are at full scale: loud sounds are cut off",
            "lower the input's volume in the system's settings, or audio.gain_db",
        )
    if report.lost_samples:
        lost = MicrophoneFinding(
            "mic.lost_audio",
            f"{report.lost_samples / SAMPLE_RATE:.2f} s of audio were lost",
            "end programs that keep the machine busy; avoid USB hubs",
        )
    if abs(report.offset) > _OFFSET:
        offset = MicrophoneFinding(
            "mic.offset",
            f"the signal is off centre by {report.offset:+.2f} of full scale",
            "try another port or cable: the input is electrically off balance",
        )
    return clipped, lost, offset


def _speech(report: MicReport, *, gain_db: float) -> tuple[MicrophoneFinding | None, ...]:
    if report.speech_dbfs is None:
        unheard = MicrophoneFinding(
            "mic.no_speech",
            "nobody was heard speaking",
            "run it again and speak as you would to the daemon, from where you would stand",
        )
        return (unheard,)
    quiet = noisy = None
    if report.speech_dbfs < _QUIET_SPEECH_DBFS:
        gain = min(_MOST_GAIN_DB, round(gain_db + _WANTED_SPEECH_DBFS - report.speech_dbfs))
        quiet = MicrophoneFinding(
            "mic.quiet",
            f"speech is faint: {report.speech_dbfs:.0f} dBFS",
            f"raise the input's volume in the system's settings, or set audio.gain_db = {gain}",
        )
    if report.snr_db is not None and report.snr_db < _POOR_SNR_DB:
        noisy = MicrophoneFinding(
            "mic.noisy",
            f"speech is only {report.snr_db:.0f} dB above the noise",
            "move the microphone towards the speaker, and away from fans and loudspeakers",
        )
    return quiet, noisy


def _decibels(power: float) -> float:
    return dbfs(power, floor=SILENCE_DBFS)
