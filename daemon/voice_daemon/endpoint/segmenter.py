"""The VAD segmenter passes on the parts of a recording that hold speech, and nothing else.

The same rules as in a session (`endpointer`), over a recording of any length and any number of
utterances. On a silence the recogniser would write " you", on music a whole sentence.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from voice_daemon.endpoint.endpointer import Endpointer, EndpointEvent, EndpointOptions, Phase
from voice_daemon.endpoint.hallucination import HallucinationThresholds, VadStats
from voice_daemon.endpoint.vad import VoiceActivityDetector
from voice_daemon.events import SAMPLE_RATE, Word, ms_to_samples

KEPT_PAUSE_MS = 1000
"""A pause up to this long is passed on whole; of a longer one, only its ends."""
SURE_MS = 500
"""Voice that is not clear is passed on once it is this long: a door is shorter."""
PRIMING_MS = 500
"""Silence for the voice detector before and after the recording. Without it, it misses the
voice of every tenth clip that is cut close around one word."""
_NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class SpeechSegment:
    """Samples [first, end) of the recording."""

    first: int
    end: int


class VadSegmenter:
    """Takes a recording as it comes; gives the segments that the recogniser is to be fed."""

    def __init__(
        self,
        vad: VoiceActivityDetector,
        options: EndpointOptions,
        *,
        lead_samples: int,
        thresholds: HallucinationThresholds,
    ) -> None:
        """`lead_samples`: audio before the start of speech that is passed on with it."""
        self._vad = vad
        self._thresholds = thresholds
        self._lead = lead_samples
        # As much of a pause as a session hears before it takes it for an end.
        self._tail = options.suspect_samples
        self._endpoint = replace(
            options,
            silence_samples=ms_to_samples(KEPT_PAUSE_MS),
            # A recording may be silent, and long, for as long as it likes.
            no_speech_samples=_NEVER,
            max_samples=_NEVER,
        )
        self.reset()

    def reset(self) -> None:
        """Begin another recording."""
        self.segments: list[SpeechSegment] = []
        """All that was passed on so far, in order; neighbours are joined."""
        self.speech_from: int | None = None
        """Sample at which the first speech began; None before."""
        self._heard = self._next = self._began_at = self._voiced_to = 0
        self._earlier = VadStats()
        self._open = False
        self._vad.reset()
        n_frames = -(-ms_to_samples(PRIMING_MS) // self._vad.frame_samples)
        priming = np.zeros(n_frames * self._vad.frame_samples, np.int16)
        self._endpointer = self._listen_from(-priming.size, opened_at=0)
        self._follow(priming)

    @property
    def speaking(self) -> bool:
        """True while somebody speaks, and in the first moment of a pause."""
        return self._open and self._endpointer.phase is Phase.SPEAKING

    @property
    def silence(self) -> int:
        """Samples since the last speech; since the beginning where there was none yet."""
        return self._endpointer.voice.now - self._voiced_to

    @property
    def vad_stats(self) -> VadStats:
        """Statistics of the voice in all that was passed on."""
        return self._earlier + self._endpointer.vad_stats if self._open else self._earlier

    def feed(self, samples: NDArray[np.int16]) -> list[SpeechSegment]:
        """Take the next (n,) samples; return what is to be passed on now, in order."""
        self._heard += samples.size
        return self._follow(samples)

    def finish(self) -> list[SpeechSegment]:
        """End the recording; return the rest that is to be passed on."""
        return self._follow(np.zeros(ms_to_samples(PRIMING_MS), np.int16))

    def _follow(self, samples: NDArray[np.int16]) -> list[SpeechSegment]:
        due = []
        for probability in self._vad.feed(samples):
            event = self._endpointer.feed(probability)
            if event is EndpointEvent.STARTED:
                self._began_at = self._endpointer.speech_from
                self._next = max(self._next, self._began_at - self._lead)
            if self._endpointer.phase in (Phase.SPEAKING, Phase.SUSPECTED):
                self._open = self._open or self._is_speech()
                if self._open:
                    self._voiced_to = self._endpointer.voice.last
                segment = self._due_segment()
                if self._open and segment.first < segment.end:
                    if self.speech_from is None:
                        self.speech_from = self._began_at
                    self._pass_on(segment)
                    due.append(segment)
            elif event is EndpointEvent.ENDED:
                self._close()
        return due

    def _is_speech(self) -> bool:
        stats = self._endpointer.vad_stats
        clear = stats.mean_probability >= self._thresholds.clear_probability
        return clear or stats.voiced_samples >= ms_to_samples(SURE_MS)

    def _due_segment(self) -> SpeechSegment:
        """Return what is due: up to now, or in a pause up to the tail behind the voice."""
        voice = self._endpointer.voice
        suspected = self._endpointer.phase is Phase.SUSPECTED
        end = min(voice.last + self._tail, voice.now) if suspected else voice.now
        # The silence that primes the detector lies behind the recording, not in it.
        return SpeechSegment(self._next, min(end, self._heard))

    def _pass_on(self, segment: SpeechSegment) -> None:
        joined = self.segments and self.segments[-1].end == segment.first
        first = self.segments.pop().first if joined else segment.first
        self.segments.append(SpeechSegment(first, segment.end))
        self._next = segment.end

    def _close(self) -> None:
        """Wait for another utterance after a long pause."""
        self._earlier = self.vad_stats
        self._open = False
        now = self._endpointer.voice.now
        self._endpointer = self._listen_from(now, opened_at=now)

    def _listen_from(self, sample: int, *, opened_at: int) -> Endpointer:
        return Endpointer(
            self._endpoint,
            frame_samples=self._vad.frame_samples,
            heard_from=sample,
            opened_at=opened_at,
            after_wake=False,
        )


def in_recording(words: Iterable[Word], segments: Iterable[SpeechSegment]) -> Iterator[Word]:
    """Turn times from the first sample passed on into times from the recording's first.

    A word lies wholly in the segment that it ends in.
    """
    ahead = iter(segments)
    segment = next(ahead, SpeechSegment(0, 0))
    before = 0
    for word in words:
        while word.end_s * SAMPLE_RATE > before + segment.end - segment.first:
            after = next(ahead, None)
            if after is None:
                break
            before += segment.end - segment.first
            segment = after
        shift_s = (segment.first - before) / SAMPLE_RATE
        start_s = max(word.start_s, before / SAMPLE_RATE)
        yield replace(word, start_s=start_s + shift_s, end_s=max(start_s, word.end_s) + shift_s)
