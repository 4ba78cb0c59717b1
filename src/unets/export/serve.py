"""A page on this machine alone: drop an image, see its mask and cut-out, keep them.

The standard library serves it. It listens on the loopback address; requests that name another host (a page elsewhere
whose name was made to point here) or come from another site are refused; nothing that is sent is kept.
"""

import base64
import io
import json
import logging
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from unets.data.image import ImageFile
from unets.errors import InputError, is_out_of_memory
from unets.export.model import TrainedModel
from unets.export.outputs import SETTINGS
from unets.export.pictures import CUTOUT, OVERLAY, list_masks, render

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


def build_server(model: TrainedModel, port: int) -> ThreadingHTTPServer:
    """Builds the server of a model, which begins with `serve_forever`; port 0 takes a free one, see `server_address`.

    Raises InputError where the port is taken.
    """
    page, lock = Path(__file__).with_name("serve.html").read_bytes(), Lock()

    class Handler(BaseHTTPRequestHandler):
        """Answers requests of this machine's own pages."""

        timeout = _SECONDS
        server_version, sys_version = "unets", ""

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if self.is_ours():
                if path == "/":
                    self.answer(HTTPStatus.OK, page, "text/html; charset=utf-8")
                elif path == "/card":
                    self.answer(HTTPStatus.OK, {"summary": model.card.summary, "picture": model.card.picture})
                else:
                    self.refuse(HTTPStatus.NOT_FOUND, "there is no such page")

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            self.close_connection = True  # where a body is left unread, the connection can serve nothing more
            if not self.is_ours():
                return
            if self.path != "/mask":
                self.refuse(HTTPStatus.NOT_FOUND, "there is no such page")
            elif not length.isdecimal():
                self.refuse(HTTPStatus.LENGTH_REQUIRED, "an image must come with its length")
            elif int(length) > _MAX_BYTES:
                size = f"{int(length) / 2**20:.0f} MiB"
                self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an image must have 50 MiB at most. Received: {size}")
            else:
                content = self.rfile.read(int(length))
                try:
                    with lock:  # one image at a time: the net uses all cores for one
                        found = describe_image(model, content)
                    self.answer(HTTPStatus.OK, found)
                except InputError as error:
                    self.refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the image must fit into memory")

        def log_message(self, format: str, *args: object) -> None:
            logger.debug(format, *args)

        def is_ours(self) -> bool:
            own = {f"{name}:{self.connection.getsockname()[1]}" for name in (_HOST, "localhost")}
            origin = self.headers.get("Origin")
            is_own = self.headers.get("Host") in own and (origin is None or urlsplit(origin).netloc in own)
            if not is_own:
                self.refuse(HTTPStatus.FORBIDDEN, "this page answers to this machine alone")
            return is_own

        def refuse(self, status: HTTPStatus, reason: str) -> None:
            self.answer(status, {"error": reason})

        def answer(self, status: HTTPStatus, said: bytes | dict[str, Any], kind: str = "application/json") -> None:
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    try:
        return ThreadingHTTPServer((_HOST, port), Handler)
    except OSError as error:
        raise InputError(f"`--port` must be free. Received: {port} ({error.strerror}). 0 takes any that is") from error


def describe_image(model: TrainedModel, content: bytes) -> dict[str, Any]:
    """Returns what the page shows of an image: pictures as `data:` addresses by their endings, and figures.

    Raises InputError where it is no image, is damaged, or has too many pixels.
    """
    began, files = perf_counter(), dict[str, str]()
    endings = (CUTOUT, OVERLAY, *list_masks(model.classes, overlapping=model.card.recipe.overlapping))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        path.write_bytes(content)
        try:
            photo = ImageFile(path, model.card.find_kind())
            height, width = photo.size_hw
            if height * width > _MAX_PIXELS:
                raise InputError(f"the image must have {_MAX_PIXELS:,} pixels at most. Received: {height} x {width}")
            result = model.find(photo)
            for ending, picture in zip(endings, render(result, photo, (CUTOUT, OVERLAY)), strict=True):
                suffix, buffer = ending[-4:], io.BytesIO()
                kind = {".jpg": "jpeg", ".png": "png"}[suffix]
                picture.save(buffer, kind, **SETTINGS[suffix])
                files[ending] = f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
        except InputError as error:
            raise InputError(str(error).replace(f"{path} ", "the image ").replace(f"{folder}/", "")) from error
    return {
        "files": files,
        "shown": {"overlay": OVERLAY, "cutout": CUTOUT, "mask": endings[-1]},
        "size": f"{width} x {height}",
        "area": result.area,
        "confidence": result.confidence,
        "unusual": model.card.find_unusual(result.area, result.confidence),
        "seconds": perf_counter() - began,
    }
