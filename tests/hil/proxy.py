"""A wire that can be cut and mended: passes TCP on between a client and the bridge, or holds everything back."""

from __future__ import annotations

import select
import socket
import threading
from types import TracebackType


class Wire:
    """Listens on `port` and passes everything on to `target` while it is whole. Nothing is lost, only late."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._ends: dict[socket.socket, socket.socket] = {}
        self._whole, self._closing = threading.Event(), False
        self._whole.set()
        self._thread = threading.Thread(target=self._pass_on, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """From now on nothing gets through."""
        self._whole.clear()

    def mend(self) -> None:
        """From now on everything does, also what waited."""
        self._whole.set()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._closing = True
        self._whole.set()
        self._thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def _pass_on(self) -> None:
        while not self._closing:
            self._whole.wait()
            ready, _, _ = select.select([self._listener, *self._ends], [], [], 0.02)
            self._whole.wait()
            for end in ready:
                if end is self._listener:
                    near, far = end.accept()[0], socket.create_connection(self._target)
                    for one in (near, far):
                        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._ends |= {near: far, far: near}
                elif end in self._ends:
                    self._carry(end)

    def _carry(self, end: socket.socket) -> None:
        other = self._ends[end]
        try:
            heard = end.recv(65536)
            if heard:
                other.sendall(heard)
                return
        except OSError:
            pass
        for one in (end, other):
            del self._ends[one]
            one.close()
