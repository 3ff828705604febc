"""Where the web server listens: HOST and PORT. Knows nothing of Django."""

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from webapp.launch.errors import CannotLaunch

ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104  # compared with, never bound by default
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A host and port as the person gave them."""

    host: str
    port: int

    @property
    def is_exposed(self) -> bool:
        """Whether other machines can reach it."""
        if self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True

    @property
    def bind(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"

    @property
    def url(self) -> str:
        """The address for a browser on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{_bracketed(host)}:{self.port}"

    def own_names(self) -> list[str]:
        """The host names under which this machine asks for it, the launcher's own look among them."""
        return list(dict.fromkeys([*LOOPBACK, _bracketed(self.host)]))

    def names(self) -> list[str]:
        """The host names under which other machines may ask for it."""
        if not self.is_exposed:
            return []
        if self.host not in ANY_ADDRESS:
            return [_bracketed(self.host)]
        own = socket.gethostname()
        return list(dict.fromkeys([own, socket.getfqdn(), *_addresses(own), _outgoing_address()]))


def read_address(environ: Mapping[str, str]) -> Address:
    """HOST and PORT of the environment, with the defaults of a program that only its own machine reaches."""
    text = environ.get("PORT") or "8000"
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise CannotLaunch(f"PORT: must be a number from 1 to 65535 (got {text!r})")
    host = (environ.get("HOST") or "127.0.0.1").strip("[]")
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        raise CannotLaunch(f"HOST: must be an address or name of this machine (got {host!r})") from None
    return Address(host=host, port=int(text))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _addresses(name: str) -> list[str]:
    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(name, None, socket.AF_INET)})
    except OSError:
        return []


def _outgoing_address() -> str:
    """The address of this machine that others see; no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
