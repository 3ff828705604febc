"""HOST and PORT."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from webapp.env import Env
from webapp.launch.errors import CannotLaunch
from webapp.launch.options import Address, read_address
from webapp.launch.supervise import _answers
from webapp.management.commands.run_tandem import _child_environment


def test_defaults_reach_this_machine_only() -> None:
    address = read_address({})
    assert address == Address(host="127.0.0.1", port=8000)
    assert address.url == "http://127.0.0.1:8000"
    assert not address.is_exposed
    assert address.names() == []


@pytest.mark.parametrize("port", ["x", "0", "65536", "80a", "-1", "²"])
def test_bad_port_names_the_variable(port: str) -> None:
    with pytest.raises(CannotLaunch, match=r"^PORT: must be a number"):
        read_address({"PORT": port})


def test_bad_host_names_the_variable() -> None:
    with pytest.raises(CannotLaunch, match=r"^HOST: must be an address"):
        read_address({"HOST": "no such host"})


@pytest.mark.parametrize(
    ("host", "exposed", "bind", "url"),
    [
        ("localhost", False, "localhost:8000", "http://localhost:8000"),
        ("[::1]", False, "[::1]:8000", "http://[::1]:8000"),
        ("0.0.0.0", True, "0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("192.0.2.7", True, "192.0.2.7:8000", "http://192.0.2.7:8000"),
    ],
)
def test_other_hosts(host: str, exposed: bool, bind: str, url: str) -> None:
    address = read_address({"HOST": host})
    assert (address.is_exposed, address.bind, address.url) == (exposed, bind, url)


def test_only_named_hosts_are_allowed_when_exposed() -> None:
    assert Address(host="192.0.2.7", port=80).names() == ["192.0.2.7"]
    assert "*" not in Address(host="0.0.0.0", port=80).names()
    assert Address(host="0.0.0.0", port=80).names()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "0.0.0.0", "::", "192.0.2.7"])
def test_the_launchers_own_look_is_allowed_whatever_the_settings_name(host: str, tmp_path: Path) -> None:
    address = Address(host=host, port=8123)
    environment = _child_environment(Env(allowed_hosts="tandem.example"), address, tmp_path)
    allowed = environment["TANDEM_ALLOWED_HOSTS"].split(",")
    assert allowed[0] == "tandem.example"
    assert {urlsplit(address.url).netloc.removesuffix(":8123"), "127.0.0.1", "localhost"} <= set(allowed)


def test_that_look_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fine(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with HTTPServer(("127.0.0.1", 0), Fine) as server:
        server.timeout = 10
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert _answers(f"http://127.0.0.1:{server.server_port}/healthz")
        thread.join()
