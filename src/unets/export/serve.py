"""A page on this machine alone: drop an image, see its mask and cut-out, keep them.

It listens on the loopback address; requests that name another host (a page elsewhere whose name was made to point here)
or come from another site are refused; nothing that is sent is kept.
"""

import base64
import io
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from time import perf_counter
from typing import Annotated, Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from unets.data.image import ImageFile
from unets.errors import InputError, is_out_of_memory
from unets.export.model import TrainedModel
from unets.export.outputs import SETTINGS
from unets.export.pictures import CUTOUT, OVERLAY, list_masks, render

_HOST = "127.0.0.1"
_MAX_BYTES = 50 * 2**20  # of an image file
_MAX_PIXELS = 50_000_000
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src data: blob:; connect-src 'self'; base-uri 'none'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def listen(port: int) -> socket.socket:
    """Takes a port of this machine, 0 any that is free. Raises InputError where it is taken."""
    try:
        return socket.create_server((_HOST, port))
    except OSError as error:
        raise InputError(
            f"`--port` must be free. Received: {port} ({os.strerror(error.errno or 0)}). 0 takes any that is"
        ) from error


def build_server(model: TrainedModel) -> uvicorn.Server:
    """Builds the server of a model, which `run(sockets=[listen(port)])` starts."""
    return uvicorn.Server(uvicorn.Config(build_app(model), log_level="warning", lifespan="off"))


def build_app(model: TrainedModel) -> FastAPI:
    """Builds what answers: the page, the model's card, and masks of images."""
    app, lock = FastAPI(openapi_url=None), Lock()

    @app.middleware("http")
    async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        own = {f"{name}:{request.scope['server'][1]}" for name in (_HOST, "localhost")}
        origin = request.headers.get("origin")
        is_ours = request.headers.get("host") in own and (origin is None or urlsplit(origin).netloc in own)
        response = await answer(request) if is_ours else refuse(403, "this page answers to this machine alone")
        response.headers.update(_HEADERS)
        return response

    app.exception_handler(InputError)(lambda _, error: refuse(422, str(error)))
    app.exception_handler(HTTPException)(lambda _, error: refuse(error.status_code, error.detail))

    @app.get("/")
    def show_page() -> FileResponse:
        return FileResponse(Path(__file__).with_name("serve.html"))

    @app.get("/card")
    def show_card() -> dict[str, str]:
        return {"summary": model.card.summary, "picture": model.card.picture}

    @app.post("/mask")
    def mask(content: Annotated[bytes, Depends(read_body)]) -> dict[str, Any]:
        with lock:  # one image at a time: the net uses all cores for one
            try:
                return describe_image(model, content)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                raise HTTPException(413, "the image must fit into memory") from error

    return app


def refuse(status: int, reason: str) -> JSONResponse:
    """Answers with what is wrong."""
    return JSONResponse({"error": reason}, status)


async def read_body(request: Request) -> bytes:
    """Reads what is sent, as far as an image may go."""
    content, length = bytearray(), int(request.headers.get("content-length", 0))
    if length <= _MAX_BYTES:
        async for chunk in request.stream():
            content += chunk
            if len(content) > _MAX_BYTES:
                break
    if (length := max(length, len(content))) > _MAX_BYTES:
        raise HTTPException(413, f"an image must have 50 MiB at most. Received: {length / 2**20:.0f} MiB or more")
    return bytes(content)


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
