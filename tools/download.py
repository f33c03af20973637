# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Fetches shards of YouTube-8M, or any files of a bucket.

  python -m tools.download --features=video --partition=train --shards=1/100
  python -m tools.download --source='gs://us.data.yt8m.org/2/video/train/train00*'

Says first what there is to fetch, and whether the disk has room. A file has its
name only when all of it has arrived, with the size and the CRC32C that its
bucket states. After an end of any kind, start the same command again: it
fetches only what is missing or wrong. The exit code is 0 if all is there, 1 if
something is missing.
"""

import base64
import dataclasses
import datetime
import functools
import os
import queue
import re
import shutil
import threading
import time
from collections.abc import Container, Sequence
from fractions import Fraction

import program
from program import UserError

import google.auth
import google_crc32c
import requests
import tensorflow as tf
from absl import logging
from google.api_core.exceptions import GoogleAPIError, RetryError
from google.api_core.retry import Retry
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from urllib3.exceptions import HTTPError

import config
import utils

# Or the library asks for the bucket's metadata beside each file, for traces
# that nobody records.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

_MIRRORS = ("us", "eu", "asia")
# The folders in the buckets, by version.
_FOLDERS = {
  **dict.fromkeys((0, 1), {"video": "video_level", "frame": "frame_level"}),
  2: {"video": "video", "frame": "frame"},
  3: {"frame": "frame"},
}
_PARTITIONS = ("train", "validate", "test")
# These were never in the buckets.
_LISTS = {
  "vocabulary": "https://research.google.com/youtube8m/csv/2/vocabulary.csv",
  "segment_labels": "https://raw.githubusercontent.com/google/youtube-8m/"
  "master/segment_label_ids.csv",
}
_SHOW_EVERY_SECS = 0.5
_LOG_EVERY_SECS = 10.0
# How long what is under way may take to notice the end.
_GRACE_SECS = 2.0
_SHOWN_PROBLEMS = 10
_READ_ONLY = "https://www.googleapis.com/auth/devstorage.read_only"
# Seconds to connect, and between two packets.
_TIMEOUTS = (10.0, 30.0)
# The first and the longest wait between two attempts.
_DELAYS_SECS = (1.0, 30.0)
# Without an answer, there is most likely no network at all.
_LISTING_SECS = 30.0
_LISTED = "items(name,size,crc32c,generation),nextPageToken"
_CHUNK_BYTES = 2**20
# Of a chunk that a cut connection ends, nothing is kept.
_WEB_CHUNK_BYTES = 2**14
# A second time for what was damaged on its way.
_ATTEMPTS = 2
_FAILURES = (GoogleAPIError, GoogleAuthError, OSError, HTTPError)
_BUSY = frozenset((408, 429, 500, 502, 503, 504))
_WILDCARDS = {"**": ".*", "*": "[^/]*", "?": "[^/]"}


_data = functools.partial(config.setting, group="Data")
_output = functools.partial(config.setting, group="Output")
_connection = functools.partial(config.setting, group="Connection")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DownloadSettings:
  """What is fetched, from where and how."""

  source: str | None = _data(
    None,
    "What to fetch: gs:// patterns, in which * stands for any characters but /"
    ", and ** for any; or addresses of files on web servers. Separated by "
    "commas. Instead of --features and --partition.",
  )
  version: int = _data(
    2,
    "Release of YouTube-8M: 0 of 2016, 1 of 2017, 2 of 2018, 3 of 2019 (frames "
    "of validate and test, with segment labels).",
    (0, 3),
  )
  features: str | None = _data(
    None,
    "Features of videos, or of their frames. Or a list: vocabulary.csv, the "
    "classes' names; segment_label_ids.csv, the classes of rated segments.",
    choices=("video", "frame", *_LISTS),
  )
  partition: str | None = _data(
    None, "Part of the data set.", choices=_PARTITIONS
  )
  mirror: str = _data(
    "us", "Where the bucket is: near you is fast.", choices=_MIRRORS
  )
  shards: str | None = _data(
    None,
    "Take only some: a fraction, spread evenly and the same each time, such as "
    "1/100 or 0.01; or a range of numbers from 0 that includes both ends, such "
    "as 0-37. Of each pattern, its files are counted by name. All when not "
    "given.",
  )
  destination: str = _output(
    ".",
    "Folder for the files, made if it is missing.",
    is_path=True,
  )
  dry_run: bool = _output(False, "Say what there is to fetch, and end.")
  use_credentials: bool = _connection(
    False,
    "Read with your own Google credentials, for buckets that are not public: "
    "those of 'gcloud auth application-default login', or of the file that "
    "GOOGLE_APPLICATION_CREDENTIALS names.",
  )
  num_workers: int = _connection(8, "Files fetched at the same time.", (1, 64))
  retry_secs: float = _connection(
    300.0,
    "Seconds without a byte, because of the network or of a busy server, after "
    "which a file is given up.",
    (0.0, float("inf")),
  )


def choose_sources(settings: DownloadSettings, given: Container[str]):
  """Patterns and addresses that the settings ask for.

  Args:
    settings: the settings.
    given: names of those that were typed.

  Raises:
    UserError: they ask for nothing, or contradict each other.
  """
  if settings.source is None:
    return [_published_source(settings)]
  for name in ("version", "features", "partition", "mirror"):
    if name in given:
      raise UserError(
        f"--source says all of where the files are; leave --{name} out."
      )
  parts = [part.strip() for part in settings.source.split(",")]
  sources = [part for part in parts if part]
  if not sources:
    raise UserError(
      "--source is empty. Give a pattern, for instance "
      "--source='gs://us.data.yt8m.org/2/video/train/train00*.tfrecord'."
    )
  return sources


def _published_source(settings: DownloadSettings) -> str:
  """Where the publishers have the files that --features and others name."""
  features, partition = settings.features, settings.partition
  version = settings.version
  if features is None:
    raise UserError(
      "Say what to fetch: --features=video --partition=train for instance, or "
      "--source=gs://... for files of any bucket."
    )
  if features in _LISTS:
    if version < 2:
      raise UserError(f"--version={version} has no --features={features}.")
    return _LISTS[features]
  if partition is None:
    raise UserError(
      f"--features={features} needs --partition: {', '.join(_PARTITIONS)}."
    )
  folder = _FOLDERS[version].get(features)
  if version == 3 and (not folder or partition == "train"):
    raise UserError(
      "--version=3 has only --features=frame, with --partition=validate or "
      "test. Its training data are those of --version=2."
    )
  return (
    f"gs://{settings.mirror}.data.yt8m.org/{version}/{folder}/{partition}/"
    f"{partition}*.tfrecord"
  )


class FetchError(UserError):
  """One file cannot be fetched; others may."""


class _DamagedError(Exception):
  """The bytes that arrived are not those of the bucket."""


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


def parse_shards(text: str | None) -> Fraction | slice | None:
  """What --shards asks for; None for all.

  Raises:
    UserError: it is neither a fraction nor a range.
  """
  if text is None:
    return None
  if match := re.fullmatch(r"(\d+)-(\d+)", text):
    first, last = map(int, match.groups())
    if first <= last:
      return slice(first, last + 1)
  elif re.fullmatch(r"\d+/0*[1-9]\d*|\d*\.\d+", text):
    fraction = Fraction(text)
    if 0 < fraction <= 1:
      return fraction
  raise UserError(
    f"--shards={text!r} is neither a fraction above 0 and up to 1, such as "
    "1/100 or 0.01, nor a range, such as 0-37 for the first 38 shards."
  )


def choose_shards(
  files: Sequence[RemoteFile], shards: Fraction | slice | None
) -> list[RemoteFile]:
  """The files that `parse_shards` stands for.

  A fraction is spread evenly, begins with the first file, and is the same each
  time. 1/50 has all files of 1/100.
  """
  if shards is None:
    return list(files)
  if isinstance(shards, slice):
    return list(files[shards])
  part, whole = shards.numerator, shards.denominator
  return [file for i, file in enumerate(files) if i * part % whole < part]


@dataclasses.dataclass(frozen=True)
class Plan:
  """What is to be done.

  Attributes:
    paths: a local path for each file.
    present: files that are there with the right size, and are to be checked.
  """

  paths: dict[RemoteFile, str]
  present: frozenset[RemoteFile]

  @property
  def num_bytes(self) -> int:
    """Bytes of all files, as far as they are known."""
    return _num_bytes(self.paths)

  @property
  def missing(self) -> list[RemoteFile]:
    """Files to fetch in any case."""
    return [file for file in self.paths if file not in self.present]


def make_plan(files: Sequence[RemoteFile], destination: str) -> Plan:
  """Compares what is wanted with what is there.

  Raises:
    UserError: two files have the same name, or the folder cannot be read.
  """
  there = set(utils.list_folder(destination))
  by_name, paths, present = {}, {}, set()
  for file in dict.fromkeys(files):
    other = by_name.setdefault(file.name, file)
    if other is not file:
      raise UserError(
        f"--source: {other.url} and {file.url} have the same name. Fetch them "
        "one after the other, to two folders (--destination)."
      )
    paths[file] = os.path.join(destination, file.name)
    if file.name in there and utils.file_size(paths[file]) == file.size:
      present.add(file)
  return Plan(paths, frozenset(present))


def _num_bytes(files) -> int:
  return sum(file.size or 0 for file in files)


def format_bytes(num_bytes: float) -> str:
  """A number of bytes for people: 18 kB are 18,000 bytes."""
  if num_bytes < 1000:
    return f"{num_bytes:.0f} bytes"
  power = min(4, (len(f"{num_bytes:.0f}") - 1) // 3)
  return f"{num_bytes / 1000**power:,.1f} {' kMGT'[power]}B"


def show_plan(plan: Plan, destination: str, free_bytes: int):
  """Says what is to be done."""
  missing = plan.missing
  logging.info(
    "%s to fetch, %s, to %r (%s free).",
    _number(len(missing)),
    format_bytes(_num_bytes(missing)),
    destination,
    format_bytes(free_bytes),
  )
  if plan.present:
    logging.info(
      "%s with the right size, %s, to check.",
      _number(len(plan.present)),
      format_bytes(_num_bytes(plan.present)),
    )


def _number(num_files: int) -> str:
  return f"{num_files:,} file{'' if num_files == 1 else 's'}"


class Progress:
  """What the threads have done so far, and whether they should go on.

  Attributes:
    num_bytes: bytes that arrived or were checked.
    last_change: when that grew, by `time.monotonic`.
    fetched: files that arrived.
    unchanged: files that were there.
    problems: why each of the other files is missing.
    error: why nothing more can be written, or None.
    ended: released by each thread at its end.
  """

  def __init__(self):
    self._lock = threading.Lock()
    self._is_stopped = False
    self.num_bytes = 0
    self.last_change = time.monotonic()
    self.fetched: list[RemoteFile] = []
    self.unchanged: list[RemoteFile] = []
    self.problems: list[FetchError] = []
    self.error: Exception | None = None
    self.ended = threading.Semaphore(0)

  @property
  def num_done(self) -> int:
    """Files that are there now."""
    return len(self.fetched) + len(self.unchanged)

  def add(self, num_bytes: int):
    """Counts bytes; negative ones are to come again.

    Raises:
      Stopped: `stop` was called.
    """
    if self._is_stopped:
      raise Stopped
    with self._lock:
      self.num_bytes += num_bytes
      if num_bytes > 0:
        self.last_change = time.monotonic()

  def stop(self):
    """Ends the threads at their next byte or error."""
    self._is_stopped = True


class _Sink:
  """Takes the bytes of one file, in order, and decides how long to wait.

  Its methods raise `Stopped` as `Progress.add` does.
  """

  def __init__(self, output, progress: Progress, patience_secs: float):
    self._output = output
    self._progress = progress
    self._checksum = google_crc32c.Checksum()
    self._last_byte = time.monotonic()
    self.patience_secs = patience_secs
    self.num_bytes = 0

  def write(self, data: bytes):
    self._progress.add(len(data))
    self.num_bytes += len(data)
    self._checksum.update(data)
    self._output.write(data)
    self._last_byte = time.monotonic()

  def is_worth_waiting(self, error: Exception) -> bool:
    """Whether to read on after an error. All time without a byte counts."""
    # Where no file gets a byte, not each of them needs all the patience.
    last_byte = min(self._last_byte, self._progress.last_change)
    silent_secs = time.monotonic() - last_byte
    self._progress.add(0)  # The time to notice that all are to stop.
    return silent_secs <= self.patience_secs and _is_passing(error)

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
    self._session.headers["Accept-Encoding"] = "identity"

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
    is_match = _compile(pattern, source).fullmatch
    blobs = self._client.list_blobs(
      bucket,
      prefix=re.split(r"[*?\[]", pattern)[0],
      fields=_LISTED,
      timeout=_TIMEOUTS,
      retry=DEFAULT_RETRY.with_timeout(min(patience_secs, _LISTING_SECS)),
    )
    try:
      files = [
        _of_blob(blob)
        for blob in blobs
        # The console makes empty objects to show folders.
        if is_match(blob.name) and not blob.name.endswith("/")
      ]
    except _FAILURES as error:
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
        url, allow_redirects=True, timeout=_TIMEOUTS
      )
    except _FAILURES as error:
      raise UserError(self._explain(error, url)) from error
    size = response.headers.get("Content-Length")
    if not response.ok or size is None:
      return RemoteFile(url)  # Fetching it will say what is wrong, if anything.
    return RemoteFile(url, int(size))

  def read(self, file: RemoteFile, sink: _Sink):
    """Reads a file to its end, going on where connections are cut.

    Raises:
      FetchError: it cannot be read.
    """
    # A timeout of `Retry` would count from the start of the file.
    retry = Retry(sink.is_worth_waiting, *_DELAYS_SECS, timeout=None)
    try:
      if file.url.startswith("gs://"):
        self._read_blob(file, sink, retry)
      else:
        retry(self._read_web_file)(file.url, sink)
    except _FAILURES as error:
      if not _is_passing(error):
        raise FetchError(self._explain(error, file.url)) from error
      raise FetchError(
        f"{file.url}: {_root_text(error)}, for {sink.patience_secs:g} seconds "
        "(--retry_secs). Start again when the network and the server are well."
      ) from error

  def _read_blob(self, file: RemoteFile, sink: _Sink, retry: Retry):
    bucket, name = _split(file.url)
    blob = self._client.bucket(bucket).blob(name, generation=file.generation)
    blob.download_to_file(
      sink,
      # The bytes that the bucket has, and its checksum is of. After a cut the
      # library checks none, so the sink does.
      raw_download=True,
      checksum=None,
      timeout=_TIMEOUTS,
      retry=retry,
    )

  def _read_web_file(self, url: str, sink: _Sink):
    headers, expected = {}, 200
    if sink.num_bytes:
      headers, expected = {"Range": f"bytes={sink.num_bytes}-"}, 206
    with self._session.get(
      url, headers=headers, timeout=_TIMEOUTS, stream=True
    ) as response:
      if response.status_code in _BUSY:
        response.raise_for_status()
      if response.status_code != expected:
        raise FetchError(f"{url}: {_status_text(response)}.")
      for chunk in response.iter_content(_WEB_CHUNK_BYTES):
        sink.write(chunk)

  def _explain(self, error: Exception, url: str) -> str:
    """What an error means, and what to do about it."""
    if _is_passing(error):
      return (
        f"{url} cannot be reached: {_root_text(error)}. Check the network, and "
        "HTTPS_PROXY if there is a proxy; start again later if the server is "
        "busy."
      )
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


def _is_passing(error: Exception) -> bool:
  """Whether an error may be gone in a moment: of the network, a busy server."""
  response = getattr(error, "response", None)
  if response is not None:
    return response.status_code in _BUSY
  return isinstance(error, (RetryError, TransportError, OSError, HTTPError))


def _root_text(error: BaseException) -> str:
  """The first cause's message, in one line, without the name of its class."""
  while cause := error.__cause__ or error.__context__:
    error = cause
  response = getattr(error, "response", None)
  if response is not None:
    return _status_text(response)
  text = " ".join(str(error).split()) or type(error).__name__
  return re.sub(r"^<[^>]*>: |^\w+\([^)]*\): ", "", text).rstrip(".")


def _status_text(response: requests.Response) -> str:
  return f"the server says {response.status_code} {response.reason}"


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
  url = f"gs://{blob.bucket.name}/{blob.name}"
  return RemoteFile(url, blob.size, blob.crc32c, blob.generation)


def _is_undamaged(file: RemoteFile, path: str, progress: Progress) -> bool:
  """Whether a local file of the right size has the checksum of a remote one."""
  if file.crc32c is None:
    progress.add(file.size)
    return True
  checksum = google_crc32c.Checksum()
  try:
    with tf.io.gfile.GFile(path, "rb") as local:
      while data := local.read(_CHUNK_BYTES):
        checksum.update(data)
        progress.add(len(data))
  except (tf.errors.OpError, OSError) as error:
    raise UserError(
      f"{path!r} cannot be read: {utils.error_text(error)}"
    ) from error
  if _encode(checksum) == file.crc32c:
    return True
  progress.add(-file.size)
  return False


def fetch(
  connection: Connection,
  file: RemoteFile,
  path: str,
  progress: Progress,
  patience_secs: float,
):
  """Fetches a file; it appears whole and checked, or not at all.

  Raises:
    FetchError: it cannot be fetched.
    UserError: it cannot be written.
    Stopped: `progress.stop` was called.
  """
  for attempt in range(1, _ATTEMPTS + 1):
    try:
      with utils.replacing(path) as output:
        sink = _Sink(output, progress, patience_secs)
        connection.read(file, sink)
        sink.check(file)
      return
    except (FetchError, _DamagedError) as error:
      progress.add(-sink.num_bytes)
      if isinstance(error, FetchError):
        raise
      if attempt == _ATTEMPTS:
        raise FetchError(
          f"{file.url}: {error}, {_ATTEMPTS} times. Start again later, or try "
          "another --mirror."
        ) from error


def _work(
  plan: Plan,
  files: queue.SimpleQueue[RemoteFile],
  credentials,
  progress: Progress,
  patience_secs: float,
):
  """Checks and fetches files until none is left: the work of one thread."""
  connection = Connection(credentials)
  try:
    while True:
      file = files.get_nowait()
      path = plan.paths[file]
      if file in plan.present and _is_undamaged(file, path, progress):
        progress.unchanged.append(file)
        continue
      try:
        fetch(connection, file, path, progress, patience_secs)
        progress.fetched.append(file)
      except FetchError as error:
        progress.problems.append(error)
  except (queue.Empty, Stopped):
    pass
  except Exception as error:  # The others need not try.
    progress.error = error
  finally:
    progress.ended.release()


def progress_line(
  plan: Plan, num_files: int, num_bytes: int, seconds: float
) -> str:
  """A log line with the files that are done and the bytes that came."""
  speed = num_bytes / seconds
  left = "?"
  if num_bytes > 0:
    num_left = max(0, plan.num_bytes - num_bytes)
    left = datetime.timedelta(seconds=int(num_left / speed))
  return (
    f"{num_files:,} of {_number(len(plan.paths))} | "
    f"{format_bytes(num_bytes)} of {format_bytes(plan.num_bytes)} | "
    f"{format_bytes(speed)}/s | {left} left"
  )


def obtain(
  plan: Plan, credentials, num_workers: int, patience_secs: float
) -> int:
  """Checks and fetches all files of a plan; the number that are missing.

  Raises:
    UserError: nothing more can be written.
  """
  start, progress, files = time.monotonic(), Progress(), queue.SimpleQueue()
  for file in plan.paths:
    files.put(file)
  # A thread that waits for a network must not keep the program from ending.
  threads = [
    threading.Thread(
      target=_work,
      args=(plan, files, credentials, progress, patience_secs),
      daemon=True,
    )
    for _ in range(min(num_workers, len(plan.paths)))
  ]
  try:
    for thread in threads:
      thread.start()
    _wait(len(threads), plan, progress)
  finally:
    progress.stop()
    end = time.monotonic() + _GRACE_SECS
    for thread in threads:
      thread.join(max(0.0, end - time.monotonic()))
  _show_results(progress, time.monotonic() - start)
  return len(progress.problems)


def _wait(num_threads: int, plan: Plan, progress: Progress):
  """Shows how far the threads are until they have ended or one has failed."""
  start = last_log = time.monotonic()
  with program.ProgressDisplay("B", plan.num_bytes, is_amount=True) as display:
    while num_threads:
      # A signal in `Thread.join` would make a thread seem to have ended.
      num_threads -= progress.ended.acquire(timeout=_SHOW_EVERY_SECS)
      if progress.error:
        raise progress.error
      now = time.monotonic()
      if display.is_bar or now - last_log >= _LOG_EVERY_SECS:
        last_log = now
        num_files, num_bytes = progress.num_done, progress.num_bytes
        line = progress_line(plan, num_files, num_bytes, now - start)
        files = f"{num_files}/{len(plan.paths)}"
        display.show(num_bytes, line, files=files)


def _show_results(progress: Progress, seconds: float):
  num_bytes = _num_bytes(progress.fetched)
  logging.info(
    "Fetched %s, %s, in %.1f s (%s/s); %s there before.",
    _number(len(progress.fetched)),
    format_bytes(num_bytes),
    seconds,
    format_bytes(num_bytes / seconds),
    _number(len(progress.unchanged)),
  )
  for problem in progress.problems[:_SHOWN_PROBLEMS]:
    logging.error("Missing: %s", problem)
  if len(progress.problems) > _SHOWN_PROBLEMS:
    logging.error("Missing: %d more.", len(progress.problems) - _SHOWN_PROBLEMS)


def find_files(
  connection: Connection, sources: Sequence[str], settings: DownloadSettings
) -> list[RemoteFile]:
  """The files of all patterns; of each, those that --shards asks for.

  Raises:
    UserError: see `Connection.find`; or nothing is chosen.
  """
  files, shards = [], parse_shards(settings.shards)
  for source in sources:
    found = connection.find(source, settings.retry_secs)
    chosen = choose_shards(found, shards)
    if not chosen:
      raise UserError(
        f"--shards={settings.shards}: {source} has only {_number(len(found))}, "
        "whose numbers begin with 0."
      )
    logging.info("%s: %d of %s.", source, len(chosen), _number(len(found)))
    files += chosen
  return files


def check_space(plan: Plan, destination: str, free_bytes: int):
  """Raises a UserError if the disk is too small for what is missing."""
  needed = _num_bytes(plan.missing)
  if needed > free_bytes:
    raise UserError(
      f"--destination={destination!r} has {format_bytes(free_bytes)} free, but "
      f"{format_bytes(needed)} are to be fetched. Use another disk, or take "
      "fewer --shards."
    )


def find_free_bytes(folder: str) -> int:
  """Free bytes of the disk on which a folder is, or would be made."""
  folder = os.path.abspath(folder)
  while not utils.exists(folder):
    folder = os.path.dirname(folder)
  return shutil.disk_usage(folder).free


def define_flags():
  """Defines the program's flags."""
  config.define_flags(DownloadSettings)


def main() -> int:
  """Fetches the files that the flags name; returns the exit code."""
  settings = config.from_flags(DownloadSettings)
  destination = settings.destination or "."
  if not utils.is_local(destination):
    raise UserError(
      f"--destination={destination!r}: a local folder is needed. 'gcloud "
      "storage cp' copies from bucket to bucket."
    )
  sources = choose_sources(settings, config.given_values(DownloadSettings))
  parse_shards(settings.shards)  # A wrong value shows before the network.
  if not settings.dry_run:
    utils.make_writable_folder(destination, "destination")
  credentials = None
  if settings.use_credentials:
    credentials = load_credentials()
  files = find_files(Connection(credentials), sources, settings)
  plan = make_plan(files, destination)
  free_bytes = find_free_bytes(destination)
  show_plan(plan, destination, free_bytes)
  check_space(plan, destination, free_bytes)
  if settings.dry_run:
    return 0
  num_missing = obtain(
    plan, credentials, settings.num_workers, settings.retry_secs
  )
  if num_missing:
    raise UserError(
      f"{_number(num_missing)} of {len(plan.paths):,} could not be fetched, as "
      "said above. The same command fetches what is missing."
    )
  return 0


def run():
  """Starts the program."""
  program.run(main, define_flags)


if __name__ == "__main__":
  run()
