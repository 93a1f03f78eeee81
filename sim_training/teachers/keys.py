"""Who may talk to a teacher server: CURVE keys with an allow-list across hosts, nothing to prove on one host."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import zmq
import zmq.auth

KEYS_FOLDER = Path("~/.config/panda-jumpstart/keys/teacher").expanduser()
_LOCAL = ("tcp://127.", "tcp://localhost", "tcp://[::1]", "ipc://")


class TeacherKeysMissing(RuntimeError):
    """There are no keys, and the address can be reached from other hosts."""


@dataclass(frozen=True)
class Keys:
    """One side's CURVE key pair and the server's public key, Z85 text; allowed: folder of clients' public keys."""

    public: bytes
    secret: bytes
    server_public: bytes
    allowed: Path


def make_keys(folder: Path) -> None:
    """Write a server's and a client's key pair and an allow-list with that client, unless they are there already.

    Another client is allowed in by copying its public `.key` into `folder/allowed`.
    """
    if (folder / "server.key_secret").exists():
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "allowed").mkdir(exist_ok=True, mode=0o700)
    for side in ("client", "server"):  # the server's last: it says that all are there
        zmq.auth.create_certificates(folder, side)
        (folder / f"{side}.key_secret").chmod(0o600)
        if side == "client":
            shutil.copy(folder / "client.key", folder / "allowed" / "client.key")


def keys_for(address: str, folder: Path | None, side: str) -> Keys | None:
    """The keys of `server` or `client`; None where both are on one host and `folder` is. Raises TeacherKeysMissing."""
    if folder is None and address.startswith(_LOCAL):
        return None
    folder = folder or KEYS_FOLDER
    try:
        server_public, _ = zmq.auth.load_certificate(folder / "server.key")
        public, secret = zmq.auth.load_certificate(folder / f"{side}.key_secret")
    except (OSError, ValueError) as error:
        raise TeacherKeysMissing(
            f"{address} can be reached from other hosts and {folder} holds no {side} keys: run"
            " `launch/serve_teacher.py keys` on the server's host and copy server.key, client.key and"
            " client.key_secret to the client's."
        ) from error
    assert secret is not None
    return Keys(public, secret, server_public, folder / "allowed")


def secure_client(socket: zmq.Socket[bytes], keys: Keys | None) -> None:
    """Make a connecting socket prove who it is and check who the server is."""
    if keys is not None:
        socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
        socket.curve_serverkey = keys.server_public


def secure_server(socket: zmq.Socket[bytes], keys: Keys | None) -> None:
    """Make a binding socket hear only clients that are allowed in; the context needs an authenticator."""
    if keys is not None:
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
