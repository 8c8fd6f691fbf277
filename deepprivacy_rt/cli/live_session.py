"""What can be done to a live run while it runs: panic and back, other faces, another filter."""

from __future__ import annotations

import dataclasses
import threading
import typing
from collections.abc import Callable, Mapping

from deepprivacy_rt.build_live import with_new_identities
from deepprivacy_rt.config import FaceConfig, Filter, Portraits, Region
from deepprivacy_rt.errors import DeepPrivacyError, UsageError
from deepprivacy_rt.realtime.control import Action
from deepprivacy_rt.realtime.engine import LiveEngine, LiveStages
from deepprivacy_rt.realtime.gate import Gate

KEYS = {"p": "panic", "a": "arm", "r": "resume", "n": "identity", "f": "filter", "q": "stop"}
HELP = "p panic   a, then r: back   n new faces   f next filter   q quit"


class LiveSession:
    """The actions of a live run, for keys, signals and the HTTP control. Every one may be called from any thread.

    :param build: makes the stages for a configuration of faces; takes seconds, and runs on a thread of its own.
    :param report: called with one line about what happened.
    """

    def __init__(
        self,
        engine: LiveEngine,
        gate: Gate,
        faces: FaceConfig,
        build: Callable[[FaceConfig], LiveStages],
        stop: threading.Event,
        report: Callable[[str], None],
    ) -> None:
        self.error: Exception | None = None
        self._engine, self._gate, self._faces = engine, gate, faces
        self._build, self._stop, self._report = build, stop, report
        self._lock = threading.Lock()

    def load(self) -> None:
        """Begin to load the networks. Until they are there, the slate is shown; a failure stops the run."""
        self._rebuild(self._faces, "ready", fatal=True)

    def actions(self) -> dict[str, Action]:
        """Return all actions by name."""
        return {
            "status": self._status,
            "panic": self._panic,
            "arm": self._arm,
            "resume": self._resume,
            "identity": self._identity,
            "filter": self._filter,
            "region": self._region,
            "portraits": self._portraits,
            "stop": self._end,
        }

    def key(self, key: str) -> None:
        """Do what a key stands for; other keys do nothing."""
        name = KEYS.get(key.lower())
        if name is not None:
            self.actions()[name]({})

    def panic(self) -> None:
        """Show the slate, and mute."""
        self._panic({})

    def _status(self, _: Mapping[str, str]) -> Mapping[str, object]:
        faces = {name: getattr(self._faces, name) for name in ("filter", "region", "portraits")}
        return dataclasses.asdict(self._engine.status()) | faces

    def _panic(self, _: Mapping[str, str]) -> Mapping[str, object]:
        self._gate.panic()
        self._report("PANIC: the slate is shown, without sound; a, then r, brings the picture back")
        return {"panic": True}

    def _arm(self, _: Mapping[str, str]) -> Mapping[str, object]:
        self._gate.arm()
        return {"armed": self._gate.armed}

    def _resume(self, _: Mapping[str, str]) -> Mapping[str, object]:
        if not self._gate.resume():
            raise UsageError("two steps lead back from a panic: arm, and within ten seconds resume")
        self._report("the picture is shown")
        return {"panic": False}

    def _identity(self, _: Mapping[str, str]) -> Mapping[str, object]:
        self._rebuild(with_new_identities(self._faces), "new faces")
        return {"identity": "new"}

    def _filter(self, query: Mapping[str, str]) -> Mapping[str, object]:
        return self._change("filter", query, typing.get_args(Filter))

    def _region(self, query: Mapping[str, str]) -> Mapping[str, object]:
        return self._change("region", query, typing.get_args(Region))

    def _portraits(self, query: Mapping[str, str]) -> Mapping[str, object]:
        # Who asks for others does not want the one face that was chosen.
        return self._change("portraits", query, typing.get_args(Portraits), identity="random")

    def _change(
        self, what: str, query: Mapping[str, str], names: tuple[str, ...], **besides: str
    ) -> Mapping[str, object]:
        """Change to what a query names, else to the next. Raises UsageError."""
        name = query.get("name", names[(names.index(getattr(self._faces, what)) + 1) % len(names)])
        if name not in names:
            raise UsageError(f"{what} must be one of {', '.join(names)}, not {name!r}")
        faces = dataclasses.replace(self._faces, **{what: name, **besides})  # type: ignore[arg-type]
        self._rebuild(faces, f"{what}: {name}")
        return {what: name}

    def _end(self, _: Mapping[str, str]) -> Mapping[str, object]:
        self._stop.set()
        return {"stopping": True}

    def _rebuild(self, faces: FaceConfig, done: str, *, fatal: bool = False) -> None:
        """Load on a thread of its own, since a key or a request must not wait; what runs goes on until then."""
        self._faces = faces

        def load() -> None:
            try:
                with self._lock:
                    stages = self._build(faces)
                    if self._faces is faces:  # else another change came meanwhile
                        self._engine.set_stages(stages)
                        self._report(done)
            except Exception as error:
                if fatal:
                    self.error = error
                    self._stop.set()
                else:
                    text = str(error) if isinstance(error, DeepPrivacyError) else f"{type(error).__name__}: {error}"
                    self._report(f"{done}: {text}; nothing was changed")

        threading.Thread(target=load, name="load", daemon=True).start()
