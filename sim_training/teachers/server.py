"""The teacher server: batches the questions of several clients and lets worker processes with a model answer them.

Needs numpy, pyzmq, msgpack and OpenCV only, so that a VLA's own environment can run it.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from zmq.auth.thread import ThreadAuthenticator

from sim_training.teachers.batching import Backlog, Piece, cut
from sim_training.teachers.images import read_probe
from sim_training.teachers.keys import TeacherKeysMissing, keys_for, secure_server
from sim_training.teachers.protocol import LARGEST_MESSAGE, ProtocolError, ask_from_wire, decode, encode, quoted
from sim_training.teachers.worker import LoadModel, ModelDidNotLoad, Worker

LOOP_S = 0.1
"""Longest wait before looking whether to finish."""
RATE_WINDOW_S = 10.0


class AddressInUse(RuntimeError):
    """The address cannot be served."""


START_ERRORS = (TeacherKeysMissing, ModelDidNotLoad, AddressInUse)
"""What keeps a server from starting; each is one sentence."""


@dataclass(frozen=True)
class ServerConfig:
    """Where to serve, and how questions are put together."""

    address: str = "tcp://127.0.0.1:5570"
    """ZeroMQ endpoint; beyond this host it needs keys (`launch/serve_teacher.py keys`)."""
    workers: int = 1
    """Processes, each with a model of its own."""
    largest_batch: int = 16
    """Rows a model takes at once."""
    latency_budget_s: float = 0.005
    """How long a row may wait for others to share its batch."""
    keys: Path | None = None
    """Folder of CURVE keys; asked for on this host too where it is given."""


class TeacherServer:
    """Serves one kind of model. Raises one of START_ERRORS; the model's name is known when it exists."""

    def __init__(self, load: LoadModel, config: ServerConfig):
        self._load, self._config = load, config
        self._running = True
        self._backlog = Backlog(config.largest_batch, config.latency_budget_s)
        self._counts: Counter[str] = Counter()
        self._answered: deque[tuple[float, int, float]] = deque(maxlen=10_000)
        self._begun_s = time.monotonic()
        keys = keys_for(config.address, config.keys, "server")
        self._workers = [Worker(load) for _ in range(config.workers)]
        self._context = zmq.Context()
        self._authenticator = ThreadAuthenticator(self._context) if keys is not None else None
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        try:
            names = {worker.wait_until_loaded() for worker in self._workers}
            self.model = names.pop()
            if self._authenticator is not None and keys is not None:
                self._authenticator.start()
                self._authenticator.configure_curve(domain="*", location=str(keys.allowed))
            self._socket.linger = 0
            self._socket.maxmsgsize = LARGEST_MESSAGE
            secure_server(self._socket, keys)
            self.address = self._bind(config.address)
        except BaseException:
            self._close()
            raise

    def run(self) -> None:
        """Serve until `finish` is called, then end the workers."""
        try:
            while self._running:
                self._turn()
        finally:
            self._close()

    def finish(self, *_: Any) -> None:
        """Ask `run` to end; usable as a signal handler and from other threads."""
        self._running = False

    def statistics(self) -> dict[str, Any]:
        """Health and load as plain numbers. latency_s: from a question's arrival to its answer; the last 10 000 pieces.

        images_per_s: over the last 10 s, or since the start if that was later.
        """
        now_s = time.monotonic()
        window_s = min(RATE_WINDOW_S, now_s - self._begun_s)
        recent = sum(rows for at_s, rows, _ in self._answered if at_s > now_s - window_s)
        latency_s = [waited_s for _, _, waited_s in self._answered] or [0.0]
        return {
            "model": self.model,
            "up_s": now_s - self._begun_s,
            "workers": len(self._workers),
            "workers_ready": sum(worker.ready for worker in self._workers),
            "queued_rows": self._backlog.rows,
            "images_per_s": recent / max(window_s, 1e-3),
            "latency_p50_s": float(np.percentile(latency_s, 50)),
            "latency_p95_s": float(np.percentile(latency_s, 95)),
            **{name: self._counts[name] for name in _COUNTS},
        }

    def _turn(self) -> None:
        idle = any(worker.idle for worker in self._workers)
        due_s = self._backlog.due_in_s(time.monotonic()) if idle else None
        wait_ms = 1000 * (LOOP_S if due_s is None else min(due_s, LOOP_S))
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        for worker in self._workers:
            poller.register(worker.connection.fileno(), zmq.POLLIN)
        ready = dict(poller.poll(int(np.ceil(wait_ms))))
        for index, worker in enumerate(self._workers):
            if worker.connection.fileno() in ready:
                self._workers[index] = self._heard(worker)
        while self._socket in ready and self._socket.poll(0):
            self._receive()
        self._dispatch()

    def _receive(self) -> None:
        sender, *parts = self._socket.recv_multipart()
        number: Any = None
        try:
            if len(parts) != 1:
                raise ProtocolError("A message has one part.")
            message = decode(parts[0])
            number = message.get("id")
            reply = self._perform(sender, message)
        except ProtocolError as error:
            self._counts["refused"] += 1
            reply = {"op": "refused", "error": str(error)}
        if reply is not None:
            self._send(sender, reply | {"id": number if isinstance(number, int) else None})

    def _perform(self, sender: bytes, message: dict[str, Any]) -> dict[str, Any] | None:
        operation = message.get("op")
        if operation == "hello":
            return {"op": "hello", "probe": read_probe(message.get("probe"))}
        if operation == "statistics":
            return {"op": "statistics", "statistics": self.statistics()}
        if operation != "ask":
            raise ProtocolError(f"There is no request {quoted(operation)}; hello, ask and statistics are answered.")
        ask = ask_from_wire(message)
        pieces = cut(sender, ask, time.monotonic(), self._config.largest_batch)
        self._counts["questions"] += 1
        self._counts["dropped_rows"] += self._backlog.forget(sender)  # it waits for its newest question only
        self._backlog.add(pieces)
        return None

    def _dispatch(self) -> None:
        now_s = time.monotonic()
        self._counts["dropped_rows"] += self._backlog.drop_expired(now_s)
        for index, worker in enumerate(self._workers):
            if worker.idle and self._backlog.due_in_s(now_s) == 0.0:
                batch = self._backlog.take()
                self._counts["batches"] += 1
                try:
                    worker.give(batch)
                except OSError:
                    self._workers[index] = self._successor(worker)
                except Exception as error:  # whatever a client has sent, it must not end the server
                    for piece in batch:
                        self._answer(piece, {"error": f"The question could not be handed to the model: {error}"})

    def _heard(self, worker: Worker) -> Worker:
        """The worker, or the one that takes its place."""
        try:
            if not worker.ready:
                worker.loaded()
                return worker
            for piece, said in worker.answers():
                self._answer(piece, said)
            return worker
        except (EOFError, OSError, ModelDidNotLoad):
            return self._successor(worker)

    def _successor(self, worker: Worker) -> Worker:
        """The one that takes the place of a worker that is lost, whose batch is answered with that."""
        self._counts["worker_restarts"] += 1
        for piece in worker.batch:
            self._answer(piece, {"error": "The model's process ended; another one is being started."})
        worker.end()
        time.sleep(LOOP_S)  # a model that cannot be loaded again must not keep the machine busy
        return Worker(self._load)

    def _answer(self, piece: Piece, said: dict[str, Any]) -> None:
        now_s = time.monotonic()
        if "delta" in said:
            self._counts["images"] += piece.rows
            self._answered.append((now_s, piece.rows, now_s - piece.arrived_s))
        else:
            self._counts["failed_rows"] += piece.rows
        self._send(piece.client, said | {"op": "answer", "id": piece.ask, "start": piece.start, "rows": piece.rows})

    def _send(self, client: bytes, reply: dict[str, Any]) -> None:
        try:
            self._socket.send_multipart([client, encode(reply | {"model": self.model})], zmq.NOBLOCK)
        except zmq.ZMQError:  # nobody is kept waiting by a client that does not read
            self._counts["unsent"] += 1

    def _bind(self, address: str) -> str:
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            raise AddressInUse(f"{address} cannot be served ({error}); choose another --address.") from error
        endpoint: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        return endpoint

    def _close(self) -> None:
        self._socket.close(linger=0)
        if self._authenticator is not None and self._authenticator.is_alive():
            self._authenticator.stop()
        self._context.term()
        for worker in self._workers:
            worker.end()


_COUNTS = (
    "questions",
    "images",
    "batches",
    "refused",
    "failed_rows",
    "dropped_rows",
    "worker_restarts",
    "unsent",
)


def serve(load: LoadModel, config: ServerConfig) -> None:
    """Serve until SIGINT or SIGTERM; one sentence and exit code 1 if that cannot begin."""
    try:
        server = TeacherServer(load, config)
    except START_ERRORS as error:
        sys.exit(f"teacher: {error}")
    signal.signal(signal.SIGINT, server.finish)
    signal.signal(signal.SIGTERM, server.finish)
    print(f"teacher: serving {server.model} at {server.address}", flush=True)
    server.run()
