"""Local network privacy (macOS 15 and newer, Apple's TN3179), as sockets feel it.

A program that was refused, or not answered yet, gets "No route to host" for every address of the
local network but loopback, and no answer for a Bonjour name. Programs that a terminal or SSH
started are not asked.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LocalNetwork:
    """The network of one program. `names`: what Bonjour would find."""

    allowed: bool
    names: dict[str, str]

    def getaddrinfo(self, host: str, port: int, *_: object, **__: object) -> list[Any]:
        """Stand in for `socket.getaddrinfo`."""
        if host.endswith(".local"):
            if not self.allowed or host not in self.names:
                raise socket.gaierror(8, "nodename nor servname provided, or not known")
            host = self.names[host]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]

    def connect(self, address: tuple[str, int]) -> None:
        """Raise what a connection to an address would."""
        if not self.allowed and _is_local(address[0]):
            raise OSError(errno.EHOSTUNREACH, "No route to host")
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


def _is_local(host: str) -> bool:
    address = ipaddress.ip_address(host)
    return (address.is_private or address.is_link_local) and not address.is_loopback
