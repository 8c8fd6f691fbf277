"""A real RTMP server on 127.0.0.1, like Twitch's: nginx with its RTMP module, which refuses wrong stream keys."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import psutil
import pytest
from waiting import until

MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")
KEY = "live_4815162342_geheim"

_CONFIGURATION = """
load_module {module};
{user}daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 64; }}
rtmp {{
  server {{
    listen 127.0.0.1:{port};
    application app {{
      live on;
      wait_key on;
      drop_idle_publisher 10s;
      on_publish http://127.0.0.1:{http_port}/auth;
      notify_method get;
    }}
  }}
}}
http {{
  access_log off;
  client_body_temp_path {folder}/tmp;
  proxy_temp_path {folder}/tmp;
  fastcgi_temp_path {folder}/tmp;
  uwsgi_temp_path {folder}/tmp;
  scgi_temp_path {folder}/tmp;
  server {{
    listen 127.0.0.1:{http_port};
    location /auth {{ if ($arg_name != {key}) {{ return 403; }} return 200; }}
  }}
}}
"""


def free_port() -> int:
    """Return a TCP port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    """Wait until somebody listens; the connection that proves it is closed again."""

    def listens() -> bool:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        assert process.poll() is None, f"the server ended with code {process.returncode}"
        return False

    until(listens, seconds, lambda: f"nobody listens on port {port}")


class RtmpServer:
    """Start, freeze, kill and start again, always on the same port."""

    def __init__(self, folder: Path) -> None:
        """Skips the test where nginx or its module is missing."""
        if shutil.which("nginx") is None or not MODULE.exists():
            pytest.skip("no RTMP server: apt-get install nginx libnginx-mod-rtmp")
        self.port, http_port = free_port(), free_port()
        (folder / "tmp").mkdir(parents=True)
        user = "user root;\n" if os.getuid() == 0 else ""
        self._file = folder / "nginx.conf"
        self._file.write_text(
            _CONFIGURATION.format(module=MODULE, user=user, folder=folder, port=self.port, http_port=http_port, key=KEY)
        )
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The application; ``/KEY`` is still to be added."""
        return f"rtmp://127.0.0.1:{self.port}/app"

    def start(self) -> None:
        """Start, and wait until it listens."""
        self._process = subprocess.Popen(
            ["nginx", "-c", str(self._file), "-p", str(self._folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for_port(self.port, self._process)

    def _all(self) -> list[psutil.Process]:
        assert self._process is not None
        master = psutil.Process(self._process.pid)
        return [master, *master.children(recursive=True)]

    def freeze(self) -> None:
        """Stop master and worker: connections stay, nothing answers."""
        for process in self._all():
            process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for process in self._all():
            process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End at once, connections included. May be called again."""
        if self._process is None:
            return
        for process in self._all():
            process.kill()
        self._process.wait()
        self._process = None
