"""A Kaggle of ours on loopback: it speaks the official client's protocol, as far as we use it, and fails on demand.

The client knows one address for tests, `http://localhost` (KAGGLE_API_ENVIRONMENT=LOCALHOST), on port 80. It keeps to
`http_proxy`, as all that is built on requests: this server is that proxy, on a free port, and answers for every host
itself. So several run at once, and `storage.test`, to which Kaggle redirects, is another host as it is in truth: the
client must not send its credentials there.
"""

import base64
import io
import json
import threading
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

USER, KEY = "ada", "0123456789abcdef0123456789abcdef"
TOKEN = "KGAT_5ec12e75ec12e75ec12e7"
COMPETITION = "tiny-masks"
STORAGE = "storage.test"
SIGNATURE = "signed-by-storage-1234"
DATE, MODIFIED = "2017-07-24T00:00:00Z", "Mon, 24 Jul 2017 00:00:00 GMT"


@dataclass
class Request:
    """What came in."""

    method: str
    host: str
    name: str  # the API's function, or the path at another host
    body: Any
    headers: dict[str, str]


@dataclass
class FakeKaggle:
    """One competition and its datasets; what tests change stands here."""

    files: dict[str, bytes] = field(default_factory=dict)
    bundle: bytes = b""
    packs: tuple[str, ...] = ()  # files that are packed on the way
    page_size: int = 2
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)  # status and message of a function, always
    busy: dict[str, list[dict[str, str]]] = field(default_factory=dict)  # headers of a function's next answers of 429
    drops: list[int] = field(default_factory=list)  # bytes after which the next downloads break off
    upload_status: int = 200
    lost_answers: int = 0  # of CreateSubmission, which is taken all the same
    judgements: list[dict[str, Any]] = field(default_factory=list)  # what looks at a submission find, one by one
    submissions: list[dict[str, Any]] = field(default_factory=list)
    datasets: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)  # versions by owner/slug
    kernels: list[dict[str, Any]] = field(default_factory=list)
    uploads: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # name and content by token
    requests: list[Request] = field(default_factory=list)

    def list_calls(self, name: str) -> list[Request]:
        """Returns the requests of a function, or to a path that begins so."""
        return [request for request in self.requests if request.name.startswith(name)]

    def start(self) -> ThreadingHTTPServer:
        """Serves in a thread until `shutdown()`."""
        handler = type("Handler", (_Handler,), {"fake": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    def answer(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Returns the JSON of a function's answer."""
        match name:
            case "IntrospectToken":
                return {"active": True, "username": USER} if body.get("token") == TOKEN else {"active": False}
            case "ListDataFiles":
                start, end = (token := int(body.get("pageToken") or 0)), token + self.page_size
                sizes = {one: len(content) for one, content in list(self.files.items())[start:end]}
                files = [{"name": one, "totalBytes": size, "creationDate": DATE} for one, size in sizes.items()]
                return {"files": files, **({"nextPageToken": str(end)} if end < len(self.files) else {})}
            case "StartSubmissionUpload" | "StartBlobUpload":
                token = f"blob{len(self.uploads)}"
                self.uploads[token] = (body["fileName" if name == "StartSubmissionUpload" else "name"], b"")
                return {"token": token, "createUrl": f"http://{STORAGE}/upload/{token}?signature={SIGNATURE}"}
            case "CreateSubmission":
                file_name, content = self.uploads[body["blobFileTokens"]]
                submission = {
                    "ref": 100 + len(self.submissions),
                    "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                    "description": body.get("submissionDescription", ""),
                    "fileName": file_name,
                    "totalBytes": len(content),
                    "teamName": "Ada and friends",
                    "status": "PENDING",
                }
                self.submissions.insert(0, submission)
                return {"message": "Successfully submitted to Tiny Masks", "ref": submission["ref"]}
            case "GetSubmission":
                found = next(submission for submission in self.submissions if submission["ref"] == body["ref"])
                found |= self.judgements.pop(0) if self.judgements else {}
                return found
            case "ListSubmissions":
                start = body["pageSize"] * (body.get("page", 1) - 1)
                return {"submissions": self.submissions[start : start + body["pageSize"]]}
            case "GetDatasetStatus":
                if f"{body['ownerSlug']}/{body['datasetSlug']}" not in self.datasets:
                    raise RefusalError(403, "Permission 'datasets.get' was denied")
                return {"status": "READY"}
            case "CreateDataset" | "CreateDatasetVersion":
                ref = f"{body['ownerSlug']}/{body.get('slug') or body['datasetSlug']}"
                files = body.get("body", body)["files"]
                self.datasets.setdefault(ref, []).append(dict(self.uploads[file["token"]] for file in files))
                return {"ref": ref, "url": f"https://www.kaggle.com/datasets/{ref}", "status": "Ok"}
            case "SaveKernel":
                self.kernels.append(body)
                return {"ref": body["slug"], "url": f"https://www.kaggle.com/code/{body['slug']}", "versionNumber": 1}
        raise NotImplementedError(name)


class RefusalError(Exception):
    """An error as Kaggle says it."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        self.status, self.message, self.headers = status, message, headers


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeKaggle

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name = urlsplit(self.path).path.rsplit("/", 1)[-1]
        fields = json.loads(body or b"{}")
        self._note(name, fields)
        try:
            self._check(name, fields)
            if name in ("DownloadDataFile", "DownloadDataFiles"):
                self._redirect(fields)
            else:
                answer = self.fake.answer(name, fields)
                if name == "CreateSubmission" and self.fake.lost_answers:
                    self.fake.lost_answers -= 1
                    self.close_connection = True
                    return
                self._send_json(200, answer)
        except RefusalError as refusal:
            self._send_json(refusal.status, {"code": refusal.status, "message": refusal.message}, refusal.headers)

    def do_GET(self) -> None:
        """Answers for the storage: a file, or the rest of one."""
        path = unquote(urlsplit(self.path).path)
        self._note(path, None)
        if "Authorization" in self.headers or "signature" not in self.path:
            self._send_json(403, {"code": 403, "message": "credentials in place of a signature"})
            return
        content, start = self._find_content(path), 0
        headers = {"ETag": (tag := f'"{len(content)}"'), "Accept-Ranges": "bytes", "Last-Modified": MODIFIED}
        if "Range" in self.headers and self.headers.get("If-Range") == tag:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        end = len(content)
        if self.fake.drops:
            end = min(end, start + self.fake.drops.pop(0))
            self.close_connection = True
        self._send(206 if start else 200, headers, content[start:end], len(content) - start)

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = self._read_chunks()
        path = urlsplit(self.path).path
        self._note(path, None)
        token = path.rsplit("/", 1)[-1]
        if self.fake.upload_status == 200:
            self.fake.uploads[token] = (self.fake.uploads[token][0], content)
        self._send_json(self.fake.upload_status, {})

    def _read_chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _check(self, name: str, fields: dict[str, Any]) -> None:
        """Refuses who is not signed in, and what tests want refused."""
        basic = base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        given = self.headers.get("Authorization")
        if name != "IntrospectToken" and given not in (f"Basic {basic}", f"Bearer {TOKEN}"):
            raise RefusalError(401, "Unauthenticated")
        if name in self.fake.refusals:
            raise RefusalError(*self.fake.refusals[name])
        if self.fake.busy.get(name):
            raise RefusalError(429, "Too many requests", **self.fake.busy[name].pop(0))
        if fields.get("competitionName", COMPETITION) != COMPETITION:
            raise RefusalError(404, "The requested competition was not found")

    def _redirect(self, fields: dict[str, Any]) -> None:
        name = fields.get("fileName", f"{COMPETITION}.zip")
        name += ".zip" if name in self.fake.packs else ""
        self._send(302, {"Location": f"http://{STORAGE}/files/{name}?signature={SIGNATURE}"}, b"")

    def _find_content(self, path: str) -> bytes:
        name = path.removeprefix("/files/")
        if name == f"{COMPETITION}.zip":
            return self.fake.bundle
        wanted = name.removesuffix(".zip")
        if wanted in self.fake.packs:
            return make_zip({wanted.rsplit("/", 1)[-1]: self.fake.files[wanted]})
        return self.fake.files[name]

    def _send_json(self, status: int, answer: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(answer).encode())

    def _send(self, status: int, headers: dict[str, str], content: bytes, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content) if length is None else length)}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def _note(self, name: str, body: Any) -> None:
        host = urlsplit(self.path).netloc
        self.fake.requests.append(Request(self.command, host, name, body, dict(self.headers)))

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def make_zip(contents: dict[str, bytes]) -> bytes:
    """Returns a zip of some files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()
