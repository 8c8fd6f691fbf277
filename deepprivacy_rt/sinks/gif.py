"""256 well-chosen colours for each picture of a GIF."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from deepprivacy_rt.types import Image


class Palettes:
    """Reduces pictures to a palette each (FFmpeg's ``palettegen`` and ``paletteuse``)."""

    def __init__(self, size: tuple[int, int], unit: Fraction) -> None:
        width, height = size
        graph = av.filter.Graph()
        graph.threads = 1
        source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=unit, name="in")
        split = graph.add("split")
        generate = graph.add("palettegen", "stats_mode=single")
        use = graph.add("paletteuse", "new=1")
        source.link_to(split)
        split.link_to(generate, 0, 0)
        split.link_to(use, 1, 0)
        generate.link_to(use, 0, 1)
        use.link_to(graph.add("buffersink"))
        graph.configure()
        self._graph = graph
        self._unit = unit

    def reduce(self, image: Image, ticks: int) -> av.VideoFrame:
        """Return a ``pal8`` frame for (h, w, 3) uint8 RGB; ``ticks`` must rise."""
        frame = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), "rgb24")
        frame.pts, frame.time_base = ticks, self._unit
        self._graph.push(frame)
        return self._graph.vpull()
