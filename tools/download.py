# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Fetches shards of YouTube-8M, or any files of a bucket.

  python -m tools.download --features=video --partition=train --shards=1/100
  python -m tools.download --source='gs://us.data.yt8m.org/2/video/train/train00*'

Says first what there is to fetch, and whether the disk has room. A file has its
name only when all of it has arrived, with the CRC32C that its bucket states.
After an end of any kind, start the same command again: it fetches only what is
missing or wrong. The exit code is 0 if all is there, 1 if something is missing.
"""

import base64
import contextlib
import dataclasses
import fnmatch
import functools
import os
import pathlib
import re
import shutil
import threading
import time
import types
from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from multiprocessing.pool import ThreadPool

import program
from program import UserError

import google.auth
import google_crc32c
import requests
import tensorflow as tf
from absl import logging
from google.api_core.exceptions import GoogleAPIError, from_http_response
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from tqdm import tqdm
from urllib3.exceptions import HTTPError

import config
import utils

# Or the library asks for the bucket's metadata beside each file, for traces
# that nobody records.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

# These were never in the buckets.
_LISTS = {
  "vocabulary": "https://research.google.com/youtube8m/csv/2/vocabulary.csv",
  "segment_labels": "https://raw.githubusercontent.com/google/youtube-8m/"
  "master/segment_label_ids.csv",
}
# Seconds to connect, and between two packets.
_TIMEOUTS = (10.0, 30.0)
# Without an answer, there is most likely no network at all.
_LISTING_SECS = 30.0
_CHUNK_BYTES = 2**16
_FAILURES = (GoogleAPIError, GoogleAuthError, OSError, HTTPError)
_ACCESS = (
  "For what is not public, sign in with 'gcloud auth application-default login'"
  " and give --use_credentials; you need the role Storage Object Viewer."
)
_NETWORK = "Check --source and the network (HTTPS_PROXY), or start again later."
_bytes = functools.partial(tqdm.format_sizeof, suffix="B")

_data = functools.partial(config.setting, group="Data")
_output = functools.partial(config.setting, group="Output")
_connection = functools.partial(config.setting, group="Connection")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DownloadSettings:
  """What is fetched, from where and how."""

  source: str | None = _data(
    None,
    "What to fetch, without --features and --partition: gs:// patterns (* is "
    "any characters but /, ** any), or files' web addresses; with commas.",
  )
  version: int = _data(
    2,
    "Release of YouTube-8M: 0 of 2016, 1 of 2017, 2 of 2018, 3 of 2019 (frames "
    "of validate and test, with segment labels).",
    (0, 3),
  )
  features: str | None = _data(
    None,
    "Features of videos, or of their frames; segments: frames with ratings of "
    "segments, which is --version=3. Or a list: vocabulary.csv, the classes' "
    "names; segment_label_ids.csv, the classes of rated segments.",
    choices=("video", "frame", "segments", *_LISTS),
  )
  partition: str | None = _data(
    None, "Part of the data set.", choices=("train", "validate", "test")
  )
  mirror: str = _data(
    "us", "The bucket: near you is fast.", choices=("us", "eu", "asia")
  )
  shards: str | None = _data(
    None,
    "Some of each pattern's files: a fraction, spread evenly, such as 1/100 or "
    "0.01; or a range of numbers from 0 with both ends, such as 0-37.",
  )
  destination: str = _output(".", "Folder for the files.", is_path=True)
  dry_run: bool = _output(False, "Say what there is to fetch, and end.")
  use_credentials: bool = _connection(
    False,
    "Read what is not public, as 'gcloud auth application-default login' or "
    "the file that GOOGLE_APPLICATION_CREDENTIALS names says who you are.",
  )
  num_workers: int = _connection(8, "Files fetched at once.", (1, 64))
  retry_secs: float = _connection(
    300.0, "Seconds without a byte before giving up.", (0.0, float("inf"))
  )


def choose_sources(settings: DownloadSettings) -> list[str]:
  """Patterns and addresses that the settings ask for.

  Raises:
    UserError: they ask for nothing, or contradict each other.
  """
  features, partition = settings.features, settings.partition
  parts = [part.strip() for part in (settings.source or "").split(",")]
  if sources := [part for part in parts if part]:
    if features or partition:
      raise UserError("--source does not go with --features and --partition.")
    return sources
  if features in _LISTS:
    return [_LISTS[features]]
  if not features or not partition:
    raise UserError(
      "Say what to fetch: --features=video --partition=train for instance, or "
      "--source='gs://us.data.yt8m.org/2/video/train/train00*.tfrecord'."
    )
  version = settings.version
  if features == "segments":
    version, features = 3, "frame"
  if version == 3 and partition == "train":
    raise UserError(
      "--partition=train: in the release of 2019 there are validate, whose "
      "segments were rated, and test. Train on a part of validate."
    )
  folder = features if version >= 2 else f"{features}_level"
  return [
    f"gs://{settings.mirror}.data.yt8m.org/{version}/{folder}/"
    f"{partition}/{partition}*.tfrecord"
  ]


def choose_shards(files: Sequence, text: str | None) -> list:
  """The files that --shards asks for.

  A fraction is spread evenly, begins with the first file, and is the same each
  time. 1/50 has all files of 1/100.

  Raises:
    UserError: the text is neither a fraction nor a range.
  """
  if text is None:
    return list(files)
  if match := re.fullmatch(r"(\d+)-(\d+)", text):
    first, last = map(int, match.groups())
    if first <= last:
      return list(files[first : last + 1])
  elif re.fullmatch(r"\d+/0*[1-9]\d*|\d*\.\d+", text):
    part, whole = Fraction(text).as_integer_ratio()
    if 0 < part <= whole:
      return [file for i, file in enumerate(files) if i * part % whole < part]
  raise UserError(
    f"--shards={text!r} is neither a fraction above 0 and up to 1, such as "
    "1/100 or 0.01, nor a range, such as 0-37 for the first 38 shards."
  )


def make_client(use_credentials: bool) -> storage.Client:
  """A client of Cloud Storage for all threads.

  Raises:
    UserError: the user's own credentials are wanted, but there are none.
  """
  client = storage.Client.create_anonymous_client()
  if use_credentials:
    try:
      credentials, _ = google.auth.default()
    except GoogleAuthError as error:
      raise UserError(f"--use_credentials: {error} {_ACCESS}") from error
    # Reading needs no project, but the constructor looks for one.
    client = storage.Client("unused", credentials)
  # A connection for each thread; the library keeps ten.
  adapter = requests.adapters.HTTPAdapter(pool_maxsize=64)
  client._http.mount("https://", adapter)
  return client


def find_blobs(
  client: storage.Client, source: str, shards: str | None
) -> list[storage.Blob]:
  """The files of gs://bucket/pattern, sorted by name; of them, some --shards.

  Raises:
    UserError: nothing is there, or the server does not show it.
  """
  match = re.fullmatch(r"gs://([^/*?\[\]]+)/(.*[^/])", source)
  if not match:
    raise UserError(
      f"--source: {source!r} names no files of a bucket. Write it like "
      "gs://us.data.yt8m.org/2/video/train/train00*.tfrecord."
    )
  bucket, pattern = match.groups()
  listed = client.list_blobs(
    bucket,
    prefix=re.split(r"[*?\[]", pattern)[0],
    fields="items(name,size,crc32c,generation),nextPageToken",
    timeout=_TIMEOUTS,
    retry=DEFAULT_RETRY.with_timeout(_LISTING_SECS),
  )
  # With as many "/" as the pattern, there is none that a wildcard stands for.
  # The console makes empty objects, with "/" at the end, to show folders.
  with _explaining(f"gs://{bucket}"):
    found = [
      blob
      for blob in listed
      if fnmatch.fnmatchcase(blob.name, pattern)
      and ("**" in pattern or blob.name.count("/") == pattern.count("/"))
      and not blob.name.endswith("/")
    ]
  chosen = choose_shards(sorted(found, key=lambda blob: blob.name), shards)
  if not chosen:
    raise UserError(
      f"--source: nothing to fetch, for {len(found):,} files match {source!r}. "
      "A pattern has to match whole names; --shards counts them from 0."
    )
  logging.info(f"{source}: {len(chosen):,} of {_amount(found)}.")
  return chosen


class FetchError(UserError):
  """One file cannot be fetched; others may."""


@contextlib.contextmanager
def _explaining(url: str) -> Iterator[None]:
  """Turns failures into a FetchError: what they mean, and what to do."""
  try:
    yield
  except _FAILURES as error:
    root = error
    while cause := root.__cause__ or root.__context__:
      root = cause
    reason, status = str(root).rstrip(".") or type(root).__name__, None
    # A response is false if it is not OK.
    if (response := getattr(root, "response", None)) is not None:
      status = response.status_code
      reason = f"the server says {status} {response.reason}"
    is_denied = isinstance(error, GoogleAuthError) or status in (401, 403)
    advice = _ACCESS if is_denied else _NETWORK
    raise FetchError(f"{url} cannot be read: {reason}. {advice}") from error


def fetch_web_file(url: str, folder: str, patience_secs: float):
  """Fetches a file of a web server, unless one of its size is there.

  Raises:
    UserError: it cannot be fetched, or not be written.
  """
  path = os.path.join(folder, os.path.basename(url))
  as_it_is = {"Accept-Encoding": "identity"}

  def fetch():
    with requests.get(
      url, headers=as_it_is, timeout=_TIMEOUTS, stream=True
    ) as response:
      if not response.ok:
        raise from_http_response(response)
      size = response.headers.get("Content-Length")
      if utils.exists(path) and str(utils.file_size(path)) == size:
        return
      with utils.replacing(path) as output:
        for data in response.iter_content(_CHUNK_BYTES):
          output.write(data)

  with _explaining(url):
    DEFAULT_RETRY.with_timeout(patience_secs)(fetch)()


class Download:
  """Files of buckets to check, or to fetch to a folder, in several threads.

  It gives up after `patience_secs` without a byte of any file.

  Raises:
    UserError: two files have the same name, or the folder cannot be read.
  """

  def __init__(
    self, blobs: Sequence[storage.Blob], folder: str, patience_secs: float
  ):
    by_name = {}
    for blob in blobs:
      other = by_name.setdefault(os.path.basename(blob.name), blob)
      if _url(other) != _url(blob):
        raise UserError(
          f"--source: {_url(other)} and {_url(blob)} have the same name. Fetch "
          "them one after the other, to two folders (--destination)."
        )
    self._paths = {b: os.path.join(folder, name) for name, b in by_name.items()}
    # With the right size.
    self._present = {
      blob
      for blob, path in self._paths.items()
      if utils.exists(path) and utils.file_size(path) == blob.size
    }
    self._fetched, self._unchanged, self._problems = [], [], []
    self._error: Exception | None = None
    self._folder = folder
    self._patience_secs = patience_secs
    self._num_bytes = 0
    self._last_byte = time.monotonic()
    self._lock = threading.Lock()
    self._ended = threading.Event()

  def show_plan(self):
    """Says what is to be done.

    Raises:
      UserError: the disk has too little room.
    """
    folder = pathlib.Path(self._folder).absolute()
    disk = next(path for path in (folder, *folder.parents) if path.exists())
    free_bytes = shutil.disk_usage(disk).free
    free, missing = _bytes(free_bytes), self._paths.keys() - self._present
    logging.info(
      f"{_amount(missing)}, to fetch to {self._folder!r} ({free} free); "
      f"{_amount(self._present)}, with the right size, to check."
    )
    if (needed := _size(missing)) > free_bytes:
      raise UserError(
        f"--destination={self._folder!r} has {free} free, but {_bytes(needed)} "
        "are to be fetched. Use another disk, or take fewer --shards."
      )

  def run(self, num_workers: int) -> list[FetchError]:
    """Checks and fetches all files; gives why some are missing.

    Raises:
      UserError: nothing more can be written.
    """
    start, total = time.monotonic(), _size(self._paths)
    # Its threads are daemons: one that waits for a network must not keep the
    # program from ending.
    with (
      ThreadPool(num_workers) as pool,
      program.ProgressDisplay("B", total, is_amount=True) as display,
    ):
      end = pool.map_async(
        self._obtain, self._paths, 1, lambda _: self._ended.set()
      )
      interval_secs = 0.5 if display.is_bar else 10.0
      try:
        is_over = False
        while not is_over:
          is_over = self._ended.wait(interval_secs)
          files = f"{len(self._fetched + self._unchanged)}/{len(self._paths)}"
          num_bytes, seconds = self._num_bytes, time.monotonic() - start
          line = tqdm.format_meter(
            num_bytes, total, seconds, 0, unit="B", unit_scale=1, postfix=files
          )
          display.show(num_bytes, line, files=files)
      finally:
        self._ended.set()
        end.wait(2.0)  # What is under way deletes its temporary file.
    if self._error:
      raise self._error
    logging.info(
      f"Fetched {_amount(self._fetched)}, in {time.monotonic() - start:.1f} s; "
      f"{_amount(self._unchanged)}, there before."
    )
    return self._problems

  def _obtain(self, blob: storage.Blob):
    """Checks or fetches a file, and notes how that ended."""
    try:
      if blob in self._present and self._is_undamaged(blob):
        self._unchanged.append(blob)
      else:
        self._fetch(blob)
        self._fetched.append(blob)
    except FetchError as error:
      self._problems.append(error)
    except Exception as error:  # The others need not try.
      self._error = error
      self._ended.set()

  def _is_undamaged(self, blob: storage.Blob) -> bool:
    checksum = google_crc32c.Checksum()
    # What cannot be read is fetched again.
    with contextlib.suppress(tf.errors.OpError):
      with tf.io.gfile.GFile(self._paths[blob], "rb") as local:
        while data := local.read(_CHUNK_BYTES):
          checksum.update(data)
    if is_undamaged := checksum.digest() == base64.b64decode(blob.crc32c):
      self._count(blob.size)
    return is_undamaged

  def _fetch(self, blob: storage.Blob):
    """Fetches a file; it appears whole and checked, or not at all."""
    checksum = google_crc32c.Checksum()
    # A timeout of the library's would count from the start of the file.
    endless = DEFAULT_RETRY.with_timeout(None)
    with _explaining(_url(blob)), utils.replacing(self._paths[blob]) as output:

      def write(data: bytes):
        self._count(len(data))
        checksum.update(data)
        output.write(data)

      blob.download_to_file(
        types.SimpleNamespace(write=write),
        # The bytes that the bucket has, and its checksum is of. After a cut
        # the library checks none.
        raw_download=True,
        checksum=None,
        timeout=_TIMEOUTS,
        retry=functools.partial(endless, on_error=self._check_patience),
      )
      if checksum.digest() != base64.b64decode(blob.crc32c):
        raise FetchError(
          f"{_url(blob)}: what arrived does not match the bucket's checksum "
          "(CRC32C). Start again later, or try another --mirror."
        )

  def _count(self, num_bytes: int):
    if self._ended.is_set():
      raise FetchError("stopped")
    with self._lock:
      self._num_bytes += num_bytes
      self._last_byte = time.monotonic()

  def _check_patience(self, error: Exception):
    """Raises the error, instead of trying again, when it is time to give up."""
    silent_secs = time.monotonic() - self._last_byte
    if self._ended.is_set() or silent_secs > self._patience_secs:
      raise error


def _url(blob: storage.Blob) -> str:
  return f"gs://{blob.bucket.name}/{blob.name}"


def _size(blobs: Collection[storage.Blob]) -> int:
  return sum(blob.size for blob in blobs)


def _amount(blobs: Collection[storage.Blob]) -> str:
  files = "file" if len(blobs) == 1 else "files"
  return f"{len(blobs):,} {files}, {_bytes(_size(blobs))}"


def main() -> int:
  """Fetches the files that the flags name; returns the exit code."""
  settings = config.from_flags(DownloadSettings)
  folder = settings.destination or "."
  if not utils.is_local(folder):
    raise UserError(
      f"--destination={folder!r}: a local folder is needed. 'gcloud storage "
      "cp' copies from bucket to bucket."
    )
  sources = choose_sources(settings)
  choose_shards([], settings.shards)  # A wrong value shows before the network.
  if not settings.dry_run:
    utils.make_writable_folder(folder, "destination")
  client, blobs = make_client(settings.use_credentials), []
  for source in sources:
    if source.startswith(("http://", "https://")):
      logging.info(f"{source}: 1 file of a web server.")
      if not settings.dry_run:
        fetch_web_file(source, folder, settings.retry_secs)
    else:
      blobs += find_blobs(client, source, settings.shards)
  if not blobs:
    return 0
  download = Download(blobs, folder, settings.retry_secs)
  download.show_plan()
  if settings.dry_run:
    return 0
  problems = download.run(settings.num_workers)
  for problem in problems[:10]:
    logging.error(f"Missing: {problem}")
  if problems:
    raise UserError(
      f"Files that could not be fetched: {len(problems):,}, as said above. The "
      "same command fetches what is missing."
    )
  return 0


def run():
  """Starts the program."""
  program.run(main, lambda: config.define_flags(DownloadSettings))


if __name__ == "__main__":
  run()
