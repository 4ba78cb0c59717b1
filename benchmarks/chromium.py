"""A headless Chromium, spoken to through its debugging pipe: for tests of pages, their speed, and pictures of them.

Needs the program alone (Debian: `apt-get install chromium`): no driver, no library, no port. Messages are JSON, each
with a zero byte behind it, to its file descriptor 3 and from 4 (https://chromedevtools.github.io/devtools-protocol).
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --remote-debugging-pipe"
)
# Becomes the browser, with its pipe where it looks for it. A `preexec_fn` might hang where there are threads.
_PLACE = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execvp(sys.argv[3], sys.argv[3:])"
)
_KEYS = {"Enter": "\r", "Tab": "", "Escape": "", "ArrowLeft": "", "ArrowRight": "", "ArrowDown": "", "ArrowUp": ""}
_KEY_CODES = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


def find_chromium() -> str | None:
    """Returns the path of the program, from $CHROMIUM or by its usual names; None where there is none."""
    return os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """One page of a browser of its own, with a folder of its own that goes with it.

    Args:
        program: its path.
        seconds: after which a call that is not answered fails.
    """

    def __init__(self, program: str, seconds: float = 60.0) -> None:
        self.seconds = seconds
        self.complaints: list[str] = []  # errors and warnings of the page, and exceptions
        self.requests: list[str] = []  # addresses that the page asked for
        self._folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._buffer, self._number = b"", 0
        self._start(program)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _start(self, program: str) -> None:
        # Above 9, so that neither is 3 or 4 itself.
        to_read, self._to_write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe())
        self._to_read, to_write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe())
        command = [program, *_FLAGS.split(), f"--user-data-dir={self._folder.name}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", _PLACE, str(to_read), str(to_write), *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(to_read, to_write),
        )
        os.close(to_read)
        os.close(to_write)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the browser."""
        try:
            os.write(self._to_write, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._to_write)
        os.close(self._to_read)
        self._folder.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the protocol and returns its answer; notes what the page reports meanwhile."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if hasattr(self, "_session"):
            message["sessionId"] = self._session
        content = json.dumps(message).encode() + b"\0"
        while content:
            content = content[os.write(self._to_write, content) :]
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + self.seconds
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._to_read], [], [], max(end - time.monotonic(), 0))
            part = os.read(self._to_read, 1 << 20) if ready else b""
            if not part:
                raise TimeoutError(f"Chromium does not answer; its exit code is {self._process.poll()}")
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent" and not parameters["request"]["url"].startswith("data:"):
            self.requests.append(parameters["request"]["url"])
        elif method == "Network.loadingFailed" and not parameters.get("canceled"):
            self.complaints.append(f"failed to load: {parameters.get('errorText')}")
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.complaints.append(parameters["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(parameters["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(parameters["exceptionDetails"]))

    def open(self, path: Path) -> None:
        """Opens a page from disk and waits until it is loaded."""
        self.call("Page.navigate", url=path.absolute().as_uri())
        self.wait_for("document.readyState === 'complete' && location.protocol === 'file:'")

    def evaluate(self, expression: str) -> Any:
        """Returns the value of a JavaScript expression, waiting for it where it is a promise."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + self.seconds
        while not self.evaluate(expression):
            if time.monotonic() > end:
                raise TimeoutError(f"Never true: {expression}")
            time.sleep(0.02)

    def resize(self, width: int, height: int, *, scale: float = 1.0, is_phone: bool = False) -> None:
        """Sets the window's size in CSS pixels, and how many pixels of the screen one of them is wide."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)

    def prefer(self, **features: str) -> None:
        """Sets what the system prefers, as `prefer(color_scheme="dark", reduced_motion="reduce")`; or its medium."""
        medium = features.pop("medium", "")
        chosen = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", media=medium, features=chosen)

    def press(self, key: str) -> None:
        """Presses a key by its name, as `ArrowRight`, `Escape`, `a`."""
        text, code = _KEYS.get(key, key), _KEY_CODES.get(key, ord(key.upper()[0]))
        kind = "keyDown" if text else "rawKeyDown"
        fields: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": code, "code": key if key in _KEYS else ""}
        self.call("Input.dispatchKeyEvent", type=kind, **fields, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **fields)

    def click(self, selector: str) -> None:
        """Clicks at the middle of the first element of a CSS selector, after bringing it into view."""
        script = f"""(() => {{
          const element = document.querySelector({json.dumps(selector)});
          element.scrollIntoView({{block: "center", behavior: "instant"}});
          const box = element.getBoundingClientRect();
          return [box.left + box.width / 2, box.top + box.height / 2];
        }})()"""
        x, y = self.evaluate(script)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def photograph(self, path: Path, *, whole: bool = False) -> None:
        """Writes a PNG (or JPEG, by its name) of the window, or of the whole page."""
        kind = {"format": "jpeg", "quality": 82} if path.suffix in (".jpg", ".jpeg") else {"format": "png"}
        answer = self.call("Page.captureScreenshot", **kind, captureBeyondViewport=whole, **self._measure(whole))
        path.write_bytes(base64.b64decode(answer["data"]))

    def _measure(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
