# /// script
# requires-python = "==3.11.*"
# dependencies = ["openpi-client==0.1.2", "opencv-python-headless<4.12", "pyzmq", "msgpack", "tyro"]
# ///
"""Any openpi policy server (pi0, pi0-FAST, pi0.5): `launch/serve_teacher.py openpi --host HOST --port 8000`.

Start openpi's own `scripts/serve_policy.py` first; its policy must answer tool deltas.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from sim_training.teachers.adapters.conversions import Convention, deltas, tool_state
from sim_training.teachers.server import ServerConfig, serve


class OpenPiUnreachable(RuntimeError):
    """No openpi policy server answers."""


@dataclass(frozen=True)
class Settings:
    """Which server, and what its policy calls things."""

    host: str = "127.0.0.1"
    """Of the policy server."""
    port: int = 8000
    """Of the policy server."""
    image_key: str = "observation/image"
    """What the policy calls our picture."""
    blank_keys: tuple[str, ...] = ()
    """Cameras it wants and we have not, shown black: observation/wrist_image."""
    state_key: str = "observation/state"
    """What it calls the tool pose."""
    state_size: int = 7
    """Numbers of that: 6 with a rotation vector, 7 with a quaternion, 0 for none."""
    side_px: int = 224
    """Pictures are padded and resized to squares of this side."""


class OpenPi:
    """A `Model`: one request for each row, as the protocol has it; connects anew after a failure."""

    def __init__(self, settings: Settings, convention: Convention):
        self._settings, self._convention = settings, convention
        self.name = f"openpi {settings.host}:{settings.port}"
        self._policy: Any = self._connect()

    def predict(self, images: np.ndarray, instructions: list[str], tcp: np.ndarray) -> np.ndarray:
        """See `Model.predict`. Raises OpenPiUnreachable, or what the policy server says."""
        policy = self._policy or self._connect()
        self._policy = None  # unless all goes well: the server hangs up after an error
        requests = observations(images, instructions, tcp, self._settings)
        chunks = np.stack([policy.infer(request)["actions"] for request in requests])
        self._policy = policy
        return deltas(chunks, tcp, self._convention)

    def _connect(self) -> Any:
        from openpi_client.websocket_client_policy import WebsocketClientPolicy

        try:
            return WebsocketClientPolicy(self._settings.host, self._settings.port)
        except OSError as error:
            where = f"{self._settings.host}:{self._settings.port}"
            raise OpenPiUnreachable(f"No openpi policy server answers at {where}; start it there first.") from error


def observations(
    images: np.ndarray, instructions: list[str], tcp: np.ndarray, settings: Settings
) -> list[dict[str, Any]]:
    """One request for each row. images: (N, height, width, 3) uint8 RGB. tcp: (N, 7), base frame"""
    from openpi_client.image_tools import resize_with_pad

    side = settings.side_px
    blank = dict.fromkeys(settings.blank_keys, np.zeros((side, side, 3), np.uint8))
    requests = [
        {settings.image_key: image, "prompt": text} | blank
        for image, text in zip(resize_with_pad(images, side, side), instructions, strict=True)
    ]
    if settings.state_size:
        for request, state in zip(requests, tool_state(tcp, settings.state_size), strict=True):
            request[settings.state_key] = state
    return requests


@dataclass(frozen=True)
class Arguments:
    """Serve what an openpi policy server answers."""

    settings: Settings = field(default_factory=Settings)
    convention: Convention = field(default_factory=Convention)
    server: ServerConfig = field(default_factory=ServerConfig)


if __name__ == "__main__":
    import tyro

    chosen = tyro.cli(Arguments, config=(tyro.conf.OmitArgPrefixes,))
    serve(partial(OpenPi, chosen.settings, chosen.convention), chosen.server)
