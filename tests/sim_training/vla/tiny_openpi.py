"""An openpi policy server with a policy of two lines: `tiny_openpi.py PORT`. It speaks openpi's websocket protocol.

"break" as an instruction makes it fail as openpi's does: it sends the traceback as text and hangs up.
"""

import sys
from typing import Any

import numpy as np
from openpi_client import msgpack_numpy
from websockets.sync.server import ServerConnection, serve

CHUNK = 5


def infer(request: dict[str, Any]) -> dict[str, np.ndarray]:
    """Actions as pi0 answers them, (steps, 7), made of everything it was sent."""
    image, state = request["observation/image"], request["observation/state"]
    assert image.shape == (224, 224, 3)
    assert image.dtype == np.uint8
    assert not request["observation/wrist_image"].any()
    first = [*(0.05 * image.mean((0, 1)) / 255), *(0.1 * state[3:6]), len(request["prompt"]) % 2]
    return {"actions": np.array([first] + [[0.01] * 6 + [0.0]] * (CHUNK - 1))}


def talk(connection: ServerConnection) -> None:
    """One client, until it leaves or something breaks."""
    packer = msgpack_numpy.Packer()
    connection.send(packer.pack({"policy": "synthetic"}))
    for message in connection:
        request = msgpack_numpy.unpackb(message)
        if request["prompt"] == "break":
            connection.send("Traceback (most recent call last): a broken policy")
            return
        connection.send(packer.pack(infer(request)))


if __name__ == "__main__":
    with serve(talk, "127.0.0.1", int(sys.argv[1]), compression=None, max_size=None) as server:
        print("serving", flush=True)
        server.serve_forever()
