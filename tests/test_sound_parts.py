"""The parts that sound goes through: pieces with times, waiting for pictures, a track without gaps."""

from __future__ import annotations

import os
import signal
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from live_pictures import picture, safe
from stillness import ByTheClock
from waiting import until

from deepprivacy_rt.errors import SourceError
from deepprivacy_rt.realtime.gate import Gate
from deepprivacy_rt.realtime.lip_sync import LEAD_S, LipSync
from deepprivacy_rt.realtime.presenter import Presenter, PresenterSettings
from deepprivacy_rt.sinks.live_encoding import LivePicture
from deepprivacy_rt.sinks.live_recording import RecordingSettings, RecordingSink
from deepprivacy_rt.sinks.sound_track import SoundTrack
from deepprivacy_rt.sound import SOUND_RATE, Samples, Sound
from deepprivacy_rt.sources.microphone import Microphone
from deepprivacy_rt.sources.stream_clock import StreamClock
from deepprivacy_rt.stages import Sink, SoundSink
from deepprivacy_rt.types import SafeFrame

PIECE = 960


def piece(at: float, level: int = 1000, count: int = PIECE) -> Sound:
    return Sound(np.full((count, 2), level, np.int16), at)


def test_sound_that_is_no_stereo_is_refused() -> None:
    for samples in (np.zeros((4, 1), np.int16), np.zeros((4, 2), np.float32), np.zeros((0, 2), np.int16)):
        with pytest.raises(ValueError, match="sound must be"):
            Sound(samples, 0.0)  # type: ignore[arg-type]


def test_sound_waits_for_its_picture_and_is_forgotten_for_good() -> None:
    sync = LipSync()
    for n in range(50):
        sync.offer(piece(10 + n / 50))
    assert [s.time for s in sync.release(10.1 - LEAD_S)] == pytest.approx([10, 10.02, 10.04, 10.06, 10.08])
    sync.forget(10.6)
    sync.offer(piece(10.59))
    sync.offer(piece(10.61))
    assert [s.time for s in sync.release(20)] == [10.61]
    assert sync.released == pytest.approx(0.12)
    for n in range(500):
        sync.offer(piece(20 + n / 50))
    assert sync.release(99)[0].time > 26, "more than a few seconds are held"


class Kept:
    """A sink that keeps what it is given, in order: "mute", sound and pictures."""

    def __init__(self) -> None:
        self.got: list[str | Sound | SafeFrame] = []

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def write(self, frame: SafeFrame) -> None:
        self.got.append(frame)

    def write_sound(self, sound: Sound) -> None:
        self.got.append(sound)

    def mute(self) -> None:
        self.got.append("mute")

    def sounds(self) -> list[Sound]:
        return [item for item in self.got if isinstance(item, Sound)]


def test_a_presenter_lets_sound_out_beside_pictures_only() -> None:
    gate, sink, over = Gate(), Kept(), threading.Event()
    presenter = Presenter("kept", lambda: sink, gate, PresenterSettings(stall=0.1, hold=0.3, tick=0.05))
    shows = threading.Event()
    shows.set()
    assert isinstance(sink, SoundSink)

    def live() -> None:
        """Sound as it comes, and pictures that are 0.2 s late."""
        index = 0
        while not over.wait(0.02):
            index += 1
            presenter.hear(piece(time.monotonic() - 0.02))
            if shows.is_set():
                presenter.offer(safe(picture(index), index, Fraction(time.monotonic() - 0.2)))

    def until_slates(more: int) -> None:
        wanted = presenter.status().slates + more
        until(lambda: presenter.status().slates >= wanted)

    presenter.start()
    feeder = threading.Thread(target=live, daemon=True)
    feeder.start()
    try:
        until(lambda: len(sink.sounds()) > 20)
        waiting: list[Sound] = []
        for item in list(sink.got):
            if isinstance(item, Sound):
                waiting.append(item)
            elif isinstance(item, SafeFrame):
                ends = [sound.end for sound in waiting]
                assert max(ends, default=0.0) <= float(item.pts) + LEAD_S + 1e-5, "sound overtakes its picture"
                waiting.clear()
        gate.panic()
        until_slates(3)
        count = len(sink.sounds())
        until_slates(5)
        assert len(sink.sounds()) == count and "mute" in sink.got[-3:]
        closed = time.monotonic()
        until_slates(2)
        gate.arm()
        assert gate.resume()
        until(lambda: len(sink.sounds()) > count + 10)
        assert sink.sounds()[count].time > closed, "sound of the panic is heard after it"
        shows.clear()  # no pictures: the slate, and silence
        until_slates(3)
        count = len(sink.sounds())
        until_slates(5)
        assert len(sink.sounds()) == count
    finally:
        over.set()
        presenter.stop()
        presenter.join(5)


def track_of(pieces: list[tuple[float, Samples]], silence_until: float, path: Path) -> Samples:
    """Encode pieces at their times, and silence; return mono int16 of the whole."""
    with av.open(str(path), "w") as file:
        track = SoundTrack(file)
        for at, samples in pieces:
            track.play(samples, Fraction(at))
        track.silence_until(Fraction(silence_until))
        track.finish()
    with av.open(str(path)) as file:
        resampler = av.AudioResampler("s16", "mono", SOUND_RATE)
        parts = [part.to_ndarray()[0] for frame in file.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate(parts)


def hum(begin: float, seconds: float) -> Samples:
    times = np.arange(round(begin * SOUND_RATE), round((begin + seconds) * SOUND_RATE)) / SOUND_RATE
    return np.repeat((8000 * np.sin(2 * np.pi * 400 * times)).astype(np.int16)[:, None], 2, axis=1)


def loud(mono: Samples) -> list[tuple[float, float]]:
    """Return begin and end of the loud parts, in seconds."""
    on = np.abs(mono[: len(mono) // 240 * 240].reshape(-1, 240)).max(axis=1) > 2000
    edges = np.flatnonzero(np.diff(on.astype(int), prepend=0, append=0)) * 240 / SOUND_RATE
    return [(float(a), float(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def test_gaps_are_silent_and_what_is_late_is_cut(tmp_path: Path) -> None:
    pieces = [(0.5, hum(0, 0.3)), (1.5, hum(0, 0.3)), (1.6, hum(0, 0.5)), (-3.0, hum(0, 0.5))]
    assert loud(track_of(pieces, 3.0, tmp_path / "a.mkv")) == [
        (pytest.approx(0.5, abs=0.01), pytest.approx(0.8, abs=0.01)),
        (pytest.approx(1.5, abs=0.01), pytest.approx(2.1, abs=0.01)),
    ]


@pytest.mark.parametrize("speed", [0.998, 1.002])
def test_a_device_whose_clock_runs_otherwise_stays_in_time_without_gaps(tmp_path: Path, speed: float) -> None:
    pieces = [(n * 0.02 * speed, hum(n * 0.02, 0.02)) for n in range(1000)]
    found = loud(track_of(pieces, 20.5, tmp_path / "a.mkv"))
    assert len(found) == 1
    assert found[0][1] == pytest.approx(20 * speed, abs=0.015)


def test_the_clock_of_a_stream_is_learned_and_follows_jumps() -> None:
    clock = StreamClock()
    assert not clock.known
    rng = np.random.default_rng(0)
    for n in range(200):
        clock.note(100 + n / 30 + 0.1 + rng.uniform(0, 0.04), n / 30)
    assert clock.known and clock.time_of(5.0) == pytest.approx(105.12, abs=0.01)
    clock.note(200.0, 5.0)
    assert clock.time_of(6.0) == pytest.approx(201.0)


def test_a_child_that_hangs_costs_old_sound_and_muting_forgets_it(tmp_path: Path) -> None:
    settings = RecordingSettings(tmp_path / "a.mkv", LivePicture(sound=True))
    with RecordingSink(settings) as sink:
        assert isinstance(sink, SoundSink)
        sink.write(safe(picture(0), 0))
        assert sink.wait_until_open(20) and sink.pid is not None
        os.kill(sink.pid, signal.SIGSTOP)
        begin = time.monotonic()
        for n in range(2000):
            sink.write_sound(piece(begin + n / 50, level=9000))
        time.sleep(0.2)
        sink.mute()
        os.kill(sink.pid, signal.SIGCONT)
        sink.write(safe(picture(1), 1, Fraction(begin + 40)))  # the muxer waits for a picture
        until(lambda: sink.path.stat().st_size > 60_000, 30)
    with av.open(str(tmp_path / "a.mkv")) as file:
        heard = sum(np.count_nonzero(np.abs(frame.to_ndarray()[0]) > 0.1) for frame in file.decode(audio=0))
    assert 1 < heard / SOUND_RATE < 7, "the pipe holds five and a half seconds"


def test_a_window_and_null_are_no_sound_sinks() -> None:
    from deepprivacy_rt.sinks.null import NullSink
    from deepprivacy_rt.sinks.window import WindowSettings, WindowSink

    sinks: list[Sink] = [NullSink(), WindowSink(WindowSettings())]
    assert not any(isinstance(sink, SoundSink) for sink in sinks)


@pytest.fixture
def alsa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device of ALSA's own, without hardware: it captures a file."""
    system = Path("/usr/share/alsa/alsa.conf")
    if "alsa" not in av.formats_available or not system.exists():
        pytest.skip("no ALSA: apt-get install libasound2-data")
    (tmp_path / "hum.raw").write_bytes(hum(0, 20).tobytes())
    text = f'pcm.hum {{ type file; slave.pcm null; file /dev/null; infile "{tmp_path}/hum.raw"; format raw }}'
    (tmp_path / "alsa.conf").write_text(f"<{system}>\n{text}\n")
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "alsa.conf"))


def test_a_microphone_is_heard_with_times_of_now(alsa: None, by_the_clock: ByTheClock) -> None:
    heard: list[Sound] = []
    with Microphone("hum", heard.append, lambda line: None):
        until(lambda: len(heard) > 20, 40)
        behind = abs(heard[-1].end - time.monotonic())
    assert np.abs(heard[10].samples).max() == pytest.approx(8000, abs=100)
    with pytest.raises(SourceError, match="microphone nobody: cannot be opened: .*arecord -l"):
        Microphone("nobody", heard.append, lambda line: None).__enter__()
    with by_the_clock:
        assert behind < 0.5
