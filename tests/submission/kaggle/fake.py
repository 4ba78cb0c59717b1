"""A Kaggle of ours in place of the network: it answers the official client, as far as we use it, and fails on demand.

All that is built on requests passes `HTTPAdapter.send`, which `FakeKaggle.send` replaces for every host. Kaggle sends
downloads on to `storage.test`, another host, as it is in truth: the client must not send its credentials there.
"""

import base64
import io
import json
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from requests import ConnectionError as AwayError
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

USER, KEY = "ada", "0123456789abcdef0123456789abcdef"
TOKEN = "KGAT_5ec12e75ec12e75ec12e7"
COMPETITION = "tiny-masks"
STORAGE = "storage.test"
SIGNATURE = "signed-by-storage-1234"
DATE, MODIFIED = "2017-07-24T00:00:00Z", "Mon, 24 Jul 2017 00:00:00 GMT"
SIGNED_IN = (f"Basic {base64.b64encode(f'{USER}:{KEY}'.encode()).decode()}", f"Bearer {TOKEN}")


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
    is_away: bool = False
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
    pauses: list[float] = field(default_factory=list)  # seconds between tries, which are left out

    def list_calls(self, name: str) -> list[Request]:
        """Returns the requests of a function, or to a path that begins so."""
        return [request for request in self.requests if request.name.startswith(name)]

    def send(self, adapter: HTTPAdapter, request: PreparedRequest, **_: Any) -> Response:
        """Answers a request, as `HTTPAdapter.send` does."""
        url, body = urlsplit(str(request.url)), request.body or b""
        content = body.read() if hasattr(body, "read") else body.encode() if isinstance(body, str) else body
        is_call = url.netloc != STORAGE
        name, fields = unquote(url.path), None
        if is_call:
            name, fields = name.rpartition("/")[2], json.loads(content or b"{}")
        self.requests.append(Request(str(request.method), url.netloc, name, fields, dict(request.headers)))
        if self.is_away:
            raise AwayError("nobody is there")
        if is_call:
            status, headers, answer = self._answer_call(name, fields, request.headers.get("Authorization"))
        elif request.method == "PUT":
            status, headers, answer = self.upload_status, {}, b"{}"
            if status == 200:
                token = name.rpartition("/")[2]
                self.uploads[token] = (self.uploads[token][0], content)
        else:
            status, headers, answer = self._answer_storage(name, request)
        if name == "CreateSubmission" and status == 200 and self.lost_answers:
            self.lost_answers -= 1
            raise AwayError("the line is dead")
        headers = {"Content-Length": str(len(answer)), **headers}
        if "ETag" not in headers:
            headers["Content-Type"] = "application/json"
        elif self.drops:
            answer = answer[: self.drops.pop(0)]
        raw = HTTPResponse(io.BytesIO(answer), headers, status, preload_content=False, request_method=request.method)
        return adapter.build_response(request, raw)

    def _answer_call(self, name: str, fields: dict[str, Any], given: str | None) -> tuple[int, dict[str, str], bytes]:
        """Refuses who is not signed in, and what tests want refused; sends downloads to the storage."""
        refusal: tuple[int, str] | None = self.refusals.get(name)
        headers: dict[str, str] = {}
        if name != "IntrospectToken" and given not in SIGNED_IN:
            refusal = (401, "Unauthenticated")
        elif refusal is None and self.busy.get(name):
            refusal, headers = (429, "Too many requests"), self.busy[name].pop(0)
        elif name == "GetDatasetStatus" and f"{fields['ownerSlug']}/{fields['datasetSlug']}" not in self.datasets:
            refusal = (403, "Permission 'datasets.get' was denied")
        if refusal is not None:
            return refusal[0], headers, json.dumps({"code": refusal[0], "message": refusal[1]}).encode()
        if name in ("DownloadDataFile", "DownloadDataFiles"):
            file = fields.get("fileName", f"{COMPETITION}.zip")
            file += ".zip" if file in self.packs else ""
            return 302, {"Location": f"http://{STORAGE}/files/{file}?signature={SIGNATURE}"}, b""
        return 200, {}, json.dumps(self._answer(name, fields)).encode()

    def _answer_storage(self, path: str, request: PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        """Returns a file, or the rest of one."""
        if "Authorization" in request.headers or "signature" not in str(request.url):
            return 403, {}, b'{"code": 403, "message": "credentials in place of a signature"}'
        name = path.removeprefix("/files/")
        packed = name.removesuffix(".zip")
        if packed in self.packs:
            content = make_zip({packed.rpartition("/")[2]: self.files[packed]})
        else:
            content = self.bundle if name == f"{COMPETITION}.zip" else self.files[name]
        headers = {"ETag": (tag := f'"{len(content)}"'), "Accept-Ranges": "bytes", "Last-Modified": MODIFIED}
        if "Range" not in request.headers or request.headers.get("If-Range") != tag:
            return 200, headers, content
        start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        return 206, headers | {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}, content[start:]

    def _answer(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
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
                submission = {
                    "ref": 100 + len(self.submissions),
                    "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                    "description": body.get("submissionDescription", ""),
                    "fileName": self.uploads[body["blobFileTokens"]][0],
                    "status": "PENDING",
                }
                self.submissions.insert(0, submission)
                return {"message": "Successfully submitted to Tiny Masks", "ref": submission["ref"]}
            case "GetSubmission":
                found = next(submission for submission in self.submissions if submission["ref"] == body["ref"])
                found |= self.judgements.pop(0) if self.judgements else {}
                return found
            case "ListSubmissions":
                return {"submissions": self.submissions[: body["pageSize"]]}
            case "GetDatasetStatus":
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


def make_zip(contents: dict[str, bytes]) -> bytes:
    """Returns a zip of some files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()
