# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of buckets and of web servers: finding them, and fetching one whole.

Nothing is taken for granted: networks stop, servers are busy, connections are
cut, and bytes change on the way. A file is continued where it was cut, and has
its name only when size and CRC32C are those that its bucket states.
"""

import base64
import dataclasses
import os
import re
import threading
import time

from program import UserError

import google.auth
import google_crc32c
import requests
import tensorflow as tf
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.api_core.retry import exponential_sleep_generator
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

import utils

# Or the library asks for the bucket's metadata beside each file, for traces
# that nobody records.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

_READ_ONLY = "https://www.googleapis.com/auth/devstorage.read_only"
# Seconds to connect, and between two packets.
_TIMEOUTS = (10.0, 30.0)
_FIRST_DELAY_SECS, _LONGEST_DELAY_SECS = 0.5, 30.0
# Without an answer, there is most likely no network at all.
_LISTING_SECS = 30.0
_LISTED = "items(name,size,crc32c,generation),nextPageToken"
_CHUNK_BYTES = 2**20
# Of a chunk that a cut connection ends, nothing is kept.
_WEB_CHUNK_BYTES = 2**14
# A second time for what was damaged on its way.
_ATTEMPTS = 2
_SILENCE = (RetryError, TransportError, requests.RequestException)
_REFUSALS = (GoogleAPICallError, GoogleAuthError)
_BUSY = frozenset((408, 429, 500, 502, 503, 504))
_WILDCARDS = {"**": ".*", "*": "[^/]*", "?": "[^/]"}


class FetchError(UserError):
  """One file cannot be fetched; others may."""


class _PassingError(Exception):
  """What may go better in a moment."""


class _DamagedError(Exception):
  """What arrived is not what the bucket has."""


class Stopped(Exception):  # noqa: N818 No error: it was asked for.
  """Ends the work of a thread after `Progress.stop`."""


@dataclasses.dataclass(frozen=True)
class RemoteFile:
  """A file somewhere else.

  Attributes:
    url: gs://bucket/name, or of a web server.
    size: number of bytes; None if the server does not say.
    crc32c: base64 of the big-endian CRC32C of the bytes; None where the server
      has none.
    generation: which of the versions that the bucket had under this name.
  """

  url: str
  size: int | None = None
  crc32c: str | None = None
  generation: int | None = None

  @property
  def name(self) -> str:
    """The name without the folders."""
    return self.url.rpartition("/")[2]


class Progress:
  """What the threads have done so far, and whether they should go on.

  Attributes:
    num_bytes: bytes that arrived or were checked.
    last_change: when that changed, by `time.monotonic`.
  """

  def __init__(self):
    self._lock = threading.Lock()
    self._stop = threading.Event()
    self.num_bytes = 0
    self.last_change = time.monotonic()

  def add(self, num_bytes: int):
    """Counts bytes; negative ones are to come again.

    Raises:
      Stopped: `stop` was called.
    """
    if self._stop.is_set():
      raise Stopped
    with self._lock:
      self.num_bytes += num_bytes
      if num_bytes > 0:
        self.last_change = time.monotonic()

  def stop(self):
    """Ends the threads at their next byte or second attempt."""
    self._stop.set()

  def pause(self, seconds: float):
    """Waits, unless or until `stop` is called; raises as `add`."""
    if self._stop.wait(seconds):
      raise Stopped


class _Sink:
  """Where the bytes of a file go, as a file that can only be written.

  Attributes:
    num_bytes: bytes so far.
  """

  def __init__(self, file, progress: Progress):
    self._file = file
    self._progress = progress
    self._checksum = google_crc32c.Checksum()
    self.num_bytes = 0

  def write(self, data: bytes):
    """Takes more bytes."""
    self._progress.add(len(data))
    self.num_bytes += len(data)
    self._checksum.update(data)
    self._file.write(data)

  def check(self, file: RemoteFile):
    """Raises _DamagedError if these are not all bytes of `file`."""
    if file.size is not None and self.num_bytes != file.size:
      raise _DamagedError(
        f"{self.num_bytes:,} bytes arrived instead of {file.size:,}"
      )
    if file.crc32c not in (None, _encode(self._checksum)):
      raise _DamagedError(
        "what arrived does not match the bucket's checksum (CRC32C "
        f"{_encode(self._checksum)} instead of {file.crc32c})"
      )


def _encode(checksum: google_crc32c.Checksum) -> str:
  return base64.b64encode(checksum.digest()).decode()


def load_credentials() -> google.auth.credentials.Credentials:
  """The user's own credentials, as all of Google's libraries find them.

  Raises:
    UserError: there are none.
  """
  try:
    return google.auth.default(scopes=[_READ_ONLY])[0]
  except GoogleAuthError as error:
    raise UserError(
      f"--use_credentials: {utils.error_text(error)} Sign in with 'gcloud auth "
      "application-default login'."
    ) from error


class Connection:
  """Connections to buckets and web servers, for one thread.

  Args:
    credentials: whose rights to use; None for what is public.
  """

  def __init__(self, credentials=None):
    self._credentials = credentials
    if credentials is None:
      self._client = storage.Client.create_anonymous_client()
    else:
      # Reading needs no project, but the constructor looks for one.
      self._client = storage.Client("unused", credentials)
    self._session = requests.Session()

  def close(self):
    """Closes the connections."""
    self._client.close()
    self._session.close()

  def find(self, source: str, patience_secs: float) -> list[RemoteFile]:
    """The files that a pattern names, sorted by name.

    Args:
      source: gs://bucket/pattern, in which `*` and `?` stand for characters
        other than "/", `**` for any, and `[a-z]` for one of these; or the
        address of one file on a web server, without wildcards.
      patience_secs: how long to wait for a server that does not answer.

    Raises:
      UserError: nothing is there, or the server does not show it.
    """
    if source.startswith(("http://", "https://")):
      return [self._describe_web_file(source)]
    bucket, pattern = _split(source)
    try:
      blobs = self._client.list_blobs(
        bucket,
        prefix=re.split(r"[*?\[]", pattern)[0],
        fields=_LISTED,
        timeout=_TIMEOUTS,
        retry=DEFAULT_RETRY.with_timeout(min(patience_secs, _LISTING_SECS)),
      )
      is_match = _compile(pattern, source).fullmatch
      files = [
        _of_blob(blob)
        for blob in blobs
        # The console makes empty objects to show folders.
        if is_match(blob.name) and not blob.name.endswith("/")
      ]
    except _SILENCE as error:
      raise UserError(_explain_silence(error, f"gs://{bucket}")) from error
    except _REFUSALS as error:
      raise UserError(self._explain(error, f"gs://{bucket}")) from error
    if not files:
      raise UserError(
        f"--source: no file of the bucket matches {source!r}. A pattern has to "
        "match whole names, for instance gs://bucket/folder/train*.tfrecord."
      )
    return sorted(files, key=lambda file: file.url)

  def _describe_web_file(self, url: str) -> RemoteFile:
    try:
      response = self._session.head(
        url,
        allow_redirects=True,
        headers={"Accept-Encoding": "identity"},
        timeout=_TIMEOUTS,
      )
    except requests.RequestException as error:
      raise UserError(_explain_silence(error, url)) from error
    size = response.headers.get("Content-Length")
    if not response.ok or size is None:
      return RemoteFile(url)  # Fetching it will say what is wrong, if anything.
    return RemoteFile(url, int(size))

  def read_on(self, file: RemoteFile, sink: _Sink):
    """Reads a file from where the sink is to its end.

    Raises:
      FetchError: it cannot be read.
      _PassingError: it may be read later; the sink has what arrived.
    """
    if file.url.startswith("gs://"):
      self._read_blob(file, sink)
    else:
      self._read_web_file(file, sink)

  def _read_blob(self, file: RemoteFile, sink: _Sink):
    bucket, name = _split(file.url)
    blob = self._client.bucket(bucket).blob(name, generation=file.generation)
    try:
      blob.download_to_file(
        sink,
        start=sink.num_bytes or None,
        # The bytes that the bucket has, and its checksum is of.
        raw_download=True,
        checksum=None,
        timeout=_TIMEOUTS,
        # No second attempt, but the library's opinion on which errors pass.
        retry=DEFAULT_RETRY.with_timeout(0),
      )
    except _SILENCE as error:
      raise _PassingError(_root_text(error)) from error
    except _REFUSALS as error:
      raise FetchError(self._explain(error, file.url)) from error

  def _read_web_file(self, file: RemoteFile, sink: _Sink):
    headers = {"Accept-Encoding": "identity"}
    if sink.num_bytes:
      headers["Range"] = f"bytes={sink.num_bytes}-"
    try:
      with self._session.get(
        file.url, headers=headers, timeout=_TIMEOUTS, stream=True
      ) as response:
        status = response.status_code
        if status in _BUSY:
          raise _PassingError(f"the server says {status} {response.reason}")
        if status != (206 if sink.num_bytes else 200):
          raise FetchError(
            f"{file.url}: the server says {status} {response.reason}."
          )
        for chunk in response.iter_content(_WEB_CHUNK_BYTES):
          sink.write(chunk)
    except requests.RequestException as error:
      raise _PassingError(_root_text(error)) from error

  def _explain(
    self, error: GoogleAPICallError | GoogleAuthError, url: str
  ) -> str:
    """What a refusal means, and what to do about it."""
    # After a 401, the library tries to renew credentials.
    code = int(getattr(error, "code", None) or 401)
    if code in (401, 403):
      return f"{url}: access is denied ({code}). {self._access_advice(code)}"
    if code == 404 and url.count("/") == 2:
      return f"{url}: there is no such bucket (404). Check --source."
    if code == 404:
      return (
        f"{url}: it is gone, or another one took its place (404). Start again."
      )
    return f"{url}: the server says {code} {error.message}."

  def _access_advice(self, code: int) -> str:
    if self._credentials is not None and code == 401:
      return "Sign in again: 'gcloud auth application-default login'."
    if self._credentials is not None:
      return "Ask the bucket's owner for the role Storage Object Viewer."
    return (
      "It is not public: give --use_credentials to use your own, after 'gcloud "
      "auth application-default login'."
    )


def _explain_silence(error: Exception, url: str) -> str:
  return (
    f"{url} cannot be reached: {_root_text(error)}. Check the network, and "
    "HTTPS_PROXY if there is a proxy; start again later if the server is busy."
  )


def _root_text(error: BaseException) -> str:
  """The first cause's message, in one line, without the name of its class."""
  while cause := error.__cause__ or error.__context__:
    error = cause
  response = getattr(error, "response", None)
  if response is not None:
    return f"the server says {response.status_code} {response.reason}"
  text = " ".join(str(error).split()) or type(error).__name__
  return re.sub(r"^<[^>]*>: |^\w+\([^)]*\): ", "", text).rstrip(".")


def _split(source: str) -> tuple[str, str]:
  """Bucket and pattern of gs://bucket/pattern."""
  match = re.fullmatch(r"gs://([^/*?\[\]]+)/(.*[^/])", source, re.DOTALL)
  if not match:
    raise UserError(
      f"--source: {source!r} names no files of a bucket. Write it like "
      "gs://us.data.yt8m.org/2/video/train/train00*.tfrecord."
    )
  return match[1], match[2]


def _compile(pattern: str, source: str) -> re.Pattern[str]:
  """A regular expression for a pattern as gsutil has them."""
  expression = ""
  for part in re.split(r"(\*\*|\*|\?|\[[^\]]+\])", pattern):
    if part.startswith("[") and len(part) > 1:
      inside = part[1:-1].replace("\\", r"\\").replace("[", r"\[")
      expression += f"[{re.sub('^[!^]', '^', inside)}]"
    else:
      expression += _WILDCARDS.get(part) or re.escape(part)
  try:
    return re.compile(expression, re.DOTALL)
  except re.error as error:
    raise UserError(f"--source: {source!r} is no pattern: {error}.") from error


def _of_blob(blob: storage.Blob) -> RemoteFile:
  return RemoteFile(
    url=f"gs://{blob.bucket.name}/{blob.name}",
    size=blob.size,
    crc32c=blob.crc32c,
    generation=blob.generation,
  )


def is_complete(file: RemoteFile, path: str, progress: Progress) -> bool:
  """Whether a local file has the size and the checksum of a remote one.

  Raises:
    Stopped: `progress.stop` was called.
    UserError: it cannot be read.
  """
  if not utils.is_file(path) or utils.file_size(path) != file.size:
    return False
  if file.crc32c is None:
    progress.add(file.size)
    return True
  checksum, num_bytes = google_crc32c.Checksum(), 0
  try:
    with tf.io.gfile.GFile(path, "rb") as local:
      while data := local.read(_CHUNK_BYTES):
        checksum.update(data)
        progress.add(len(data))
        num_bytes += len(data)
  except (tf.errors.OpError, OSError) as error:
    raise UserError(
      f"{path!r} cannot be read: {utils.error_text(error)}"
    ) from error
  if _encode(checksum) == file.crc32c:
    return True
  progress.add(-num_bytes)
  return False


def fetch(
  connection: Connection,
  file: RemoteFile,
  path: str,
  progress: Progress,
  patience_secs: float,
):
  """Fetches a file; it appears whole and checked, or not at all.

  Args:
    connection: of this thread.
    file: what to fetch.
    path: the local name; a file there is replaced.
    progress: counts the bytes.
    patience_secs: how long to try again without getting a byte.

  Raises:
    FetchError: it cannot be fetched.
    UserError: it cannot be written.
    Stopped: `progress.stop` was called.
  """
  for attempt in range(1, _ATTEMPTS + 1):
    try:
      _fetch_once(connection, file, path, progress, patience_secs)
      return
    except _DamagedError as error:
      if attempt == _ATTEMPTS:
        raise FetchError(
          f"{file.url}: {error}, {_ATTEMPTS} times. Start again later, or try "
          "another --mirror."
        ) from error


def _fetch_once(connection, file, path, progress, patience_secs):
  with utils.replacing(path) as output:
    sink = _Sink(output, progress)
    try:
      _read_all(connection, file, sink, progress, patience_secs)
      sink.check(file)
    except (FetchError, _DamagedError):
      progress.add(-sink.num_bytes)
      raise


def _read_all(connection, file, sink, progress, patience_secs):
  """Reads to the end, over all cuts."""
  last_byte, num_bytes, delays = time.monotonic(), -1, iter(())
  while sink.num_bytes != file.size:
    try:
      return connection.read_on(file, sink)
    except _PassingError as error:
      now = time.monotonic()
      if sink.num_bytes != num_bytes:
        last_byte, num_bytes = now, sink.num_bytes
        delays = exponential_sleep_generator(
          _FIRST_DELAY_SECS, _LONGEST_DELAY_SECS
        )
      # Where no file gets a byte, not each of them needs all the patience.
      if now - min(last_byte, progress.last_change) > patience_secs:
        raise FetchError(
          f"{file.url}: {error}, for {patience_secs:g} seconds (--retry_secs). "
          "Start again when the network and the server are well."
        ) from error
    progress.pause(next(delays))
