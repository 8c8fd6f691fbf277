"""A clip that flashes and beeps at the same instants, and how far apart both are in what came out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

PERIOD_S, LENGTH_S = 1.0, 0.2
RATE = 30
DARK = np.full((360, 640, 3), 80, np.uint8)
_SOUND_RATE = 48_000


def make_clip(path: Path, seconds: int, scenes: Sequence[NDArray[np.uint8]] = (DARK,), rate: int = RATE) -> None:
    """Write H.264 and AAC: dark and silent, and from every half second on white and loud for 0.2 s.

    :param scenes: pictures, (h, w, 3) RGB, to be shown in turn; only the right edge, a tenth, is dark or white.
    :param rate: frames per second.
    """
    height, width = scenes[0].shape[:2]
    edge = np.s_[:, -(width // 10) :]
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "g": str(rate)})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = file.add_stream("aac", rate=_SOUND_RATE)
        audio.codec_context.layout = "mono"
        for index, scene in zip(range(seconds * rate), itertools.cycle(scenes), strict=False):
            picture = scene.copy()
            picture[edge] = 235 if _on(index / rate) else 80
            file.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
            samples = np.arange(index * _SOUND_RATE // rate, (index + 1) * _SOUND_RATE // rate)
            on = (samples / _SOUND_RATE - PERIOD_S / 2) % PERIOD_S < LENGTH_S
            wave = np.where(on, 0.5 * np.sin(samples * 2 * np.pi * 1000 / _SOUND_RATE), 0.0)
            block = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], "s16", "mono")
            block.sample_rate, block.pts = _SOUND_RATE, int(samples[0])
            block.time_base = Fraction(1, _SOUND_RATE)
            file.mux(audio.encode(block))
        file.mux(video.encode(None))
        file.mux(audio.encode(None))


def _on(time: float) -> bool:
    return (time + 1e-6 - PERIOD_S / 2) % PERIOD_S < LENGTH_S


def flashes(path: Path) -> NDArray[np.float64]:
    """Return when the right edge turns from dark to white, (n,) seconds. The slate is dark."""
    with av.open(str(path)) as file:
        shown = [(float(f.time), _edge(f).mean()) for f in file.decode(video=0)]
    times, levels = np.array(shown).T
    return times[1:][(levels[1:] > 140) & (levels[:-1] <= 140)]


def _edge(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Return some of the brightness near the right edge."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height : 8]
    return rows[:, frame.width * 19 // 20 : frame.width - 8]


def loudness(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times in seconds and levels, 0 to 1, of every millisecond of the sound."""
    times, levels = [], []
    with av.open(str(path)) as file:
        resampler = av.AudioResampler("flt", "mono", _SOUND_RATE)
        for frame in file.decode(audio=0):
            for part in resampler.resample(frame):
                samples = np.abs(part.to_ndarray()[0])
                count = len(samples) // 48
                times.append(part.pts / _SOUND_RATE + np.arange(count) / 1000)
                levels.append(samples[: count * 48].reshape(count, 48).max(axis=1))
    return np.concatenate(times), np.concatenate(levels)


def beeps(path: Path) -> NDArray[np.float64]:
    """Return when the sound turns from silent to loud, (n,) seconds."""
    times, levels = loudness(path)
    loud = times[levels > 0.1]
    return loud[np.diff(loud, prepend=-1.0) > 0.3]


def offsets(path: Path) -> NDArray[np.float64]:
    """Return (n, 2): when a flash came, and how much later its beep, in seconds."""
    lights, sounds = flashes(path), beeps(path)
    pairs = [(light, sounds[np.abs(sounds - light).argmin()] - light) for light in lights]
    return np.array([pair for pair in pairs if abs(pair[1]) < PERIOD_S / 2]).reshape(-1, 2)
