"""The sound track of a live output: AAC without gaps, whatever comes in."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from deepprivacy_rt.sound import SOUND_RATE, Samples

_BITRATE = 128_000
_BLOCK = 1024
_JUMP = round(0.06 * SOUND_RATE)
"""Samples; sound that is further off than this is moved to its place at once."""
_OFF = round(0.005 * SOUND_RATE)
"""Samples; sound that is further off than this gets there little by little: clocks of devices differ."""
_STRETCH = 200
"""One sample in so many may be added or left out for that: 0.5 percent of the pitch."""


class SoundTrack:
    """Encodes sound to its place in time, and silence where there is none. The track begins at zero."""

    def __init__(self, container: av.container.OutputContainer) -> None:
        """Add a stereo track to a container that is not open yet."""
        self._container = container
        self._stream = container.add_stream("aac", rate=SOUND_RATE)
        self._stream.codec_context.layout = "stereo"
        self._stream.codec_context.bit_rate = _BITRATE
        self._position = 0
        self._silent = True

    def play(self, samples: Samples, seconds: Fraction) -> None:
        """Encode (n, 2) int16 that belongs to this time, before which everything is already there or silent."""
        off = round(seconds * SOUND_RATE) - self._position
        if self._silent or abs(off) > _JUMP:
            self._fill(off)
            samples = samples[max(0, -off) :]
        elif abs(off) > _OFF:
            samples = stretched(samples, off)
        if len(samples):
            self._silent = False
            self._encode(samples)

    def silence_until(self, seconds: Fraction) -> None:
        """Bring silence up to a picture: some services show none without sound, and muxers wait for it."""
        self._silent = True
        self._fill(round(seconds * SOUND_RATE) + _BLOCK - self._position)  # one block ahead, or the muxer waits

    def finish(self) -> None:
        """Send what is left."""
        self._container.mux(self._stream.encode(None))

    def _fill(self, count: int) -> None:
        while count > 0:
            self._encode(np.zeros((min(count, _BLOCK), 2), np.int16))
            count -= _BLOCK

    def _encode(self, samples: Samples) -> None:
        block = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="stereo")
        block.sample_rate = SOUND_RATE
        block.pts, block.time_base = self._position, Fraction(1, SOUND_RATE)
        self._position += len(samples)
        self._container.mux(self._stream.encode(block))


def stretched(samples: Samples, off: int) -> Samples:
    """Return the sound a little longer or shorter, so that ``off`` samples of delay (negative: lead) become fewer."""
    count = len(samples)
    most = max(1, count // _STRETCH)
    places = np.linspace(0, count - 1, count + max(-most, min(most, off)))
    left, right = (np.interp(places, np.arange(count), samples[:, side]) for side in (0, 1))
    longer: Samples = np.stack((left, right), axis=1).round().astype(np.int16)
    return longer
