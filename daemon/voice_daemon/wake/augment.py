"""Clean speech made to sound as it does in rooms: other speakers, echoes, noise and loudness.

Deterministic for a random generator. Audio is (n,) float32 at 16 kHz in [-1, 1].
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.events import SAMPLE_RATE

Audio = NDArray[np.float32]

_BANDS_HZ: Final = (80, 250, 500, 1000, 2000, 4000, 8000)
_PACES: Final = (0.75, 1.15)
"""Synthesised voices speak faster than people who call a device."""
_NOISE_SLOPES: Final = (0.0, 0.5, 1.0, 1.5)
"""Powers of 1 / f: white to brown."""


def rendering(
    speech: Audio, rng: np.random.Generator, *, lead_s: float, tail_s: float, beside: Audio | None
) -> tuple[Audio, int]:
    """Render speech once: changed voice and room, after `lead_s` and before `tail_s` of noise.

    Gives the sample at which the speech ends as well. `beside`: somebody else's speech or music
    to be heard behind it, looped to the length needed.
    """
    spoken = _resampled(speech, rng.uniform(*_PACES))
    spoken = _equalised(spoken, rng)
    lead, tail = (np.zeros(round(s * SAMPLE_RATE), np.float32) for s in (lead_s, tail_s))
    audio = np.concatenate((lead, spoken, tail))
    if _sometimes(rng, 0.5):
        audio = _with_echo(audio, rng)
    power = float(np.mean(spoken**2)) + 1e-12
    audio = audio + _scaled(coloured_noise(len(audio), rng), power, rng.uniform(5, 45))
    if beside is not None:
        start = int(rng.integers(len(beside)))
        other = np.resize(np.roll(beside, -start), len(audio))
        audio = audio + _scaled(other, power, rng.uniform(4, 25))
    level = 10 ** (rng.uniform(-32, -3) / 20)
    audio = audio / (np.abs(audio).max() + 1e-9) * level
    if _sometimes(rng, 0.1):  # a microphone that is too loud
        audio = (audio * 4).clip(-level, level)
    return audio.astype(np.float32), len(lead) + len(spoken)


def coloured_noise(n_samples: int, rng: np.random.Generator) -> Audio:
    """Make noise between hiss and rumble, at times with a hum or in gusts; its power is 1."""
    spectrum = np.fft.rfft(rng.normal(size=n_samples))
    slope = rng.choice(_NOISE_SLOPES)
    frequencies = np.maximum(np.fft.rfftfreq(n_samples, 1 / SAMPLE_RATE), 40)
    noise = np.fft.irfft(spectrum * frequencies ** (-slope / 2), n_samples)
    noise /= noise.std() + 1e-9
    t = np.arange(n_samples) / SAMPLE_RATE
    if _sometimes(rng, 0.3):
        pitch = rng.uniform(50, 600)
        noise += sum(
            np.sin(2 * np.pi * k * pitch * t + rng.uniform(0, 6)) / k for k in range(1, 6)
        ) * rng.uniform(0.2, 1)
    if _sometimes(rng, 0.3):
        noise *= 1 + 0.8 * np.sin(2 * np.pi * rng.uniform(0.3, 4) * t + rng.uniform(0, 6))
    scaled: Audio = (noise / (noise.std() + 1e-9)).astype(np.float32)
    return scaled


def _sometimes(rng: np.random.Generator, share: float) -> bool:
    return bool(rng.random() < share)


def _scaled(noise: Audio, speech_power: float, snr_db: float) -> Audio:
    power = float(np.mean(noise**2)) + 1e-12
    scaled: Audio = noise * np.float32(np.sqrt(speech_power / power) * 10 ** (-snr_db / 20))
    return scaled


def _resampled(audio: Audio, pace: float) -> Audio:
    """Play faster or slower: pitch and formants move along, as between speakers."""
    n_samples = round(len(audio) / pace)
    at = np.linspace(0, len(audio) - 1, n_samples)
    return np.interp(at, np.arange(len(audio)), audio).astype(np.float32)


def _equalised(audio: Audio, rng: np.random.Generator) -> Audio:
    """Raise and lower bands by a few decibels, and cut at times what a cheap microphone cuts."""
    gains_db = rng.normal(0, 4, len(_BANDS_HZ))
    spectrum = np.fft.rfft(audio)
    frequencies = np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE)
    gains_db = np.interp(np.log(frequencies + 20), np.log(_BANDS_HZ), gains_db)
    if _sometimes(rng, 0.25):
        gains_db[frequencies > rng.uniform(3400, 7000)] -= 40
    if _sometimes(rng, 0.25):
        gains_db[frequencies < rng.uniform(100, 350)] -= 30
    return np.fft.irfft(spectrum * 10 ** (gains_db / 20), len(audio)).astype(np.float32)


def _with_echo(audio: Audio, rng: np.random.Generator) -> Audio:
    """Put it into a room: the direct sound, and noise that dies away behind it."""
    rt60_s, direct_db = rng.uniform(0.1, 0.7), rng.uniform(-3, 15)
    n_samples = round(rt60_s * SAMPLE_RATE)
    tail = rng.normal(size=n_samples) * 10 ** (-3 * np.arange(n_samples) / n_samples)
    tail *= 10 ** (-direct_db / 20) / (np.sqrt(np.sum(tail**2)) + 1e-9)
    room = np.concatenate(([1.0], np.zeros(round(rng.uniform(0.001, 0.01) * SAMPLE_RATE)), tail))
    size = 1 << (len(audio) + len(room)).bit_length()
    product = np.fft.rfft(audio, size) * np.fft.rfft(room, size)
    return np.fft.irfft(product, size)[: len(audio)].astype(np.float32)
