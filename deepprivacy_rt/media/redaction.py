"""Addresses without the secrets that stand in them, for messages and logs."""

from __future__ import annotations

from urllib.parse import unquote, unquote_plus, urlsplit

_HIDDEN = "***"
_SHORTEST = 3  # replacing every "a" in a message would not hide a secret that weak, only ruin the message


class Redactor:
    """Takes user, password, stream key and query values of one address out of any text.

    :ivar shown: the address as it may be printed.
    """

    def __init__(self, url: str, *secrets: str) -> None:
        """:param secrets: further words to hide, such as a stream key that was read from a file."""
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        found = [url, *secrets, user, *user.split(":", 1)[1:], parts.fragment]
        path = parts.path
        if parts.scheme in ("rtmp", "rtmps"):
            # rtmp://host/app/key: whoever knows the last part may publish under the owner's name.
            folder, slash, key = path.rpartition("/")
            if folder:
                found.append(key)
                path = folder + slash + _HIDDEN
        if parts.query:
            found.append(parts.query)
            found += [pair.partition("=")[2] for pair in parts.query.split("&")]
        found += [unquote(word) for word in found] + [unquote_plus(word) for word in found]
        # The longest first: a secret may be part of another.
        self._secrets = sorted({word for word in found if len(word) >= _SHORTEST}, key=len, reverse=True)
        self._url = url
        query = f"?{_HIDDEN}" if parts.query else ""
        self.shown = _printable(f"{parts.scheme}://{_HIDDEN + at if at else ''}{host}{path}{query}")

    def __call__(self, text: str) -> str:
        """Return the text on one line, without the secrets."""
        text = text.replace(self._url, self.shown)
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return _printable(" ".join(text.split()))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
