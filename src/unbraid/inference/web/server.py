"""HTTP server of the web page that separates songs, for one user of this machine.

`scripts/app.py` prints the address of the page with a random token. The server refuses requests without this token, requests
for host names other than 127.0.0.1 and localhost, requests from pages of other sites, and large files. Accepted requests:

GET    /?token=…            store the token as a cookie; all other requests must contain this cookie
GET    /model               return the name of the model, the names of the stems, and the largest file size in megabytes
POST   /songs?name=…        upload the audio file in the body of the request, and return {"id": …}
GET    /songs               return {"id": …} of a song of a killed app that no page shows yet; null if there is none
GET    /songs/<id>          return the state of a song (waiting, working, done or failed) and its progress
GET    /songs/<id>/<stem>   return a stem as a wav file
DELETE /songs/<id>          delete a song and its stems
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from unbraid.inference.web.songs import Song, Songs

PAGE = Path(__file__).parent / "page"
FILES = {"/": "index.html", "/app.js": "app.js", "/style.css": "style.css"}
HOSTS = ["127.0.0.1", "localhost"]
MEGABYTE = 10**6
STALL_SECONDS = 20.0  # an upload ends if no byte arrives for this time
UPLOAD_SECONDS = 1800.0  # longest time for a whole upload
# The page loads files of this server only, and pages of other sites must not show this page in a frame.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def app(songs: Songs, title: str, max_megabytes: int, token: str) -> Starlette:
    """Build the ASGI application of the web page that separates songs.

    Args:
        songs: queue of songs. The thread of the queue must be running.
        title: name of the model; the page shows this name.
        max_megabytes: size of the largest accepted audio file in megabytes.
        token: secret text that each request must contain.

    Returns:
        The application, for a server such as uvicorn.
    """
    service = Service(songs, title, max_megabytes)
    routes = [Route(path, _file(name)) for path, name in FILES.items()]
    routes += [
        Route("/model", service.model),
        Route("/songs", service.upload, methods=["POST"]),
        Route("/songs", service.earlier, methods=["GET"]),
        Route("/songs/{key}", service.state, methods=["GET"]),
        Route("/songs/{key}", service.delete, methods=["DELETE"]),
        Route("/songs/{key}/{stem}", service.stem),
    ]
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS),
        Middleware(BaseHTTPMiddleware, dispatch=Guard(token)),
    ]
    return Starlette(routes=routes, middleware=middleware)


class Service:
    """Answer the requests of the web page: upload, query, play and delete songs.

    Args:
        songs: queue of songs. The thread of the queue must be running.
        title: name of the model; the page shows this name.
        max_megabytes: size of the largest accepted audio file in megabytes.
    """

    def __init__(self, songs: Songs, title: str, max_megabytes: int) -> None:
        self.songs, self.title, self.limit = songs, title, max_megabytes * MEGABYTE

    async def model(self, request: Request) -> Response:
        """Return as JSON: name of the model, names of the stems, and size of the largest accepted file in megabytes."""
        return JSONResponse({"title": self.title, "stems": self.songs.names, "megabytes": self.limit // MEGABYTE})

    async def earlier(self, request: Request) -> Response:
        """Return as JSON: key of a song of a killed app, which the page then shows; null if there is none."""
        keys = [key for key in self.songs.earlier if key in self.songs.all]
        self.songs.earlier = keys[1:]
        return JSONResponse({"id": keys[0] if keys else None})

    async def upload(self, request: Request) -> Response:
        """Receive an audio file and add the song to the queue. Return the key of the song, or an HTTP error."""
        name = Path(request.query_params.get("name", "song")).name or "song"
        if int(request.headers.get("content-length", "0")) > self.limit:
            return _refused(f"{name}: the file is larger than {self.limit // MEGABYTE} MB", 413)
        if self.songs.full:
            waiting = f"{self.songs.max_waiting} songs are waiting for separation"
            return _refused(f"{name}: {waiting}. Upload the song again when one of them is done.", 503)
        key, song = self.songs.add(name)
        try:
            size = await self._receive(request, song)
        except TimeoutError:
            reason = "the song was deleted" if song.gone else "the upload took too long"
            self.songs.delete(key)
            return _refused(f"{name}: {reason}", 408)
        except ClientDisconnect:  # the page was closed, so nobody reads the answer
            self.songs.delete(key)
            return _refused(f"{name}: the upload was interrupted", 400)
        except OSError as error:
            self.songs.delete(key)
            return _refused(f"{name}: {error.strerror}", 507)
        finally:
            song.end_upload = None
        if not 0 < size <= self.limit:
            self.songs.delete(key)
            reason = "the file is empty" if size == 0 else f"the file is larger than {self.limit // MEGABYTE} MB"
            return _refused(f"{name}: {reason}", 413 if size else 400)
        self.songs.accept(song)
        return JSONResponse({"id": key})

    async def _receive(self, request: Request, song: Song) -> int:
        """Write the uploaded audio file to the folder of the song, and return the size of the file in bytes.

        A TimeoutError is raised if the upload takes too long, or if the song is deleted during the upload.
        """
        size, loop = 0, asyncio.get_running_loop()
        end = loop.time() + UPLOAD_SECONDS
        with song.upload.open("wb") as file:
            async with asyncio.timeout(STALL_SECONDS) as limit:
                song.end_upload = partial(loop.call_soon_threadsafe, _expire, limit)
                async for part in request.stream():
                    size += len(part)
                    if song.gone:
                        raise TimeoutError
                    if size > self.limit:
                        break
                    limit.reschedule(min(loop.time() + STALL_SECONDS, end))
                    file.write(part)
        return size

    async def state(self, request: Request) -> Response:
        """Return as JSON: state and progress of a song, and the number of songs that are separated before this song."""
        if (song := self._song(request)) is None:
            return _refused("this song was deleted", 404)
        return JSONResponse(
            {
                "name": song.name, "state": song.state, "done": song.done, "total": song.total,
                "message": song.message,
                "before": self.songs.waiting(song), "stems": self.songs.names if song.state == "done" else [],
            }
        )  # fmt: skip

    async def stem(self, request: Request) -> Response:
        """Return a stem (separated source) of a song as a wav file."""
        song, name = self._song(request), request.path_params["stem"]
        if song is None or song.state != "done" or name not in self.songs.names:
            return _refused("this stem does not exist", 404)
        return FileResponse(song.stem(name), media_type="audio/wav", filename=f"{Path(song.name).stem}-{name}.wav")

    async def delete(self, request: Request) -> Response:
        """Delete a song: its audio file and its stems."""
        if self._song(request) is not None:
            self.songs.delete(request.path_params["key"])
        return JSONResponse({})

    def _song(self, request: Request) -> Song | None:
        song = self.songs.all.get(request.path_params["key"])
        if song is not None:
            song.touched = time.monotonic()
        return song


def _expire(limit: asyncio.Timeout) -> None:
    with suppress(RuntimeError):  # the upload has already ended
        limit.reschedule(0.0)


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def file(request: Request) -> Response:
        return FileResponse(PAGE / name)

    return file


class Guard:
    """Middleware that refuses requests of other users of this machine, and requests from pages of other sites.

    Args:
        token: secret text that each request must contain, in the address or in a cookie.
    """

    def __init__(self, token: str) -> None:
        self.token = token

    async def __call__(self, request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        """Check the token of a request. If the token is wrong or missing, return an HTTP error.

        If the address contains the right token, return a redirect that stores the token as a cookie. Otherwise return the
        answer to the request.
        """
        response = self._refusal(request) or self._redirect(request) or await answer(request)
        response.headers.update(HEADERS)
        return response

    def _refusal(self, request: Request) -> Response | None:
        origin = request.headers.get("origin")
        if origin is not None and origin != f"http://{request.headers.get('host')}":
            return _refused("requests from other sites are refused", 403)
        given = request.query_params.get("token", request.cookies.get(_cookie(request), ""))
        if secrets.compare_digest(given.encode(), self.token.encode()):
            return None
        message = "The token is missing or wrong. Open the address that the program has printed."
        return PlainTextResponse(message, 403) if request.url.path == "/" else _refused(message, 403)

    def _redirect(self, request: Request) -> Response | None:
        """If the address contains the token, return a redirect to the address without the token. Otherwise return None.

        The redirect stores the token as a cookie. The address bar of the browser then no longer shows the token.
        """
        if "token" not in request.query_params:
            return None
        response = RedirectResponse("/", 303)
        response.set_cookie(_cookie(request), self.token, path="/", httponly=True, samesite="strict")
        return response


def _cookie(request: Request) -> str:
    """Return the name of the token cookie. The name contains the port, because all ports of a host share their cookies."""
    return f"unbraid-{request.scope['server'][1]}"


def _refused(message: str, status: int) -> Response:
    return JSONResponse({"message": message}, status, {"Connection": "close"})
