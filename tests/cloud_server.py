# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Google Cloud on loopback: storage in memory, two doors, faults; job queues.

  with CloudServer() as server:
    server.objects["bucket", "folder/name"] = b"content"
    client_environment = {"STORAGE_EMULATOR_HOST": server.http_url}
    tensorflow_environment = server.proxy_environment(tmp_path)
    server.fail(lambda request: request.action == "read", times=3, status=503)

The plain door is for clients whose endpoint can be chosen. TensorFlow's own
gs:// always asks for https://storage.googleapis.com, but through a proxy if it
is told to: the other door is a proxy that answers by itself.

Behind both is the part of the JSON API that these clients use
(https://cloud.google.com/storage/docs/json_api/v1), and reading by
`/bucket/name`. No bucket may be called "b" here. Jobs of AI Platform Training
and Vertex AI are kept as they come and never run: that is a test's business.
"""

import base64
import collections
import dataclasses
import hashlib
import http.server
import itertools
import json
import pathlib
import re
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import NamedTuple

import google_crc32c
import trustme

_HOSTS = ("*.googleapis.com", "googleapis.com")
_CHUNK_BYTES = 2**16
_TIME = "2026-01-02T03:04:05.000Z"
# What the service says, for a client to show.
_REASONS = {
  401: "Anonymous caller does not have storage.objects.get access.",
  403: "The caller does not have storage.objects.get access.",
  404: "The specified key does not exist.",
}
# (methods, path, action): the first that fits. The paths of the JSON API may
# lack their start, as a client's whose endpoint is a folder.
_JSON = r"(?:/download)?(?:/storage/v1)?/b"
_OBJECT = _JSON + r"/(?P<bucket>[^/]+)/o/(?P<name>[^/]+)"
_JOBS = (
  r"/v1(?:beta1)?/(?P<name>projects/[^/]+/"
  r"(?:jobs|locations/[^/]+/customJobs)%s)"
)
_UPLOAD = r"(?:/resumable)?/upload/storage/v1/b/(?P<bucket>[^/]+)/o"
_COPY = r"/(?P<verb>rewriteTo|copyTo)/b/(?P<to_bucket>[^/]+)/o/(?P<to>[^/]+)"
_ROUTES = (
  ("POST", _JOBS % "", "create_job"),
  ("GET", _JOBS % "", "list_jobs"),
  ("GET", _JOBS % "/[^/]+", "get_job"),
  ("POST PUT", _UPLOAD, "upload"),
  ("POST", _OBJECT + _COPY, "copy"),
  ("GET", _OBJECT, "stat"),
  ("DELETE", _OBJECT, "delete"),
  ("GET", _JSON + r"/(?P<bucket>[^/]+)/o/?", "list"),
  ("GET", _JSON + r"/(?P<bucket>[^/]+)/?", "bucket"),
  ("POST", _JSON, "create_bucket"),
  ("GET", r"/(?P<bucket>[^/]+)/(?P<name>.+)", "read"),
)


@dataclasses.dataclass(kw_only=True)
class Request:
  """What a client asked for.

  Attributes:
    action: one of those in `_ROUTES`, or "unknown".
    bucket: the bucket's name, or "".
    name: the object's, or the job's, or "".
    method: for instance "GET".
    path: of its URL.
    parts: what the path names beside bucket and name.
    query: the parameters in its URL.
    headers: by name.
    origin: the server's own URL as the client sees it.
    body: all of it, or the part that came.
    status: of the answer; None if there was none.
  """

  action: str
  bucket: str
  name: str
  method: str
  path: str
  parts: dict[str, str]
  query: dict[str, str]
  headers: Mapping[str, str]
  origin: str
  body: bytes
  status: int | None = None

  @property
  def range(self) -> str | None:
    """For instance "bytes=0-99"."""
    return self.headers.get("Range")

  @property
  def has_credentials(self) -> bool:
    """Whether it says who asks."""
    return "Authorization" in self.headers


class Objects(collections.UserDict):
  """Contents by (bucket, name); each change makes a new generation."""

  def __init__(self):
    self._resources = {}
    self._generations = itertools.count(1)
    super().__init__()

  def __setitem__(self, key: tuple[str, str], content: bytes):
    bucket, name = key
    generation = str(next(self._generations))
    md5 = hashlib.md5(content, usedforsecurity=False)
    resource = {
      "kind": "storage#object",
      "id": f"{bucket}/{name}/{generation}",
      "bucket": bucket,
      "name": name,
      "generation": generation,
      "metageneration": "1",
      "etag": generation,
      "contentType": "application/octet-stream",
      "storageClass": "STANDARD",
      "timeCreated": _TIME,
      "updated": _TIME,
      "size": str(len(content)),
      "md5Hash": base64.b64encode(md5.digest()).decode(),
      "crc32c": _crc32c(content),
    }
    self._resources[key] = resource
    super().__setitem__(key, bytes(content))

  def resource(self, key: tuple[str, str]) -> dict[str, str]:
    """An object's metadata as the JSON API has it."""
    return self._resources[key]


def _crc32c(content: bytes) -> str:
  number = google_crc32c.value(content)
  return base64.b64encode(number.to_bytes(4, "big")).decode()


class _Answer(NamedTuple):
  """What the service says to a request."""

  status: int = 200
  body: bytes = b""
  headers: dict[str, str] = {}


def _json(value, status: int = 200) -> _Answer:
  headers = {"Content-Type": "application/json; charset=UTF-8"}
  return _Answer(status, json.dumps(value).encode(), headers)


class _RefusalError(Exception):
  """A request cannot be granted."""

  def __init__(self, status: int, message: str = ""):
    super().__init__(status, message)
    message = message or _REASONS.get(status, "The request failed.")
    reason = {"message": message, "domain": "global", "reason": "refused"}
    error = {"code": status, "message": message, "errors": [reason]}
    self.answer = _json({"error": error}, status)


class _Service:
  """Answers requests; knows nothing of connections."""

  def __init__(self):
    self.objects = Objects()
    self.buckets: set[str] = set()
    self.written: list[tuple[str, str]] = []
    self.jobs: dict[str, dict] = {}
    # Resumable uploads by id: what has come so far, None once it is an object.
    self._uploads: dict[str, bytearray | None] = {}

  def answer(self, request: Request) -> _Answer:
    """Does what a request asks for."""
    try:
      if request.action == "unknown":
        raise _RefusalError(404, f"Not Found: {request.path}")
      if request.bucket:
        self._check_bucket(request.bucket)
      return getattr(self, f"_{request.action}")(request)
    except _RefusalError as refusal:
      return refusal.answer

  def _check_bucket(self, bucket: str):
    buckets = {bucket for bucket, _ in list(self.objects)} | self.buckets
    if bucket not in buckets:
      raise _RefusalError(404, "The specified bucket does not exist.")

  def _key(self, request: Request) -> tuple[str, str]:
    """The key of an object that is there."""
    key = request.bucket, request.name
    if key not in self.objects:
      raise _RefusalError(404, f"No such object: {'/'.join(key)}")
    generation = self.objects.resource(key)["generation"]
    if request.query.get("generation", generation) != generation:
      raise _RefusalError(404, f"No such generation: {'/'.join(key)}")
    return key

  def _resource(self, request: Request, key: tuple[str, str]):
    path = f"storage/v1/b/{key[0]}/o/{urllib.parse.quote(key[1], safe='')}"
    resource = self.objects.resource(key)
    query = f"generation={resource['generation']}&alt=media"
    return {
      **resource,
      "selfLink": f"{request.origin}/{path}",
      "mediaLink": f"{request.origin}/download/{path}?{query}",
    }

  def _bucket(self, request):
    names = dict.fromkeys(("id", "name"), request.bucket)
    return _json({"kind": "storage#bucket", "location": "US", **names})

  def _create_bucket(self, request):
    request.bucket = json.loads(request.body)["name"]
    self.buckets.add(request.bucket)
    return self._bucket(request)

  def _create_job(self, request):
    """Queues a job, which has an id of its own (AI Platform) or gets one."""
    job = {**json.loads(request.body), "createTime": _TIME}
    number = job.get("jobId") or str(len(self.jobs) + 1)
    request.name = f"{request.name}/{number}"
    if request.name in self.jobs:
      raise _RefusalError(409, f"There is a job {request.name} already.")
    if "jobId" in job:
      job |= {"state": "QUEUED"}
    else:
      job |= {"state": "JOB_STATE_PENDING", "name": request.name}
    self.jobs[request.name] = job
    return _json(job)

  def _list_jobs(self, request):
    prefix = f"{request.name}/"
    found = [job for name, job in self.jobs.items() if name.startswith(prefix)]
    return _json({request.name.rpartition("/")[2]: found})

  def _get_job(self, request):
    if request.name not in self.jobs:
      raise _RefusalError(404, f"No such job: {request.name}")
    return _json(self.jobs[request.name])

  def _list(self, request):
    """Names and, with a delimiter, what names have up to it behind a prefix."""
    prefix = request.query.get("prefix", "")
    delimiter = request.query.get("delimiter")
    names, folders = set(), set()
    for bucket, name in list(self.objects):
      if bucket == request.bucket and name.startswith(prefix):
        head, found, _ = name[len(prefix) :].partition(delimiter or "\0")
        (folders if found else names).add(prefix + head + found)
    after = request.query.get("pageToken", "")
    entries = sorted(entry for entry in names | folders if entry > after)
    size = int(request.query.get("maxResults", 1000))
    page, rest = entries[:size], entries[size:]
    keys = [(request.bucket, entry) for entry in page if entry in names]
    listing = {
      "kind": "storage#objects",
      "items": [self._resource(request, key) for key in keys],
      "prefixes": [entry for entry in page if entry in folders],
    }
    if rest:
      listing["nextPageToken"] = page[-1]
    return _json(listing)

  def _stat(self, request):
    return _json(self._resource(request, self._key(request)))

  def _delete(self, request):
    del self.objects[self._key(request)]
    return _Answer(204)

  def _copy(self, request):
    bucket, content = request.parts["to_bucket"], self._content(request)
    self._check_bucket(bucket)
    resource = self._write(request, bucket, request.parts["to"], content)
    if request.parts["verb"] == "copyTo":
      return _json(resource)
    sizes = ("objectSize", "totalBytesRewritten")
    result = {"kind": "storage#rewriteResponse", "done": True}
    result |= dict.fromkeys(sizes, str(len(content)))
    return _json({**result, "resource": resource})

  def _content(self, request):
    return self.objects[self._key(request)]

  def _read(self, request):
    content = self._content(request)
    resource = self.objects.resource(self._key(request))
    first, end = _parse_range(request.range, len(content))
    headers = {
      "Content-Type": resource["contentType"],
      "X-Goog-Generation": resource["generation"],
      "X-Goog-Hash": f"crc32c={resource['crc32c']},md5={resource['md5Hash']}",
      "X-Goog-Stored-Content-Length": str(len(content)),
      "ETag": resource["etag"],
      "Accept-Ranges": "bytes",
    }
    if request.range:
      headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(content)}"
    return _Answer(206 if request.range else 200, content[first:end], headers)

  def _upload(self, request):
    kind = request.query.get("uploadType")
    if request.method == "PUT":
      return self._continue_upload(request)
    if kind == "resumable":
      return self._begin_upload(request)
    name, content = request.query.get("name"), request.body
    if kind == "multipart":
      name, content = _parse_multipart(request)
    return _json(self._write(request, request.bucket, name, content))

  def _begin_upload(self, request):
    name = request.query.get("name") or json.loads(request.body)["name"]
    number = f"{len(self._uploads)}"
    self._uploads[number] = bytearray()
    query = {"uploadType": "resumable", "name": name, "upload_id": number}
    url = f"{request.origin}{request.path}?{urllib.parse.urlencode(query)}"
    return _Answer(headers={"Location": url})

  def _continue_upload(self, request):
    """Takes a part, or says how much has come (`bytes */TOTAL`)."""
    number = request.query["upload_id"]
    content = self._uploads.get(number, b"")
    key = request.bucket, request.query["name"]
    if content is None:
      return _json(self._resource(request, key))
    whole = f"bytes 0-0/{len(request.body)}"
    match = re.fullmatch(
      r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)",
      request.headers.get("Content-Range", whole),
    )
    first, total = match.groups()
    if first:
      content[int(first) :] = request.body
    if total == "*" or len(content) < int(total):
      last = {"Range": f"bytes=0-{len(content) - 1}"} if content else {}
      return _Answer(308, headers=last)
    self._uploads[number] = None
    return _json(self._write(request, *key, bytes(content)))

  def _write(self, request, bucket: str, name: str, content: bytes):
    key = bucket, urllib.parse.unquote(name)
    request.name = request.name or name  # It may have come in the body.
    self.objects[key] = content
    self.written.append(key)
    return self._resource(request, key)


def _parse_range(text: str | None, size: int) -> tuple[int, int]:
  """The first byte of a range, and the one behind its last."""
  if not text:
    return 0, size
  first, last = re.fullmatch(r"bytes=(\d*)-(\d*)", text).groups()
  if not first:
    return max(0, size - int(last)), size
  if int(first) >= size:
    raise _RefusalError(416, "The requested range cannot be satisfied.")
  return int(first), min(int(last or size) + 1, size)


def _parse_multipart(request: Request) -> tuple[str, bytes]:
  """Name and content of an upload that has metadata in front."""
  kind = request.headers["Content-Type"]
  boundary = re.search(r"boundary=[\"']?([^\"';]+)", kind)[1].encode()
  # Ahead of the first and behind the last boundary is nothing.
  parts = re.split(rb"\r?\n?--" + re.escape(boundary), request.body)[1:3]
  metadata, content = (
    re.split(rb"\r?\n\r?\n", part, maxsplit=1)[1] for part in parts
  )
  name = json.loads(metadata).get("name")
  return name or request.query["name"], content


@dataclasses.dataclass
class _Fault:
  """What is to go wrong with some requests; by default, nothing.

  Attributes:
    matches: which ones; of several faults for one, the first happens.
    times: how many; None for all.
    status: answers with this status instead, for instance 503.
    delay_secs: keeps the answer back.
    cut_after: ends the connection behind so many bytes: of an answer, or of
      what is uploaded. All of an upload: only the answer is lost.
  """

  matches: Callable[[Request], bool] = lambda _: True
  times: int | None = None
  status: int | None = None
  delay_secs: float = 0.0
  cut_after: int | None = None


class CloudServer(_Service):
  """A stand-in for Google Cloud Storage, on a free port of 127.0.0.1.

  A context manager: it serves inside of the context.

  Attributes:
    objects: contents by (bucket, name), to be changed at any time.
    buckets: names of buckets; those with objects are known without.
    jobs: the resource of each job that was created, by its whole name.
    requests: a `Request` for each one so far, in the order they came.
    written: (bucket, name) of each object that a client wrote, in order, those
      that were copied included.
    http_url: what STORAGE_EMULATOR_HOST has to be: the plain door.
    latency_secs: how long each answer is kept back.
    bytes_per_second: at which all contents together are sent; None: no limit.
  """

  def __init__(self):
    super().__init__()
    self.requests: list[Request] = []
    self.latency_secs = 0.0
    self.bytes_per_second: float | None = None
    self._faults: list[_Fault] = []
    self._lock = threading.Lock()
    self._free_at = 0.0
    self._authority = trustme.CA()
    self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    self._authority.issue_cert(*_HOSTS).configure_cert(self.tls)
    self._server = _Server(("127.0.0.1", 0), _Handler)
    self._server.cloud = self
    self.http_url = f"http://127.0.0.1:{self._server.server_port}"

  def __enter__(self):
    threading.Thread(target=self._server.serve_forever, daemon=True).start()
    return self

  def __exit__(self, *unused_error):
    self._server.shutdown()
    self._server.server_close()

  def proxy_environment(self, folder: pathlib.Path) -> dict[str, str]:
    """Environment in which TensorFlow's gs:// comes here, with a credential.

    The certificate is written to the folder.
    """
    path = folder / "authority.pem"
    self._authority.cert_pem.write_to_path(str(path))
    return {
      "HTTPS_PROXY": self.http_url,
      # What it would ask Google's metadata server goes here, too.
      "http_proxy": self.http_url,
      "no_proxy": "localhost,127.0.0.1",
      "CURL_CA_BUNDLE": str(path),
      "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
      "NO_GCE_CHECK": "true",
    }

  def fail(self, *matches: Callable[[Request], bool], **fault):
    """Makes requests go wrong from now on; see `_Fault`."""
    with self._lock:
      self._faults.append(_Fault(*matches, **fault))

  def heal(self):
    """Ends all faults."""
    with self._lock:
      self._faults.clear()

  def take_fault(self, request: Request) -> _Fault:
    """Takes note of a request; what is to go wrong with it."""
    with self._lock:
      self.requests.append(request)
      for fault in self._faults:
        if fault.times != 0 and fault.matches(request):
          fault.times = fault.times and fault.times - 1
          return fault
    return _Fault()

  def answer(self, request: Request) -> _Answer:
    """Does what a request asks for."""
    with self._lock:
      return super().answer(request)

  def wait_for_bandwidth(self, num_bytes: int):
    """Waits until so many bytes may have gone over the one line there is."""
    if self.bytes_per_second:
      with self._lock:
        start = max(self._free_at, time.monotonic())
        self._free_at = start + num_bytes / self.bytes_per_second
        wait = self._free_at - time.monotonic()
      time.sleep(max(0.0, wait))


class _Server(http.server.ThreadingHTTPServer):
  """One thread for each connection; clients may end them at any time."""

  daemon_threads = True
  block_on_close = False
  request_queue_size = 128
  cloud: CloudServer

  def handle_error(self, request, client_address):
    pass


class _Handler(http.server.BaseHTTPRequestHandler):
  """A connection: parses requests, does what the faults say."""

  protocol_version = "HTTP/1.1"
  # A header and what follows it go at once.
  wbufsize = -1
  disable_nagle_algorithm = True
  server: _Server

  def log_message(self, *unused_arguments):
    pass

  def do_CONNECT(self):  # noqa: N802
    self.send_response(200, "Connection established")
    self.end_headers()
    self.wfile.flush()
    tls = self.server.cloud.tls
    self.connection = tls.wrap_socket(self.connection, server_side=True)
    self.rfile = self.connection.makefile("rb")
    self.wfile = self.connection.makefile("wb")

  def handle_expect_100(self):
    super().handle_expect_100()
    self.wfile.flush()
    return True

  def finish(self):
    super().finish()
    # The server only knows the connection as it was when it came.
    self.connection.close()

  def _serve(self):
    cloud = self.server.cloud
    request = self._request(self._read_body())
    fault = cloud.take_fault(request)
    time.sleep(cloud.latency_secs + fault.delay_secs)
    if fault.status:
      answer = _RefusalError(fault.status).answer
    elif request.action == "upload" and fault.cut_after is not None:
      # Parts of a resumable upload are kept, others only as a whole.
      if request.method == "PUT" or fault.cut_after >= len(request.body):
        request.body = request.body[: fault.cut_after]
        cloud.answer(request)
      self.close_connection = True
      return
    else:
      answer = cloud.answer(request)
    request.status = answer.status
    self._send(answer, fault.cut_after)

  do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

  def _request(self, body: bytes) -> Request:
    scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
    action, parts = "unknown", {}
    for methods, pattern, candidate in _ROUTES:
      match = re.fullmatch(pattern, url.path)
      if match and self.command in methods.split() and not url.netloc:
        action, parts = candidate, match.groupdict()
        break
    if action == "stat" and query.get("alt") == "media":
      action = "read"
    name = parts.pop("name", None) or query.get("name", "")
    return Request(
      action=action,
      bucket=parts.pop("bucket", ""),
      name=urllib.parse.unquote(name),
      method=self.command,
      path=url.path,
      parts=parts,
      query=query,
      headers=self.headers,
      origin=f"{scheme}://{self.headers.get('Host')}",
      body=body,
    )

  def _read_body(self) -> bytes:
    if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
      return self.rfile.read(int(self.headers.get("Content-Length", 0)))
    body = b""
    while size := int(self.rfile.readline().partition(b";")[0], 16):
      body += self.rfile.read(size)
      self.rfile.readline()
    self.rfile.readline()
    return body

  def _send(self, answer: _Answer, cut_after: int | None):
    self.send_response(answer.status)
    for name, value in answer.headers.items():
      self.send_header(name, value)
    if answer.status != 204:
      self.send_header("Content-Length", str(len(answer.body)))
    self.end_headers()
    view = memoryview(answer.body)[:cut_after]
    for start in range(0, len(view), _CHUNK_BYTES):
      chunk = view[start : start + _CHUNK_BYTES]
      self.server.cloud.wait_for_bandwidth(len(chunk))
      self.wfile.write(chunk)
    self.wfile.flush()
    if cut_after is not None and cut_after < len(answer.body):
      self.close_connection = True
