# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Fetches shards of YouTube-8M, or any files of a bucket.

  python -m tools.download --features=video --partition=train --shards=1/100
  python -m tools.download --source='gs://us.data.yt8m.org/2/video/train/train00*'

Says first what there is to fetch, and whether the disk has room. A file has its
name only when all of it has arrived and its checksum is right. After an end of
any kind, start the same command again: it fetches only what is missing or
wrong. The exit code is 0 if all is there, 1 if something is missing.
"""

import contextlib
import dataclasses
import datetime
import functools
import os
import queue
import re
import shutil
import threading
import time
from collections.abc import Container, Iterator, Sequence
from fractions import Fraction

import program
from program import UserError

from absl import logging

import config
import utils
from tools import remote_files
from tools.remote_files import Connection, FetchError, Progress, RemoteFile

_MIRRORS = ("us", "eu", "asia")
# The folders in the buckets, by version.
_FOLDERS = {
  0: {"video": "video_level", "frame": "frame_level"},
  1: {"video": "video_level", "frame": "frame_level"},
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
_PREFIXES = "kMGT"
_SHOW_EVERY_SECS = 0.5
_LOG_EVERY_SECS = 10.0
# How long what is under way may take to notice the end.
_GRACE_SECS = 2.0
_SHOWN_PROBLEMS = 10


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


def parse_shards(text: str | None) -> Fraction | slice | None:
  """What --shards asks for; None for all.

  Args:
    text: a fraction, "1/100" or "0.01", or the first and the last number of a
      range, "0-37", counted from 0.

  Raises:
    UserError: it is neither.
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
  power = 1
  while num_bytes >= 1000 ** (power + 1) and power < len(_PREFIXES):
    power += 1
  return f"{num_bytes / 1000**power:,.1f} {_PREFIXES[power - 1]}B"


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


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What became of a file.

  Attributes:
    file: which one.
    is_new: whether it was fetched; otherwise it was there, or is missing.
    problem: why it is missing, or None.
  """

  file: RemoteFile
  is_new: bool = False
  problem: FetchError | None = None


class Workers:
  """Threads that fetch files.

  Args:
    plan: what to do.
    credentials: see `Connection`.
    num_workers: number of threads.
    retry_secs: how long to try again without getting a byte.

  Attributes:
    progress: how far they have come.
  """

  def __init__(self, plan: Plan, credentials, num_workers, retry_secs):
    self._plan = plan
    self._credentials = credentials
    self._retry_secs = retry_secs
    self._outcomes: queue.Queue[Outcome | Exception] = queue.Queue()
    self._files: queue.SimpleQueue[RemoteFile] = queue.SimpleQueue()
    for file in plan.paths:
      self._files.put(file)
    self.progress = Progress()
    # A thread that waits for a network must not keep the program from ending.
    self._threads = [
      threading.Thread(target=self._work, daemon=True)
      for _ in range(min(num_workers, len(plan.paths)))
    ]

  def __enter__(self):
    for thread in self._threads:
      thread.start()
    return self

  def __exit__(self, *unused_error):
    self.progress.stop()
    end = time.monotonic() + _GRACE_SECS
    for thread in self._threads:
      thread.join(max(0.0, end - time.monotonic()))

  def outcomes(self) -> Iterator[Outcome | None]:
    """An outcome for each file; None now and then, while none has come.

    Raises:
      UserError: nothing more can be written.
    """
    num_left = len(self._plan.paths)
    while num_left:
      try:
        outcome = self._outcomes.get(timeout=_SHOW_EVERY_SECS)
      except queue.Empty:
        yield None
        continue
      if isinstance(outcome, Exception):
        raise outcome
      num_left -= 1
      yield outcome

  def _work(self):
    try:
      with contextlib.closing(Connection(self._credentials)) as connection:
        while True:
          file = self._files.get_nowait()
          self._outcomes.put(self._obtain(connection, file))
    except (queue.Empty, remote_files.Stopped):
      pass
    except Exception as error:  # The others need not try.
      self._outcomes.put(error)

  def _obtain(self, connection: Connection, file: RemoteFile) -> Outcome:
    path, progress = self._plan.paths[file], self.progress
    try:
      if file in self._plan.present:
        if remote_files.is_complete(file, path, progress):
          return Outcome(file)
      remote_files.fetch(connection, file, path, progress, self._retry_secs)
      return Outcome(file, is_new=True)
    except FetchError as error:
      return Outcome(file, problem=error)


class _Display:
  """Shows how far the workers have come."""

  def __init__(self, plan: Plan):
    self._plan = plan
    self._start = self._last_log = time.monotonic()
    self._display = program.ProgressDisplay("B", plan.num_bytes, is_amount=True)

  def __enter__(self):
    return self

  def __exit__(self, *unused_error):
    self._display.close()

  def show(self, num_files: int, num_bytes: int):
    """Shows the files that are done and the bytes that came."""
    now = time.monotonic()
    if self._display.is_bar or now - self._last_log >= _LOG_EVERY_SECS:
      self._last_log = now
      line = self._line(num_files, num_bytes, now - self._start)
      files = f"{num_files}/{len(self._plan.paths)}"
      self._display.show(num_bytes, line, files=files)

  def _line(self, num_files: int, num_bytes: int, seconds: float) -> str:
    total, speed = self._plan.num_bytes, num_bytes / seconds
    left = max(0, total - num_bytes) / speed if num_bytes > 0 else None
    left = "?" if left is None else datetime.timedelta(seconds=int(left))
    return (
      f"{num_files:,} of {_number(len(self._plan.paths))} | "
      f"{format_bytes(num_bytes)} of {format_bytes(total)} | "
      f"{format_bytes(speed)}/s | {left} left"
    )


def obtain(plan: Plan, credentials, num_workers: int, retry_secs: float) -> int:
  """Checks and fetches all files of a plan; the number that are missing.

  Raises:
    UserError: nothing more can be written.
  """
  began = time.monotonic()
  done, problems = [], []
  with (
    Workers(plan, credentials, num_workers, retry_secs) as workers,
    _Display(plan) as display,
  ):
    for outcome in workers.outcomes():
      if outcome:
        (problems if outcome.problem else done).append(outcome)
      display.show(len(done), workers.progress.num_bytes)
  _show_results(done, problems, time.monotonic() - began)
  return len(problems)


def _show_results(
  done: Sequence[Outcome], problems: Sequence[Outcome], seconds: float
):
  new = [outcome.file for outcome in done if outcome.is_new]
  num_bytes = _num_bytes(new)
  logging.info(
    "Fetched %s, %s, in %.1f s (%s/s); %s there before.",
    _number(len(new)),
    format_bytes(num_bytes),
    seconds,
    format_bytes(num_bytes / seconds),
    _number(len(done) - len(new)),
  )
  for outcome in problems[:_SHOWN_PROBLEMS]:
    logging.error("Missing: %s", outcome.problem)
  if len(problems) > _SHOWN_PROBLEMS:
    logging.error("Missing: %d more.", len(problems) - _SHOWN_PROBLEMS)


def find_files(
  connection: Connection,
  sources: Sequence[str],
  settings: DownloadSettings,
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
    credentials = remote_files.load_credentials()
  with contextlib.closing(Connection(credentials)) as connection:
    files = find_files(connection, sources, settings)
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
