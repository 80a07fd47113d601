"""Which sockets of some processes other machines could reach."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable

import psutil


def sockets(processes: Iterable[psutil.Process]) -> list[tuple[str, str, int]]:
    """(process, address, port) of every TCP socket that listens."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for socket in process.net_connections("tcp"):
                if socket.status == psutil.CONN_LISTEN:
                    found.append((process.name(), socket.laddr.ip, socket.laddr.port))
    return found


def reachable(processes: Iterable[psutil.Process]) -> list[tuple[str, str, int]]:
    """Those of `sockets` that are not on the loopback interface."""

    def loopback(address: str) -> bool:
        place = ipaddress.ip_address(address)
        return (getattr(place, "ipv4_mapped", None) or place).is_loopback

    return [found for found in sockets(processes) if not loopback(found[1])]
