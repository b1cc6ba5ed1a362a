"""The page and what it asks for, as a FastAPI application."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.middleware.trustedhost import TrustedHostMiddleware

from inference.live.server.metrics import metrics_text, registry_of
from inference.live.server.state import LiveState
from visualization.report import load_template

_PICTURES_PER_SECOND, _ALL_PICTURES_PER_SECOND = 10.0, 40.0  # to one viewer, to all of them
_MOST_VIEWERS = 64
_CLIP = re.compile(r"alarm-\d{6,12}\.mp4", re.ASCII)
_NO_STORE = {"Cache-Control": "no-store"}
_BOUNDARY = "picture"


def build_app(state: LiveState, folder: Path, token: str | None, cookie: str = "token") -> FastAPI:
    """The application.

    Args:
        state: what to show.
        folder: of the results; its ``clips`` are served.
        token: who does not tell it gets 401; ``None``: whoever reaches this machine by one of its
            own names may look.
        cookie: where a browser keeps the token; cookies do not tell ports apart.
    """
    guard = _Guard(token, cookie)
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        dependencies=[Depends(guard.check)],
    )
    if token is None:  # a page elsewhere must not read this one through a name of its own
        hosts = ["127.0.0.1", "localhost"]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    _add_pages(app, state, guard)
    _add_pictures(app, state)
    _add_clips(app, folder / "clips")
    return app


class _Guard:
    """Lets those in who tell the token: in the address, a cookie or an Authorization header."""

    def __init__(self, token: str | None, cookie: str) -> None:
        self._token, self._cookie = token, cookie

    async def check(self, request: Request) -> None:
        if self._token is None:
            return
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = (
            request.query_params.get("token", ""), request.cookies.get(self._cookie, ""),
            bearer if kind.lower() == "bearer" else "",
        )  # fmt: skip
        known = self._token.encode()
        if not any(secrets.compare_digest(each.encode(), known) for each in given):
            raise HTTPException(
                401, "the token is missing or wrong: open the address that the program printed",
                {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip

    def welcome(self, request: Request) -> Response | None:
        """Take a token out of the address, where others see it, into a cookie."""
        if self._token is None or "token" not in request.query_params:
            return None
        response = RedirectResponse(".", 303)
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="lax")
        return response


def _add_pages(app: FastAPI, state: LiveState, guard: _Guard) -> None:
    template, registry = load_template("live_page.html.j2"), registry_of(state)

    @app.get("/")
    async def page(request: Request) -> Response:
        nonce = secrets.token_urlsafe(12)
        policy = (
            f"default-src 'none'; img-src 'self'; media-src 'self'; connect-src 'self'; "
            f"style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; frame-ancestors 'none'"
        )
        headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
        html = template.render(name=state.status().name, nonce=nonce)
        return guard.welcome(request) or HTMLResponse(html, headers=headers | _NO_STORE)

    @app.get("/status")
    async def status() -> dict[str, Any]:
        return state.as_json()

    @app.get("/alarms")
    async def alarms() -> dict[str, Any]:
        return {"camera": state.status().name, "alarms": state.alarms()}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(metrics_text(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _add_pictures(app: FastAPI, state: LiveState) -> None:
    viewers: set[object] = set()

    @app.get("/picture.jpg")
    async def picture() -> Response:
        newest = state.newest()
        if newest is None:
            raise HTTPException(503, "no picture has been scored yet; try again in a second")
        return Response(newest.jpeg, media_type="image/jpeg", headers=_NO_STORE)

    @app.get("/picture.mjpg")
    async def pictures() -> Response:
        if len(viewers) >= _MOST_VIEWERS:
            raise HTTPException(503, f"{_MOST_VIEWERS} others are looking; try again later")
        kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        return StreamingResponse(_follow(state, viewers), media_type=kind, headers=_NO_STORE)


async def _follow(state: LiveState, viewers: set[object]) -> AsyncIterator[bytes]:
    """The newest picture again and again, for slow viewers with some left out."""
    me, last = object(), 0
    viewers.add(me)
    try:
        while not state.is_over:
            newest = state.newest(last)
            if newest is not None:
                last = newest.number
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
                size = f"Content-Length: {len(newest.jpeg)}\r\n\r\n"
                yield (head + size).encode() + newest.jpeg + b"\r\n"
            # Many viewers share what one could have, so that sending takes no more of a core.
            shared = len(viewers) / _ALL_PICTURES_PER_SECOND
            await asyncio.sleep(max(1 / _PICTURES_PER_SECOND, shared))
    finally:
        viewers.discard(me)


def _add_clips(app: FastAPI, folder: Path) -> None:
    @app.get("/clips/{name}")
    async def clip(name: str) -> Response:
        path = folder / name
        is_ours = _CLIP.fullmatch(name) and path.is_file() and not path.is_symlink()
        if not is_ours:
            raise HTTPException(404, "no such clip; older ones are removed (alarms.keep_clips)")
        return FileResponse(path, media_type="video/mp4")
