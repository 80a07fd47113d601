"""The listening sockets of processes, and those that other machines can reach."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable

import psutil


def sockets(processes: Iterable[psutil.Process]) -> list[tuple[str, str, int]]:
    """(process, address, port) of every listening TCP socket."""
    listening = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for socket in process.net_connections("tcp"):
                if socket.status == psutil.CONN_LISTEN:
                    listening.append((process.name(), socket.laddr.ip, socket.laddr.port))
    return listening


def reachable(processes: Iterable[psutil.Process]) -> list[tuple[str, str, int]]:
    """The `sockets` that are not on the loopback interface."""

    def loopback(address: str) -> bool:
        ip = ipaddress.ip_address(address)
        return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback

    return [socket for socket in sockets(processes) if not loopback(socket[1])]
