"""Soft music for the films: pads, bells and air, made of sines and filtered noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RATE = 44_100
Samples = NDArray[np.float64]


def _hz(note: float) -> float:
    """Frequency of a MIDI note."""
    return float(440 * 2 ** ((note - 69) / 12))


def _pad(seconds: float, chords: list[list[int]], each_s: float, bright: float) -> Samples:
    """Chords that melt into each other; every note three detuned voices, spread in stereo."""
    t = np.arange(int(seconds * RATE)) / RATE
    out = np.zeros((len(t), 2))
    for number in range(int(np.ceil(seconds / each_s))):
        start, end = number * each_s - 1.5, (number + 1) * each_s + 2.5
        a, b = max(0, int(start * RATE)), min(len(t), int(end * RATE))
        local = t[a:b]
        swell = np.clip((local - start) / 3.5, 0, 1) * np.clip((end - local) / 3.5, 0, 1)
        swell = np.sin(swell * np.pi / 2) ** 2
        for note in chords[number % len(chords)]:
            for voice, place in ((-0.06, 0.25), (0.0, 0.5), (0.07, 0.75)):
                phase = 2 * np.pi * _hz(note + voice) * local + note * voice * 40
                tone = sum(np.sin(k * phase) * bright ** (k - 1) / k for k in range(1, 5))
                tone = tone * swell * (0.85 + 0.15 * np.sin(0.4 * local + note))
                out[a:b, 0] += tone * (1 - place)
                out[a:b, 1] += tone * place
    return out / 12


def _bells(seconds: float, notes: list[int], step_s: float, seed: int, chance: float) -> Samples:
    """Sparse struck notes that ring out."""
    rng = np.random.default_rng(seed)
    out = np.zeros((int(seconds * RATE), 2))
    for number in range(int((seconds - 4) / step_s)):
        if number < 3 or rng.random() > chance:
            continue
        start = int(number * step_s * RATE)
        t = np.arange(min(int(3.5 * RATE), len(out) - start)) / RATE
        pitch = _hz(rng.choice(notes))
        ring = np.exp(-t * 1.7) * np.sin(2 * np.pi * pitch * t)
        ring += 0.35 * np.exp(-t * 3.2) * np.sin(2 * np.pi * 2.76 * pitch * t)
        ring *= np.clip(t / 0.006, 0, 1) * rng.uniform(0.4, 1)
        place = rng.uniform(0.2, 0.8)
        out[start : start + len(t), 0] += ring * (1 - place)
        out[start : start + len(t), 1] += ring * place
    return out * 0.12


def _air(seconds: float, low: float, high: float, seed: int, gust_s: float) -> Samples:
    """Noise of a band of frequencies, in Hz, that comes and goes."""
    count = int(seconds * RATE)
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal((count, 2)), axis=0)
    f = np.fft.rfftfreq(count, 1 / RATE)[:, None]
    spectrum *= 1 / (1 + (low / np.maximum(f, 1)) ** 4) / (1 + (f / high) ** 4)
    noise = np.fft.irfft(spectrum, count, axis=0)
    t = np.arange(count)[:, None] / RATE
    gust = 0.65 + 0.35 * np.sin(2 * np.pi * t / gust_s + np.array([0, 0.8]))
    return noise / np.abs(noise).max() * gust


def _hall(dry: Samples, seconds: float, wet: float) -> Samples:
    """Reverberation: convolution with decaying noise."""
    count = int(seconds * RATE)
    t = np.arange(count)[:, None] / RATE
    tail = np.random.default_rng(3).standard_normal((count, 2)) * np.exp(-t * 5 / seconds)
    tail /= np.sqrt((tail**2).sum(axis=0))
    size = len(dry) + count
    room = np.fft.irfft(
        np.fft.rfft(dry, size, axis=0) * np.fft.rfft(tail, size, axis=0), size, axis=0
    )
    return dry * (1 - wet) + room[: len(dry)] * wet


def _master(mix: Samples, peak: float = 0.5) -> Samples:
    t = np.arange(len(mix)) / RATE
    fade = np.clip(t / 1.5, 0, 1) * np.clip((t[-1] - t) / 3, 0, 1)
    return mix / np.abs(mix).max() * peak * fade[:, None]


def _northern_light(seconds: float) -> Samples:
    chords = [
        [38, 50, 57, 62, 66],
        [36, 48, 55, 62, 64],
        [43, 50, 59, 62, 67],
        [41, 48, 57, 60, 65],
    ]
    music = _pad(seconds, chords, 6.5, 0.30)
    music += _bells(seconds, [74, 78, 81, 86, 69, 90], 0.8, 12, 0.34)
    return _master(_hall(music, 3.5, 0.45) + 0.05 * _air(seconds, 120, 480, 2, 9))


def _last_tram_home(seconds: float) -> Samples:
    chords = [
        [45, 57, 60, 64, 67],
        [41, 53, 57, 60, 64],
        [48, 55, 60, 64, 67],
        [43, 55, 59, 62, 65],
    ]
    each = 5.0
    music = 0.8 * _pad(seconds, chords, each, 0.42)
    t = np.arange(int(seconds * RATE)) / RATE
    step = 0.3125  # eighths at 96 beats a minute
    beat = (t / step).astype(int)
    root = np.array([_hz(chords[int(n * step / each) % 4][0]) for n in range(beat[-1] + 1)])[beat]
    phase = 2 * np.pi * np.cumsum(root) / RATE
    pluck = np.exp(-(t % step) * 6) * np.clip((t % step) / 0.008, 0, 1)
    bass = (np.sin(phase) + 0.3 * np.sin(2 * phase)) * pluck * np.clip((t - 5) / 4, 0, 1)
    music += 0.2 * bass[:, None]
    music += 0.8 * _bells(seconds, [72, 76, 79, 81, 84], step, 31, 0.3)
    return _master(_hall(music, 2.2, 0.3) + 0.06 * _air(seconds, 60, 240, 5, 6))


def _ringed_world(seconds: float) -> Samples:
    chords = [
        [33, 45, 52, 59, 64],
        [29, 41, 52, 57, 64],
        [38, 45, 53, 57, 62],
        [40, 47, 52, 59, 62],
    ]
    music = _pad(seconds, chords, 8.0, 0.24)
    music += 0.7 * _bells(seconds, [76, 83, 88, 71, 95], 1.6, 44, 0.4)
    return _master(_hall(music, 5.0, 0.55) + 0.04 * _air(seconds, 40, 160, 7, 13))


TRACKS: dict[str, Callable[[float], Samples]] = {
    "northern-light": _northern_light,
    "last-tram-home": _last_tram_home,
    "ringed-world": _ringed_world,
}
