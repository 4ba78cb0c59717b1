"""The page on this machine: by requests as any program may send them, and in a real browser."""

import http.client
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.export.bright import Bright, draw
from tests.pages.test_page_in_browser import chromium
from unets.export.serve import build_server, listen

__all__ = ["chromium"]  # a fixture


PICTURE = "/9j/4AAQSkZJRg=="  # what a browser takes for the beginning of a JPEG


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """The port of a server that runs."""
    with listen(0) as listening:
        server = build_server(Bright(picture=PICTURE))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def ask(
    server: int, method: str, path: str, body: bytes | Iterator[bytes] | None = None, **headers: str
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server, timeout=10)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content) if "json" in answer.headers["Content-Type"] else content.decode()


def encode(image: np.ndarray, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def test_an_image_is_answered_with_its_pictures(server: int) -> None:
    status, page = ask(server, "GET", "/")
    assert status == 200 and "Drop an image" in page
    assert ask(server, "GET", "/card") == (200, {"summary": Bright().card.summary, "picture": PICTURE})
    status, found = ask(server, "POST", "/mask", encode(draw()))
    assert status == 200 and found["size"] == "96 x 64" and found["area"] == pytest.approx(0.25, abs=0.01)
    assert set(found["files"]) == {".png", "_cutout.png", "_overlay.jpg"}
    assert all(address.startswith("data:image/") for address in found["files"].values())


def test_what_is_no_image_is_told(server: int) -> None:
    for content, wanted in (
        (b"", ""),
        (b"no image", "the image must be"),
        (encode(draw())[:90], ""),
        (encode(np.zeros((7200, 7200), dtype=np.uint8)), "must have 50,000,000 pixels at most. Received: 7200 x 7200"),
    ):
        status, found = ask(server, "POST", "/mask", content)
        assert status == 422 and wanted in found["error"] and "/tmp" not in found["error"]
    assert ask(server, "POST", "/mask", encode(draw()))[0] == 200  # it goes on


def test_what_is_too_large_or_from_elsewhere_is_refused(server: int) -> None:
    assert ask(server, "POST", "/mask", b"", Content_Length=str(2**40))[0] == 413
    assert ask(server, "POST", "/mask", b"", Content_Length="-1")[0] == 400
    assert ask(server, "POST", "/mask", iter([bytes(2**20)] * 51))[0] == 413  # of a length that is not said
    image = encode(draw())
    assert ask(server, "POST", "/mask", image, Host="evil.example:80")[0] == 403
    assert ask(server, "GET", "/", Host="evil.example")[0] == 403
    assert ask(server, "POST", "/mask", image, Origin="https://evil.example")[0] == 403
    own = f"http://127.0.0.1:{server}"
    assert ask(server, "POST", "/mask", image, Origin=own)[0] == 200
    assert ask(server, "GET", "/../../etc/passwd")[0] == 404
    assert ask(server, "POST", "/elsewhere", image)[0] == 404


def test_the_page_in_a_browser(server: int, chromium: Any, tmp_path: Path) -> None:
    page = chromium.new_page(viewport={"width": 900, "height": 900}, accept_downloads=True)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"http://127.0.0.1:{server}/")
    page.locator("#card", has_text="bright: car").wait_for()  # wait_for_function polls by eval, which the page forbids
    assert page.locator("#example").get_attribute("src") == f"data:image/jpeg;base64,{PICTURE}"
    (tmp_path / "my car.png").write_bytes(encode(draw()))
    page.set_input_files("#file", tmp_path / "my car.png")
    page.wait_for_selector("#result:not([hidden])")
    assert page.locator("#example").is_hidden()
    assert "mask covers 25" in page.locator("#figures").inner_text()
    assert page.evaluate("document.getElementById('mask').naturalWidth") == 96
    with page.expect_download() as download:
        page.get_by_text("my car_cutout.png").click()
    with Image.open(download.value.path()) as picture:
        assert picture.mode == "RGBA" and picture.size == (96, 64)
    (tmp_path / "bad.png").write_bytes(b"no image")
    page.set_input_files("#file", tmp_path / "bad.png")
    page.wait_for_selector("#said.error")
    assert page.locator("#said").inner_text().startswith("the image must be") and page.locator("#result").is_hidden()
    assert complaints == []
    page.close()
