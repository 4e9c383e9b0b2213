"""What the page talks to. It serves this machine alone: other hosts' names, other sites' pages and large files are refused.

POST   /songs?name=…        the file itself as body -> {"id": …}
GET    /songs/<id>          how far it is
GET    /songs/<id>/<stem>   a stem as wav
DELETE /songs/<id>          it and its stems are deleted
"""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from unbraid.web.songs import Song, Songs

PAGE = Path(__file__).parent / "page"
FILES = {"/": "index.html", "/app.js": "app.js", "/style.css": "style.css"}
HOSTS = ["127.0.0.1", "localhost"]
MEGABYTE = 10**6
# Nothing from elsewhere is ever loaded, and no other site may show the page in a frame.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def app(songs: Songs, title: str, max_megabytes: int) -> Starlette:
    """The ASGI application.

    Args:
        songs: that it has; its thread runs already.
        title: of the model, for the page.
        max_megabytes: larger files are refused.
    """
    service = Service(songs, title, max_megabytes)
    routes = [Route(path, _file(name)) for path, name in FILES.items()]
    routes += [
        Route("/model", service.model),
        Route("/songs", service.give, methods=["POST"]),
        Route("/songs/{key}", service.ask, methods=["GET"]),
        Route("/songs/{key}", service.delete, methods=["DELETE"]),
        Route("/songs/{key}/{stem}", service.stem),
    ]
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS), Middleware(BaseHTTPMiddleware, dispatch=_own_pages)]
    return Starlette(routes=routes, middleware=middleware)


class Service:
    """The answers to the page; arguments as those of `app`."""

    def __init__(self, songs: Songs, title: str, max_megabytes: int) -> None:
        self.songs, self.title, self.limit = songs, title, max_megabytes * MEGABYTE

    async def model(self, request: Request) -> Response:
        """By what songs are taken apart, and how large they may be."""
        return JSONResponse({"title": self.title, "stems": self.songs.names, "megabytes": self.limit // MEGABYTE})

    async def give(self, request: Request) -> Response:
        """Take a file in, as it comes, and let it wait for its turn."""
        name = Path(request.query_params.get("name", "song")).name or "song"
        if int(request.headers.get("content-length", "0")) > self.limit:
            return _refused(f"{name}: is larger than {self.limit // MEGABYTE} MB", 413)
        key, song = self.songs.add(name)
        try:
            size = await self._receive(request, song)
        except ClientDisconnect:  # the page was closed meanwhile; nobody reads the answer
            self.songs.delete(key)
            return _refused(f"{name}: did not come whole", 400)
        except OSError as error:
            self.songs.delete(key)
            return _refused(f"{name}: {error.strerror}", 507)
        if not 0 < size <= self.limit:
            self.songs.delete(key)
            reason = "is empty" if size == 0 else f"is larger than {self.limit // MEGABYTE} MB"
            return _refused(f"{name}: {reason}", 413 if size else 400)
        self.songs.queue.put(song)
        return JSONResponse({"id": key})

    async def _receive(self, request: Request, song: Song) -> int:
        size = 0
        with song.upload.open("wb") as file:
            async for part in request.stream():
                size += len(part)
                if size > self.limit:
                    break
                file.write(part)
        return size

    async def ask(self, request: Request) -> Response:
        """How far a song is."""
        if (song := self._song(request)) is None:
            return _refused("this song is not here any more", 404)
        return JSONResponse(
            {
                "name": song.name, "state": song.state, "done": song.done, "total": song.total, "said": song.said,
                "before": self.songs.waiting(song), "stems": self.songs.names if song.state == "done" else [],
            }
        )  # fmt: skip

    async def stem(self, request: Request) -> Response:
        """A file to play or to keep."""
        song, name = self._song(request), request.path_params["stem"]
        if song is None or song.state != "done" or name not in self.songs.names:
            return _refused("there is no such stem", 404)
        return FileResponse(song.stem(name), media_type="audio/wav", filename=f"{Path(song.name).stem}-{name}.wav")

    async def delete(self, request: Request) -> Response:
        """At once, or, if it is being taken apart, at its next chunk."""
        if self._song(request) is not None:
            self.songs.delete(request.path_params["key"])
        return JSONResponse({})

    def _song(self, request: Request) -> Song | None:
        song = self.songs.all.get(request.path_params["key"])
        if song is not None:
            song.touched = time.monotonic()
        return song


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def file(request: Request) -> Response:
        return FileResponse(PAGE / name)

    return file


async def _own_pages(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    """A page of another site, open in the same browser, gets no answer."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        return _refused("this page answers to itself alone", 403)
    response = await answer(request)
    response.headers.update(HEADERS)
    return response


def _refused(sentence: str, status: int) -> Response:
    return JSONResponse({"said": sentence}, status)
