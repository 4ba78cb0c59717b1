"""A page on this machine alone: drop an image, see its mask and cut-out, keep them.

The standard library serves it. It listens on the loopback address; requests that name another host (a page elsewhere
whose name was made to point here) or come from another site are refused; nothing that is sent is kept.
"""

import base64
import io
import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from PIL import Image

from unets.data.image import ImageFile
from unets.errors import InputError
from unets.export.result import CUTOUT, OVERLAY, Pictures, render

if TYPE_CHECKING:
    from unets.export.trained import TrainedModel

logger = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_MAX_BYTES = 50 * 2**20  # of an image file
_MAX_PIXELS = 50_000_000
_SECONDS = 30  # that a silent connection is kept
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src data: blob:; connect-src 'self'; base-uri 'none'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def build_server(model: "TrainedModel", port: int) -> ThreadingHTTPServer:
    """Builds the server, which begins with `serve_forever`.

    Args:
        model: ready for work.
        port: where it listens; 0 takes a free one, which is the second part of its `server_address`.

    Raises:
        InputError: the port is taken.
    """
    lock = Lock()  # one image at a time: the net uses all cores for one

    def find(content: bytes) -> dict[str, Any]:
        with lock:
            return describe_image(model, content)

    page = Path(__file__).with_name("serve.html").read_bytes()
    pages = {"/": ("text/html; charset=utf-8", page), "/card": _to_json({"summary": model.card.summary})}

    class Handler(_Handler):
        answers = pages
        work = staticmethod(find)

    try:
        return ThreadingHTTPServer((_HOST, port), Handler)
    except OSError as error:
        raise InputError(f"`--port` must be free. Received: {port} ({error.strerror}). 0 takes any that is") from error


def describe_image(model: "TrainedModel", content: bytes) -> dict[str, Any]:
    """Returns what the page shows of an image: pictures as `data:` addresses by their endings, and figures.

    Raises:
        InputError: it is no image, is damaged, or has too many pixels.
    """
    began = perf_counter()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        path.write_bytes(content)
        try:
            photo = ImageFile(path, model.card.find_kind())
            height, width = photo.size_hw
            if height * width > _MAX_PIXELS:
                raise InputError(f"the image must have {_MAX_PIXELS:,} pixels at most. Received: {height} x {width}")
            result = model.find(photo)
            wanted = Pictures(cutout=True, overlay=True)
            endings = wanted.list_endings(model.classes, overlapping=model.card.recipe.overlapping)
            pictures = dict(zip(endings, render(result, photo, endings), strict=True))
        except InputError as error:
            raise InputError(str(error).replace(f"{path} ", "the image ").replace(f"{folder}/", "")) from error
    return {
        "files": {ending: _to_address(picture, ending) for ending, picture in pictures.items()},
        "shown": {"overlay": OVERLAY, "cutout": CUTOUT, "mask": endings[-1]},
        "size": f"{width} x {height}",
        "area": result.area,
        "confidence": result.confidence,
        "unusual": model.card.find_unusual(result.area, result.confidence),
        "seconds": perf_counter() - began,
    }


class _Handler(BaseHTTPRequestHandler):
    """Answers requests of this machine's own pages."""

    answers: ClassVar[dict[str, tuple[str, bytes]]]
    work: Callable[[bytes], dict[str, Any]]
    timeout = _SECONDS
    server_version, sys_version = "unets", ""

    def do_GET(self) -> None:
        if not self._is_ours():
            self._refuse(HTTPStatus.FORBIDDEN, "this page answers to this machine alone")
        elif (path := urlsplit(self.path).path) in self.answers:
            self._answer(HTTPStatus.OK, *self.answers[path])
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        self.close_connection = True  # where a body is left unread, the connection can serve nothing more
        if not self._is_ours():
            self._refuse(HTTPStatus.FORBIDDEN, "this page answers to this machine alone")
        elif self.path != "/mask":
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
        elif not length.isdecimal():
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "an image must come with its length")
        elif int(length) > _MAX_BYTES:
            size = f"{int(length) / 2**20:.0f} MiB"
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an image must have 50 MiB at most. Received: {size}")
        else:
            try:
                self._answer(HTTPStatus.OK, *_to_json(self.work(self.rfile.read(int(length)))))
            except InputError as error:
                self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
            except MemoryError:
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the image must fit into memory")

    def log_message(self, format: str, *args: object) -> None:
        logger.debug(format, *args)

    def _is_ours(self) -> bool:
        own = {f"{name}:{self.connection.getsockname()[1]}" for name in (_HOST, "localhost")}
        origin = self.headers.get("Origin")
        return self.headers.get("Host") in own and (origin is None or urlsplit(origin).netloc in own)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._answer(status, *_to_json({"error": reason}))

    def _answer(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _to_json(content: dict[str, Any]) -> tuple[str, bytes]:
    return "application/json", json.dumps(content).encode()


def _to_address(picture: Image.Image, ending: str) -> str:
    buffer, kind = io.BytesIO(), "png" if ending.endswith("png") else "jpeg"
    picture.save(buffer, kind, **({"compress_level": 3} if kind == "png" else {"quality": 90}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
