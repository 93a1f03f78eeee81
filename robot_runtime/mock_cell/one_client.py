"""One FCI client at a time, as a controller has it: others are turned away and the first notices nothing."""

from __future__ import annotations

import select
import socket

from franky_sim.franka_server import FrankaServer

_EVERY_TICKS = 100


class OneClient:
    """Watches the door of a server.

    Who knocks is closed after one whole round only: who follows a client that has just left is no intruder.
    """

    def __init__(self, server: FrankaServer) -> None:
        self._server = server
        self._somebody_waits = False

    def turn_others_away(self, tick: int) -> None:
        """Once per tick."""
        if tick % _EVERY_TICKS:
            return
        listener: socket.socket = self._server._FrankaServer__server_socket
        waits = self._server.tcp_connected and bool(select.select([listener], [], [], 0.0)[0])
        if waits and self._somebody_waits:
            listener.accept()[0].close()
        self._somebody_waits = waits
