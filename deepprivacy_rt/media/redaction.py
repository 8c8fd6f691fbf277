"""Addresses of streams: shown without what must stay secret, and completed with credentials from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import quote, unquote, unquote_plus

USER_VARIABLE, PASSWORD_VARIABLE = "DEEPPRIVACY_SOURCE_USER", "DEEPPRIVACY_SOURCE_PASSWORD"

_SHORTEST = 3  # replacing every "a" in a message would not hide a secret that weak, only ruin the message
_ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:(?P<login>[^/?#]*)@)?(?P<host>[^/?#@]*)(?P<path>[^?#]*)(?P<rest>.*)",
    re.DOTALL,
)


class Address:
    """A stream's address. Printing it, in whatever way, never shows user, password, query or stream key.

    :ivar scheme: in lower case.
    :ivar host: name or number, without brackets; empty where there is none.
    :ivar port: None where the address names none.
    :ivar path: with its leading slash, as given.
    """

    def __init__(self, url: str) -> None:
        """Raises ValueError, without the address in its text, where this is no address."""
        match = _ADDRESS.fullmatch(url)
        if match is None or not url.isprintable() or " " in url:
            raise ValueError("is no address of the form scheme://host/path")
        self._url = url
        self._login: str = match["login"] or ""
        self._place: str = match["host"]
        self._rest: str = match["rest"]
        self.scheme = match["scheme"].lower()
        self.path: str = match["path"]
        self.host, self.port = _host_and_port(self._place)

    def __repr__(self) -> str:
        return f"Address({self.shown})"

    def __str__(self) -> str:
        return self.shown

    @property
    def shown(self) -> str:
        """The address for people: the query, and the last part of a path that may be a key, become dots."""
        hidden = self._hidden_path()
        path = self.path.removesuffix(hidden) + "…" if hidden else self.path
        return f"{self.scheme}://{self._place}{path}{'?…' if self._rest else ''}"

    def _hidden_path(self) -> str:
        """Return the end of the path that may be a key."""
        if self.scheme.startswith("rtmp") and self.path.count("/") > 1:
            return self.path.rpartition("/")[2]
        if "=" in self.path or "@" in self.path:  # some cameras take user and password there
            return self.path.removeprefix("/")
        return ""

    def with_credentials(self, environment: Mapping[str, str] = os.environ) -> str:
        """Return the whole address, with user and password from the environment where it names none. Secret."""
        user, password = environment.get(USER_VARIABLE, ""), environment.get(PASSWORD_VARIABLE, "")
        if self._login or not user:
            return self._url
        login = quote(user, safe="") + (":" + quote(password, safe="") if password else "")
        return f"{self.scheme}://{login}@{self._place}{self.path}{self._rest}"

    def redact(self, text: str, environment: Mapping[str, str] = os.environ) -> str:
        """Return a text of others, on one line, without what is secret in this address."""
        user, _, password = self._login.partition(":")
        values = re.findall(r"=([^&=#]+)", self._rest)
        words = (self._login, user, password, self._hidden_path(), self._rest.lstrip("?#"), self._rest, *values)
        words = (*words, *map(unquote, words), *map(unquote_plus, words), environment.get(PASSWORD_VARIABLE, ""))
        secrets = {word: "…" for word in words if len(word) >= _SHORTEST}
        secrets |= {self._url: self.shown, self.with_credentials(environment): self.shown}
        # The longest first: a secret may be part of another.
        pattern = "|".join(re.escape(secret) for secret in sorted(secrets, key=len, reverse=True))
        text = " ".join(re.sub(pattern, lambda match: secrets[match[0]], text).split())
        return "".join(c if c.isprintable() else "?" for c in text)


def _host_and_port(place: str) -> tuple[str, int | None]:
    """Split ``host``, ``host:port``, ``[v6]``, ``[v6]:port``. Raises ValueError."""
    match = re.fullmatch(r"(?:\[(?P<v6>[^\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>\d{1,5}))?", place)
    if match is None or not 0 < int(match["port"] or 1) < 65536:
        raise ValueError("has a host or port that cannot be")
    return match["v6"] or match["name"] or "", int(match["port"]) if match["port"] else None
