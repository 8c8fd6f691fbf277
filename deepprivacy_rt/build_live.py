"""From configuration to a live run: the place that names live sources and sinks."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit

from deepprivacy_rt.build import Anonymizer, build_anonymizer
from deepprivacy_rt.config import FaceConfig, LiveConfig
from deepprivacy_rt.detectors.paced import PacedDetector
from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.pipeline import DelayedTracker, StageTimes
from deepprivacy_rt.realtime.engine import LiveSource, LiveStages
from deepprivacy_rt.realtime.gate import Gate
from deepprivacy_rt.realtime.immediate import Immediate
from deepprivacy_rt.realtime.presenter import Presenter, PresenterSettings
from deepprivacy_rt.sinks.live_encoding import LivePicture
from deepprivacy_rt.sinks.live_spec import carries_sound, create_live_sink, parse_live_sink, with_size
from deepprivacy_rt.sound import Sound
from deepprivacy_rt.sources.live import SourceState
from deepprivacy_rt.sources.live_spec import LiveSpec, parse_live_source
from deepprivacy_rt.tracking import LookaheadTracker, OnlineTracker, TrackerSettings
from deepprivacy_rt.weights import Weights


def build_stages(faces: FaceConfig, live: LiveConfig, weights: Weights) -> LiveStages:
    """Load what the configuration asks for; takes seconds. Raises as :func:`deepprivacy_rt.build.build_anonymizer`."""
    return stages_of(build_anonymizer(faces, weights, live=True), live)


def stages_of(anonymizer: Anonymizer, live: LiveConfig, times: StageTimes | None = None) -> LiveStages:
    """Return the stages of a live stream.

    :param times: where the time of the stages is noted; None: only in the engine's status.
    """
    detector = anonymizer.new_detector()
    return LiveStages(
        detector=detector,
        paced=detector if isinstance(detector, PacedDetector) else None,
        new_tracker=lambda: _tracker(live),
        replacer=anonymizer.new_replacer(live.rate, times),
    )


def _tracker(live: LiveConfig) -> DelayedTracker:
    settings = TrackerSettings(frame_rate=live.rate)
    return LookaheadTracker(settings, live.lookahead) if live.lookahead else Immediate(OnlineTracker(settings))


def check_source(live: LiveConfig) -> LiveSpec:
    """Tell what the source is, without opening it. Raises UsageError."""
    spec = parse_live_source(live.source)
    if spec.kind in ("webcam", "screen") and live.audio and live.audio_device is None:
        raise UsageError(f"{spec.shown} has no sound; name a microphone with --audio-device, or leave out --audio")
    return spec


def make_live_source(
    spec: LiveSpec, live: LiveConfig, on_state: Callable[[SourceState], None], on_sound: Callable[[Sound], None]
) -> LiveSource:
    """Return the source; entering it connects. Raises UsageError.

    :param on_sound: gets its sound, where the configuration wants that.
    """
    heard = on_sound if live.audio and live.audio_device is None else None
    if spec.kind == "webcam":
        from deepprivacy_rt.sources.webcam import WebcamSource

        width, height = live.width_height
        rate = Fraction(live.rate).limit_denominator(1001)
        device = spec.target if isinstance(spec.target, int) else str(spec.target)
        return WebcamSource(
            device, width=width, height=height, rate=rate, on_state=on_state, max_retries=live.max_retries
        )
    if spec.kind == "screen":
        from deepprivacy_rt.sources.screen import ScreenSource, parse_region

        rate = Fraction(live.rate).limit_denominator(1001)
        return ScreenSource(parse_region(str(spec.target)), rate=rate, on_state=on_state)
    if spec.kind == "network":
        from deepprivacy_rt.sources.network import NetworkSource
        from deepprivacy_rt.sources.srt import SrtSource

        url = str(spec.target)
        kind = SrtSource if url.lower().startswith("srt:") else NetworkSource
        return kind(url, on_state=on_state, on_sound=heard, max_retries=live.max_retries)
    from deepprivacy_rt.sources.realtime import RealtimeFileSource

    return RealtimeFileSource(Path(str(spec.target)), loop=live.loop, on_state=on_state, on_sound=heard)


def make_microphone(
    live: LiveConfig, on_sound: Callable[[Sound], None], report: Callable[[str], None]
) -> contextlib.AbstractContextManager[object]:
    """Return the microphone of the configuration; entering it opens it. Without one nothing happens."""
    if live.audio_device is None:
        return contextlib.nullcontext()
    from deepprivacy_rt.sources.microphone import Microphone

    return Microphone(live.audio_device, on_sound, report)


def silent_sinks(live: LiveConfig) -> tuple[str, ...]:
    """Return the names of the sinks that carry no sound. Raises UsageError."""
    return tuple(_name(text) for text in live.sinks if not carries_sound(parse_live_sink(text)))


def make_presenters(live: LiveConfig, gate: Gate, on_key: Callable[[str], None]) -> list[Presenter]:
    """Return a presenter for every sink of the configuration. Raises UsageError for a sink that cannot be."""
    settings = PresenterSettings(size=live.width_height)
    picture = LivePicture(rate=Fraction(live.rate).limit_denominator(1001), sound=live.audio)
    presenters = []
    for text in live.sinks:
        # The slate comes first, so its size is what the picture is fitted into.
        sink = with_size(parse_live_sink(text, picture), live.width_height)
        make = functools.partial(create_live_sink, sink, on_key)
        presenters.append(Presenter(_name(text), make, gate, settings))
    return presenters


def _name(sink: str) -> str:
    """Return a name without user, password and key."""
    if "://" not in sink:
        return sink
    parts = urlsplit(sink)
    return f"{sink.partition('://')[0]}://{parts.hostname or f':{parts.port}'}"  # a listener has a port alone


def with_new_identities(faces: FaceConfig) -> FaceConfig:
    """Return a configuration that draws other faces; a seeded one the next of its row.

    A chosen identity gives way to random ones: who asks for a new face does not want that one.
    """
    faces = dataclasses.replace(faces, identity="random")
    return faces if faces.seed is None else dataclasses.replace(faces, seed=faces.seed + 1)
