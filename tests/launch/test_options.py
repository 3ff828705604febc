"""HOST and PORT."""

import pytest

from webapp.launch.errors import CannotLaunch
from webapp.launch.options import Address, read_address


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
