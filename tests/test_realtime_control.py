"""The HTTP control, over real sockets."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping

import pytest

from deepprivacy_rt.errors import EnvironmentProblem, UsageError
from deepprivacy_rt.realtime.control import ControlServer


class Actions:
    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str]]] = []

    def status(self, _: Mapping[str, str]) -> Mapping[str, object]:
        return {"panic": False}

    def panic(self, query: Mapping[str, str]) -> Mapping[str, object]:
        self.calls.append(("panic", dict(query)))
        return {"panic": True}

    def filter(self, query: Mapping[str, str]) -> Mapping[str, object]:
        raise UsageError("filter must be gan, pixelate or solid")


@pytest.fixture
def actions() -> Actions:
    return Actions()


@pytest.fixture
def server(actions: Actions) -> Iterator[ControlServer]:
    table = {"status": actions.status, "panic": actions.panic, "filter": actions.filter}
    with ControlServer(table) as server:
        yield server


def ask(
    server: ControlServer, method: str, path: str, *, token: str | None = None, host: str | None = None
) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    headers = {"Authorization": f"Bearer {server.token if token is None else token}"}
    if host is not None:
        headers["Host"] = host
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_actions_are_called_with_their_query(server: ControlServer, actions: Actions) -> None:
    assert ask(server, "GET", "/status") == (200, {"panic": False})
    assert ask(server, "POST", "/panic?why=now") == (200, {"panic": True})
    assert actions.calls == [("panic", {"why": "now"})]


@pytest.mark.parametrize("token", ["", "wrong", "ä"])
def test_without_the_token_nothing_happens(server: ControlServer, actions: Actions, token: str) -> None:
    assert ask(server, "POST", "/panic", token=token)[0] == 401
    assert ask(server, "GET", "/status", token=token)[0] == 401
    assert actions.calls == []


def test_other_names_for_this_machine_are_refused(server: ControlServer, actions: Actions) -> None:
    assert ask(server, "POST", "/panic", host=f"evil.example:{server.port}")[0] == 403
    assert ask(server, "POST", "/panic", host=f"localhost:{server.port}")[0] == 200
    assert len(actions.calls) == 1


def test_mistakes_are_answered(server: ControlServer, actions: Actions) -> None:
    assert ask(server, "GET", "/panic")[0] == 404, "a link must not do anything"
    assert ask(server, "POST", "/dance")[0] == 404
    assert ask(server, "POST", "/filter") == (400, {"error": "filter must be gan, pixelate or solid"})
    assert actions.calls == []


def test_it_listens_on_this_machine_alone(server: ControlServer) -> None:
    assert server._server.server_address[0] == "127.0.0.1"


def test_a_port_in_use_is_an_error_with_a_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(EnvironmentProblem, match="--control"):
        ControlServer({}, taken.getsockname()[1])
