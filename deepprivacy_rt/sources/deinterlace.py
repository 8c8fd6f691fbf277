"""Deinterlacing: one upright progressive frame per interlaced frame, so that detectors see no combs."""

from __future__ import annotations

from collections.abc import Iterator

import av


def deinterlaced(frames: Iterator[av.VideoFrame], stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Pass progressive frames on and deinterlace the others (bwdif, one frame per frame, time stamps kept).

    The filter is set up at the first interlaced frame; from then on everything goes through it. A change of size or
    pixel format starts a new one.
    """
    graph: av.filter.Graph | None = None
    layout: tuple[int, int, str] | None = None
    for frame in frames:
        if graph is not None and layout != _layout(frame):
            yield from _drained(graph)
            graph = None
        if graph is None and not frame.interlaced_frame:
            yield frame
            continue
        if graph is None:
            graph, layout = _graph(frame, stream), _layout(frame)
        graph.push(frame)
        yield from _pulled(graph)
    if graph is not None:
        yield from _drained(graph)


def _layout(frame: av.VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name


def _graph(frame: av.VideoFrame, stream: av.VideoStream) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=stream.time_base, name="in"
    )
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
    graph.configure()
    return graph


def _pulled(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _drained(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    graph.vpush(None)
    yield from _pulled(graph)
