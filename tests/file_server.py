"""A real HTTP server on this machine, for downloads that go well and badly."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path
from typing import Any


class Server:
    """Serves one folder, with byte ranges; can break off early, ignore ranges, or lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ranges: list[str | None] = []
        self.break_after: int | None = None
        self.ranges_work = True
        handler = type("Handler", (_Handler,), {"server_state": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    server_state: Server

    def do_GET(self) -> None:
        state = self.server_state
        path = state.folder / self.path.lstrip("/")
        wanted = self.headers.get("Range")
        state.ranges.append(wanted)
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges_work else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content) if state.break_after is None else min(len(content), start + state.break_after)
        self.wfile.write(content[start:end])
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        pass
