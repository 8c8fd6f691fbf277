"""A tiny HTTP control on this machine alone, for stream decks, scripts and panic buttons."""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from deepprivacy_rt.errors import EnvironmentProblem, UsageError

Action = Callable[[Mapping[str, str]], Mapping[str, object]]
"""Takes the query's values; returns what is answered as JSON. UsageError becomes an answer with status 400."""

ADDRESS = "127.0.0.1"
_TIMEOUT_SECONDS = 5.0
_LOCAL_NAMES = (ADDRESS, "localhost")


class ControlServer:
    """Answers ``GET /status`` and ``POST /NAME`` for every other action. A context manager.

    Only this machine can connect, and only who knows the token may: header ``Authorization: Bearer TOKEN``. A web page
    that the user looks at can send requests here too, but knows no token, and a name that was pointed at this address
    (DNS rebinding) is refused.

    :param actions: by name; ``status`` alone is read with GET.
    :param port: 0 for any free one.
    :param token: None draws one.
    Raises EnvironmentProblem where the port is taken.
    """

    def __init__(self, actions: Mapping[str, Action], port: int = 0, token: str | None = None) -> None:
        self.token = token or secrets.token_urlsafe(16)
        try:
            self._server = ThreadingHTTPServer((ADDRESS, port), _handler(actions, self.token))
        except OSError as error:
            cure = "choose another with --control"
            raise EnvironmentProblem(f"control port {port}: {error.strerror or error}; {cure}") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="control", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> ControlServer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(1.0)


def _act(path: str, allowed: Mapping[str, Action]) -> tuple[int, Mapping[str, object]]:
    """Do what a path asks for; return status and answer."""
    url = urlsplit(path)
    action = allowed.get(url.path.strip("/"))
    if action is None:
        return 404, {"error": f"no such action here; there are: {', '.join(sorted(allowed))}"}
    try:
        return 200, action({name: values[-1] for name, values in parse_qs(url.query).items()})
    except UsageError as error:
        return 400, {"error": str(error)}
    except Exception as error:
        return 500, {"error": f"{type(error).__name__}: {error}"}


def _handler(actions: Mapping[str, Action], token: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_SECONDS
        server_version = "deepprivacy-rt"
        sys_version = ""

        def do_GET(self) -> None:
            self._serve({"status": actions["status"]})

        def do_POST(self) -> None:
            self._serve({name: action for name, action in actions.items() if name != "status"})

        def _serve(self, allowed: Mapping[str, Action]) -> None:
            status, answer = self._answer(allowed)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def _answer(self, allowed: Mapping[str, Action]) -> tuple[int, Mapping[str, object]]:
            if self.headers.get("Host", "").rpartition(":")[0] not in _LOCAL_NAMES:
                return 403, {"error": "ask for 127.0.0.1"}
            given = self.headers.get("Authorization", "").encode()
            if not hmac.compare_digest(given, f"Bearer {token}".encode()):
                return 401, {"error": "the token is missing or wrong"}
            return _act(self.path, allowed)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: lines would tear the status line."""

    return Handler
