"""Serve a live run's page at an address, in a thread with less priority than scoring."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from inference.live.server.app import build_app
from inference.live.server.state import LiveState
from utils.errors import UserError

logger = logging.getLogger(__name__)

_NICENESS = 10
_LAST_SECONDS = 3.0


@contextlib.contextmanager
def serving(
    state: LiveState, folder: Path, host: str, port: int, token: str | None
) -> Iterator[str]:
    """Serve until the end of the block.

    Args:
        state: what to show.
        folder: of the results.
        host: address or name of this machine; 127.0.0.1: for itself alone.
        port: 0: any free one.
        token: asked of every request. Elsewhere than on this machine itself there always is one:
            made here when none is given.

    Yields:
        The address to open, with the token in it.

    Raises:
        UserError: the port is in use or not ours to take, or the host is not this machine's.
    """
    bound = _bind(host, port)
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(18)
    port = bound.getsockname()[1]
    app = build_app(state, folder, token, cookie=f"live_token_{port}")
    config = uvicorn.Config(
        app, log_config=None, log_level="warning", access_log=False, lifespan="off", ws="none",
        timeout_graceful_shutdown=1, server_header=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=_run, args=(server, bound), name="page", daemon=True)
    thread.start()
    try:
        yield _address(host, port, token)
    finally:
        state.is_over = server.should_exit = True
        thread.join(_LAST_SECONDS)
        bound.close()


def is_loopback(host: str) -> bool:
    """Whether only this machine itself can reach a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _run(server: uvicorn.Server, bound: socket.socket) -> None:
    with contextlib.suppress(OSError, AttributeError):  # Linux: of this thread alone
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    try:
        server.run(sockets=[bound])
    except Exception as error:  # watching goes on
        logger.warning("the page is gone: %s", error)


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"--serve {port} on {host}: {why}; choose another port, --serve 0 for any free one, or "
            "an address of this machine as --host (0.0.0.0: all of them)"
        ) from None


def _address(host: str, port: int, token: str | None) -> str:
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    shown = f"[{shown}]" if ":" in shown else shown
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
