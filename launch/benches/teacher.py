"""Images a teacher server answers per second, by way and number of clients, beside one HTTP call for each image.

The HTTP server does what OpenVLA's released one does: one image as base64 in JSON, one answer. Its connections are kept
open, which is kinder than a new one for each call. The model is synthetic and takes no time unless told to, so that
transport is what is measured.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any, get_args

import numpy as np
import torch

import _reports
from contract.poses import Pose
from sim_training.teachers.adapters.tiny import TinyModel
from sim_training.teachers.images import Transport
from sim_training.teachers.remote import RemoteTeacher
from sim_training.teachers.server import ServerConfig, TeacherServer
from sim_training.teachers.teacher import Question

INSTRUCTION = "lift the red cube"
HTTP = "http"
WAYS = (*get_args(Transport), HTTP)
_START_S = 60.0


@dataclass(frozen=True)
class Arguments:
    """What to measure."""

    clients: tuple[int, ...] = (1, 4, 16)
    """Processes that ask at the same time."""
    rows: int = 16
    """Images in each client's question."""
    side_px: int = 256
    """Width and height of an image; smooth shades with some noise, so that they compress as pictures do."""
    call_s: float = 0.0
    """What a forward pass takes, however many images it sees."""
    rounds: int = 5
    """Times every arrangement takes its turn."""
    turn_s: float = 2.0
    """Seconds a turn lasts."""
    report: Path | None = None
    """Also write the figures here."""


def run(arguments: Arguments) -> dict[str, Any]:
    """Prints and returns the table: medians over rounds, and ratios to HTTP within each round."""
    torch.set_num_threads(1)
    seen: dict[int, dict[str, list[float]]] = {count: {way: [] for way in WAYS} for count in arguments.clients}
    with _serving(_serve_teacher, arguments.call_s) as teacher, _serving(_serve_http, arguments.call_s) as plain:
        for _ in range(arguments.rounds):
            for count in arguments.clients:
                for way in WAYS:
                    seen[count][way].append(_rate(arguments, way, plain if way == HTTP else teacher, count))
    result = {
        "rows": arguments.rows,
        "side_px": arguments.side_px,
        "call_s": arguments.call_s,
        "rounds": arguments.rounds,
        "images_per_s": {str(n): {way: median(rates) for way, rates in ways.items()} for n, ways in seen.items()},
        "ratio_over_http": {str(n): {way: _ratio(ways, way) for way in WAYS[:-1]} for n, ways in seen.items()},
    }
    print(json.dumps(result, indent=2))
    _reports.write(arguments.report, result)
    return result


def _ratio(rates: dict[str, list[float]], way: str) -> dict[str, float]:
    ratios = [ours / theirs for ours, theirs in zip(rates[way], rates[HTTP], strict=True)]
    return {"median": median(ratios), "least": min(ratios), "most": max(ratios)}


def pictures(rows: int, side_px: int) -> np.ndarray:
    """Shades from corner to corner with a little noise. Shape: (rows, side, side, 3) uint8"""
    random = np.random.default_rng(0)
    corners = random.uniform(20, 235, (rows, 4, 3)).reshape(rows, 2, 2, 3)
    across = np.linspace(0, 1, side_px)
    weights = np.stack([1 - across, across])
    shades = np.einsum("iy,jx,nijc->nyxc", weights, weights, corners)
    return np.clip(shades + random.normal(0, 2, shades.shape), 0, 255).astype(np.uint8)


def _rate(arguments: Arguments, way: str, address: str, clients: int) -> float:
    """Images per second of all clients together, each a process of its own."""
    fork = multiprocessing.get_context("fork")  # children of a single thread; nothing is imported again
    barrier, rates = fork.Barrier(clients), fork.SimpleQueue()
    work = partial(_client, arguments, way, address, barrier, rates.put)
    processes = [fork.Process(target=work) for _ in range(clients)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"A client of {way} failed; see its output above.")
    return float(sum(rates.get() for _ in processes))


def _client(arguments: Arguments, way: str, address: str, barrier: Any, said: Callable[[float], None]) -> None:
    images = pictures(arguments.rows, arguments.side_px)
    with (_http_asker if way == HTTP else _teacher_asker)(address, way, images) as ask:
        ask()
        barrier.wait(_START_S)
        begun, count = time.perf_counter(), 0
        while time.perf_counter() - begun < arguments.turn_s:
            ask()
            count += len(images)
        said(count / (time.perf_counter() - begun))


@contextlib.contextmanager
def _teacher_asker(address: str, way: Any, images: np.ndarray) -> Iterator[Callable[[], None]]:
    count = len(images)
    tcp = Pose(torch.zeros(count, 3), torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1))
    question = Question(torch.arange(count), [INSTRUCTION] * count, tcp, images)
    with contextlib.closing(RemoteTeacher(address, transport=way, connect_timeout_s=_START_S)) as teacher:

        def ask() -> None:
            if not teacher.ask(question, _START_S).valid.all():
                raise RuntimeError(str(teacher.complaint))

        yield ask


@contextlib.contextmanager
def _http_asker(address: str, way: str, images: np.ndarray) -> Iterator[Callable[[], None]]:
    connection = http.client.HTTPConnection(address, timeout=_START_S)

    def ask() -> None:
        for image in images:
            packed = {"__numpy__": base64.b64encode(image.tobytes()).decode(), "shape": image.shape}
            connection.request("POST", "/act", json.dumps({"image": packed, "instruction": INSTRUCTION}))
            assert len(json.loads(connection.getresponse().read())) == 7

    yield ask
    connection.close()


@contextlib.contextmanager
def _serving(serve: Callable[[Any, float], None], call_s: float) -> Iterator[str]:
    """The address of a server with the synthetic model, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    server = spawn.Process(target=serve, args=(theirs, call_s))
    server.start()
    try:
        yield ours.recv()
    finally:
        server.terminate()
        server.join()


def _serve_teacher(connection: Any, call_s: float) -> None:
    config = ServerConfig(address="tcp://127.0.0.1:*", largest_batch=64)
    server = TeacherServer(partial(TinyModel, call_s), config)
    signal.signal(signal.SIGTERM, server.finish)
    connection.send(server.address)
    server.run()


def _serve_http(connection: Any, call_s: float) -> None:
    model, one_at_a_time = TinyModel(call_s), threading.Lock()  # as on one GPU

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or every call would wait 40 ms for an acknowledgement
        wbufsize = -1

        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            packed = said["image"]
            image = np.frombuffer(base64.b64decode(packed["__numpy__"]), np.uint8).reshape(packed["shape"])
            with one_at_a_time:
                (delta,) = model.predict(image[None], [said["instruction"]], np.zeros((1, 7)))
            answer = json.dumps(delta.tolist()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        connection.send(f"127.0.0.1:{server.server_address[1]}")
        server.serve_forever()
