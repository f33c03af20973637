# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
r"""Checks every record of TFRecord shards, and says what they hold.

  python -m tools.verify_shards '/path/to/train*.tfrecord' \
    --output_json=report.json

Takes any number of patterns and files. What a reader would refuse is a problem:
a shard that is cut or damaged; a record of another layout than the first one,
without id, or with features or labels that cannot be used. The exit code is 0
if there is no problem, 1 if there is one, 2 if a flag is wrong.

Blocks of records go through the reader's own `decode`; the reader's
`describe_problem` says what is wrong with those that it marks as bad.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib
import json
import multiprocessing
import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

import program
from program import UserError

import numpy as np
import tensorflow as tf
from absl import logging

import bad_records
import config
import devices
import experiment
import readers
import shard_files
import utils
from records import ID_KEYS, Problem, find_video_id

# Problems of each cause that are listed; all are counted.
MAX_LISTED = 1000
# A record's place is one number: shard index * SHARD + record number.
SHARD = 2**32
# Shards whose first records are looked at for labels.
_LABEL_SHARDS = 16

# Largest block of records; larger ones are not decoded faster. The labels of a
# block are one array of all classes.
_BLOCK_RECORDS = 256
_BLOCK_BYTES = 8 * 2**20
_BLOCK_LABELS = 2**22
_NUM_HASHES = 2**63 - 1
# Shown characters of an id or a detail, which are as long as a record likes.
_MOST_CHARACTERS = 500

# A worker takes seconds to start, in which another one checks about this much.
_BYTES_PER_WORKER = 2**29
_MOST_WORKERS = 16
# Small shards are checked together: what one costs beside its records adds up.
_GROUP_BYTES, _GROUP_SHARDS = 2**24, 256
_SHOW_EVERY_SECS = 2.0
_COLUMNS, _NAME_COLUMNS = 100, 25
_SHOWN_DIALECTS = 8

_data = functools.partial(config.setting, group="Data")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifySettings:
  """How the program is run."""

  num_classes: int = _data(
    config.ExperimentConfig.num_classes,
    "Number of classes; labels are in [0, num_classes).",
    (1, 10_000_000),
  )
  feature_names: tuple[str, ...] = _data(
    (),
    "Features to check, separated by commas. Found from the data when not "
    "given.",
    has_flag_default=False,
  )
  labels: bool | None = _data(
    None,
    "Whether every record needs labels, as for train.py; with --nolabels they "
    "are not looked at, as by inference.py. When not given, they are needed if "
    "the first records of a shard have them.",
  )
  output_json: str | None = config.setting(
    None,
    "File for the results, and for a list of the problems; local or gs://. "
    "Without it, none is written.",
    group="Output",
    is_path=True,
  )
  num_workers: int | None = config.setting(
    None,
    "Processes that check shards at the same time; 1 starts no process. Found "
    "from the machine and the size of the shards when not given.",
    (1, 1024),
    group="Machine",
  )

  def __post_init__(self):
    config.check(self)


class Dialect(NamedTuple):
  """How a record is laid out.

  Attributes:
    level: "frame" or "video".
    id_key: the key of the video's id.
    features: name and size of each feature.
  """

  level: str
  id_key: str
  features: tuple[tuple[str, int], ...]

  @classmethod
  def of(cls, schema: readers.Schema) -> "Dialect":
    """The dialect of a record with this schema."""
    level = "frame" if schema.frame_features else "video"
    features = zip(schema.feature_names, schema.feature_sizes, strict=True)
    return cls(level, schema.id_key, tuple(features))


class Finding(NamedTuple):
  """A problem and the place of the record that has it."""

  place: int
  video_id: str | None
  detail: str


def _counter_field():
  return dataclasses.field(default_factory=collections.Counter)


@dataclasses.dataclass
class Report:
  """What was found in some shards, which are known by their indices.

  Attributes:
    num_shards: number of shards.
    num_records: number of records that can be read.
    num_bytes: size of the files.
    num_lost_bytes: bytes of them that are of no use.
    counts: (cause, shard) -> number of problems.
    findings: cause -> problems, no more than `MAX_LISTED`.
    dialects: (dialect, shard) -> number of records.
    places: arrays [N] int64, places of the records of sound videos.
    id_hashes: arrays [N] int64, hashes of their ids: ids would take gigabytes.
    num_frames: number of frames -> sound videos that have so many.
    num_labels: number of labels -> sound videos that have so many.
    labels: all labels that a sound video has.
    start: time when it was begun; the processes of a machine have one clock.
    end: time when it was done.
  """

  num_shards: int = 0
  num_records: int = 0
  num_bytes: int = 0
  num_lost_bytes: int = 0
  counts: collections.Counter[tuple[str, int]] = _counter_field()
  findings: dict[str, list[Finding]] = dataclasses.field(default_factory=dict)
  dialects: collections.Counter[tuple[Dialect, int]] = _counter_field()
  places: list[np.ndarray] = dataclasses.field(default_factory=list)
  id_hashes: list[np.ndarray] = dataclasses.field(default_factory=list)
  num_frames: collections.Counter[int] = _counter_field()
  num_labels: collections.Counter[int] = _counter_field()
  labels: set[int] = dataclasses.field(default_factory=set)
  start: float = float("inf")
  end: float = 0.0

  @property
  def num_videos(self) -> int:
    """Number of the sound videos."""
    return sum(map(len, self.places))

  def add_problem(self, place: int, video_id: str | None, problem: Problem):
    """Counts a problem, and lists it unless there are many of its kind."""
    self.counts[problem.cause, place // SHARD] += 1
    findings = self.findings.setdefault(problem.cause, [])
    if len(findings) < MAX_LISTED:
      shown_id = video_id and video_id[:_MOST_CHARACTERS]
      detail = problem.detail[:_MOST_CHARACTERS]
      findings.append(Finding(place, shown_id, detail))

  def add(self, other: "Report"):
    """Adds the report of other shards, which come later."""
    self.num_shards += other.num_shards
    self.num_records += other.num_records
    self.num_bytes += other.num_bytes
    self.num_lost_bytes += other.num_lost_bytes
    for cause, others in other.findings.items():
      findings = self.findings.setdefault(cause, [])
      findings += others[: MAX_LISTED - len(findings)]
    for name in ("counts", "dialects", "num_frames", "num_labels", "labels"):
      getattr(self, name).update(getattr(other, name))
    self.places += other.places
    self.id_hashes += other.id_hashes
    self.start = min(self.start, other.start)
    self.end = max(self.end, other.end)


class ShardChecker:
  """Checks shards as a reader does; can be sent to other processes.

  Args:
    reader: the reader; None where the layout is not known.
    schema: the layout; None likewise.
    with_labels: whether every record needs labels; else they are not looked at.
  """

  def __init__(
    self,
    reader: readers.BaseReader | None,
    schema: readers.Schema | None,
    with_labels: bool = True,
  ):
    self._reader = reader
    self._with_labels = with_labels
    own_key = (schema.id_key,) if schema else ()
    self._id_keys = tuple(dict.fromkeys((*own_key, *ID_KEYS)))
    self._dialect = Dialect.of(schema) if schema else None
    self._feature_names = schema.feature_names if schema else None
    self._block_records = _BLOCK_RECORDS
    if reader:
      most = max(1, _BLOCK_LABELS // reader.num_classes)
      self._block_records = min(_BLOCK_RECORDS, most)

  def check(self, shards: Mapping[int, str]) -> Report:
    """Checks shards.

    Args:
      shards: index -> path.
    """
    report = Report(num_shards=len(shards), start=time.monotonic())
    for block in self._read_blocks(shards, report):
      self._check_block(block, report)
    for findings in report.findings.values():
      findings.sort(key=lambda finding: finding.place)
    report.end = time.monotonic()
    return report

  def _read_blocks(self, shards, report: Report) -> Iterator[list]:
    """Yields lists of (place, record), from one shard or more."""
    block, block_bytes = [], 0
    for index, shard in shards.items():
      items = shard_files.read_shard(shard)
      for place, item in enumerate(items, start=index * SHARD):
        if isinstance(item, shard_files.Fault):
          self._add_fault(place, item, report)
          continue
        report.num_records += 1
        report.num_bytes += len(item) + shard_files.FRAMING_BYTES
        block.append((place, item))
        block_bytes += len(item)
        if len(block) == self._block_records or block_bytes > _BLOCK_BYTES:
          yield block
          block, block_bytes = [], 0
    if block:
      yield block

  def _add_fault(self, place, fault: shard_files.Fault, report: Report):
    report.num_bytes += fault.lost_bytes
    report.num_lost_bytes += fault.lost_bytes
    video_id = self._find_video_id(fault.remains)
    report.add_problem(place, video_id, Problem(fault.cause, fault.detail))

  def _find_video_id(self, data: bytes) -> str | None:
    return find_video_id(data, *self._id_keys)

  def _check_block(self, block, report: Report):
    """Checks a list of (place, record)."""
    if not self._reader:
      for place, record in block:
        problem = _describe_unknown_layout(record)
        report.add_problem(place, self._find_video_id(record), problem)
      return
    records = [record for _, record in block]
    batch, is_bad = self._reader.decode(records, self._with_labels)
    for row in np.flatnonzero(is_bad):
      self._add_bad(*block[row], report)
    places = np.array([place for place, _ in block])[~is_bad]
    sound = {
      key: batch[key][~is_bad] for key in ("video_ids", "num_frames", "labels")
    }
    self._add_sound(places, sound, report)

  def _add_bad(self, place, record, report):
    problem = self._reader.describe_problem(record, self._with_labels)
    video_id = self._find_video_id(record)
    report.add_problem(place, video_id, problem or readers.REFUSED)
    schema = self._find_schema(record)
    if schema and all(schema.feature_sizes):
      report.dialects[Dialect.of(schema), place // SHARD] += 1

  def _find_schema(self, record: bytes) -> readers.Schema | None:
    for asked in (self._feature_names, None):
      with contextlib.suppress(UserError):
        return readers.schema_of(record, "", 0, asked)
    return None

  def _add_sound(self, places, batch, report):
    report.places.append(places)
    report.id_hashes.append(
      tf.strings.to_hash_bucket_fast(
        batch["video_ids"].tolist(), _NUM_HASHES
      ).numpy()
    )
    report.num_frames.update(batch["num_frames"].tolist())
    for index, count in collections.Counter(places // SHARD).items():
      report.dialects[self._dialect, int(index)] += count
    if self._with_labels:
      labels = batch["labels"]
      report.num_labels.update(labels.sum(axis=1).astype(int).tolist())
      report.labels.update(np.flatnonzero(labels.any(axis=0)).tolist())


def _describe_unknown_layout(record: bytes) -> Problem:
  """What is wrong with a record of shards of which none shows its layout."""
  try:
    readers.schema_of(record, "", 0)
  except readers.LayoutError as error:
    detail = error.detail
  else:
    detail = "no video has frames, which would show a frame's size"
  return Problem("unknown layout", detail)


class Results:
  """The results for people and programs, from what was found in all shards.

  Args:
    report: what was found.
    shards: paths of the shards, by their indices.
    num_classes: number of classes.
    with_labels: whether every record needs labels.
    schema: the layout, or None.
  """

  def __init__(
    self,
    report: Report,
    shards: Sequence[str],
    num_classes: int,
    with_labels: bool,
    schema: readers.Schema | None,
  ):
    self._report = report
    self._shards = shards
    self._num_classes = num_classes
    self._schema = schema
    self._with_labels = with_labels
    # Cause -> shard -> number of problems.
    self._counts: dict[str, dict[int, int]] = {}
    for (cause, shard), count in report.counts.items():
      self._counts.setdefault(cause, {})[shard] = count

  def to_dict(self) -> dict[str, Any]:
    """What --output_json holds; the same for the same shards."""
    causes = [
      {
        "cause": cause,
        "num_records": sum(counts.values()),
        "num_shards": len(counts),
        "listed": [self._listed(item) for item in self._report.findings[cause]],
      }
      for cause, counts in self._counts.items()
    ]
    causes.sort(key=lambda cause: (-cause["num_records"], cause["cause"]))
    return {
      "num_problems": sum(cause["num_records"] for cause in causes),
      "num_shards_with_problems": len(set().union(*self._counts.values())),
      "num_classes": self._num_classes,
      "labels_needed": self._with_labels,
      "max_listed": MAX_LISTED,
      "totals": self._totals(),
      "dialects": self._dialects(),
      "problems": causes,
    }

  def _listed(self, finding: Finding) -> dict[str, Any]:
    return {
      **self._place(finding.place),
      "video_id": finding.video_id,
      "detail": finding.detail,
    }

  def _place(self, place: int) -> dict[str, Any]:
    index, number = divmod(place, SHARD)
    return {"shard": self._shards[index], "record": number}

  def _dialects(self) -> list[dict[str, Any]]:
    expected = Dialect.of(self._schema) if self._schema else None
    shards: dict[Dialect, dict[int, int]] = {}
    for (dialect, shard), count in self._report.dialects.items():
      shards.setdefault(dialect, {})[shard] = count

    def order(item):
      dialect, counts = item
      return dialect != expected, -sum(counts.values()), dialect

    return [
      {
        "is_expected": dialect == expected,
        "level": dialect.level,
        "id_key": dialect.id_key,
        "features": dict(dialect.features),
        "num_records": sum(counts.values()),
        "num_shards": len(counts),
        "first_shard": self._shards[min(counts)],
      }
      for dialect, counts in sorted(shards.items(), key=order)
    ]

  def _totals(self) -> dict[str, Any]:
    report, num_videos = self._report, self._report.num_videos
    num_without_labels = (
      report.num_labels[0] if self._with_labels else num_videos
    )
    return {
      "num_shards": report.num_shards,
      "num_bytes": report.num_bytes,
      "num_unreadable_bytes": report.num_lost_bytes,
      "num_records": report.num_records,
      "num_videos": num_videos,
      "num_videos_without_labels": num_without_labels,
      "labels_per_video": _spread(report.num_labels),
      "labels": {
        "min": min(report.labels, default=None),
        "max": max(report.labels, default=None),
        "num_different": len(report.labels),
      },
      "frames": self._frame_totals(),
      "repeated_ids": self._find_repeated_ids(),
    }

  def _frame_totals(self) -> dict[str, Any] | None:
    if not self._schema or not self._schema.frame_features:
      return None
    most = self._schema.max_frames
    longer = (n for count, n in self._report.num_frames.items() if count > most)
    return {
      "per_video": _spread(self._report.num_frames),
      "num_videos_without": self._report.num_frames[0],
      "max_frames": most,
      "num_longer_videos": sum(longer),
    }

  def _find_repeated_ids(self) -> dict[str, Any]:
    """Videos with the id of an earlier one; the first such one and that one."""
    if not self._report.num_videos:
      return {"num_videos": 0, "first": None}
    hashes = np.concatenate(self._report.id_hashes)
    places = np.concatenate(self._report.places)
    order = np.lexsort((places, hashes))
    hashes, places = hashes[order], places[order]
    repeated = 1 + np.flatnonzero(hashes[1:] == hashes[:-1])
    if not repeated.size:
      return {"num_videos": 0, "first": None}
    first = repeated[np.argmin(places[repeated])]
    pair = [self._place(int(places[index])) for index in (first, first - 1)]
    return {"num_videos": repeated.size, "first": pair}


def _spread(counts: Mapping[int, int]) -> dict[str, float] | None:
  """Least, mean and most of numbers that come with counts."""
  if not counts:
    return None
  total = sum(number * count for number, count in counts.items())
  return {
    "min": min(counts),
    "mean": total / sum(counts.values()),
    "max": max(counts),
  }


def check_shards(
  checker: ShardChecker, shards: Sequence[str], num_workers: int = 1
) -> Iterator[Report]:
  """Checks shards, several at the same time; yields reports in their order.

  Args:
    checker: checks them.
    shards: their paths.
    num_workers: processes to start; 1 starts none.

  Raises:
    UserError: a process was killed.
  """
  groups = group_shards(shards)
  if num_workers == 1:
    yield from map(checker.check, groups)
    return
  # Processes, since half of the work is Python's. Not forked from this one:
  # TensorFlow's threads do not survive that.
  executor = concurrent.futures.ProcessPoolExecutor(
    num_workers,
    multiprocessing.get_context("spawn"),
    initializer=_start_worker,
    initargs=(checker,),
  )
  try:
    futures = _submit(executor, groups)
    for group in groups:
      # Taken out, so that what it holds is freed.
      yield _result(futures.popleft(), group)
  finally:
    # An end that was asked for must not wait for shards that are being read.
    for child in multiprocessing.active_children():
      child.kill()
    executor.shutdown(cancel_futures=True)


def _submit(executor, groups) -> collections.deque[concurrent.futures.Future]:
  # A terminal sends Ctrl-C to all processes, and this one ends the others: they
  # inherit that the signal is held back.
  previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    return collections.deque(
      executor.submit(_check_in_worker, group) for group in groups
    )
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _result(future: concurrent.futures.Future, group) -> Report:
  try:
    return future.result()
  except BrokenProcessPool as error:
    raise UserError(
      f"A worker process was killed while {min(group.values())!r}, or a shard "
      "after it, was checked. If the memory does not suffice, try a lower "
      "--num_workers."
    ) from error


# In a worker, what it checks with.
_worker_checker: ShardChecker | None = None


def _start_worker(checker: ShardChecker):
  global _worker_checker
  threading.Thread(target=_end_with_parent, daemon=True).start()
  # There are as many workers as processors.
  tf.config.threading.set_inter_op_parallelism_threads(1)
  tf.config.threading.set_intra_op_parallelism_threads(1)
  _worker_checker = checker


def _end_with_parent():
  """Ends this process when its parent has ended, whatever ended that."""
  multiprocessing.parent_process().join()
  os._exit(program.EXIT_FAILURE)


def _check_in_worker(group: dict[int, str]) -> Report:
  return _worker_checker.check(group)


def group_shards(shards: Sequence[str]) -> list[dict[int, str]]:
  """Shards to check together, by their indices: many of them if they are small.

  A function of the shards alone, and so the results are, too.
  """
  size = int(_GROUP_BYTES // (1 + utils.mean_file_size(shards)))
  size = min(max(1, size), _GROUP_SHARDS)
  items = list(enumerate(shards))
  return [dict(items[i : i + size]) for i in range(0, len(items), size)]


def choose_num_workers(shards: Sequence[str]) -> int:
  """As many processes as the machine has use for, and the shards are worth."""
  num_bytes = len(shards) * utils.mean_file_size(shards)
  worth = 1 + int(num_bytes // _BYTES_PER_WORKER)
  return min(devices.available_cpus(), _MOST_WORKERS, worth)


def find_shards(arguments: Sequence[str]) -> list[str]:
  """The files that arguments name, sorted, each once.

  Args:
    arguments: files, and comma-separated lists of globs.

  Raises:
    UserError: nothing is there.
  """
  shards = set()
  for argument in arguments:
    # A shell has expanded a pattern: what is a file's name is no pattern.
    if argument and utils.exists(argument) and not tf.io.gfile.isdir(argument):
      shards.add(argument)
    else:
      shards.update(utils.list_shards(argument, None))
  return sorted(shards)


def find_schema(
  shards: Sequence[str], names: Sequence[str]
) -> readers.Schema | None:
  """How the shards are laid out; None if no record shows it.

  Raises:
    UserError: a record shows it, but does not have the features asked for.
  """
  try:
    schema = readers.detect_schema(shards, skip_bad=True)
  except UserError:
    return None
  if names:
    schema = readers.detect_schema(shards, names, skip_bad=True)
  return schema


def find_labels(shards: Sequence[str]) -> bool:
  """Whether one of the first records of some shards has labels."""
  try:
    return readers.detect_schema(
      shards[:_LABEL_SHARDS], skip_bad=True, need_labels=True
    ).has_labels
  except UserError:
    return False


def build_reader(
  schema: readers.Schema | None, num_classes: int
) -> readers.BaseReader | None:
  """The reader for shards of this layout."""
  if schema is None:
    return None
  run_config = config.ExperimentConfig(
    num_classes=num_classes,
    feature_names=schema.feature_names,
    feature_sizes=schema.feature_sizes,
    frame_features=schema.frame_features,
    # All frames are checked; but none need be copied.
    max_frames=1,
  )
  return experiment.build_reader(run_config, schema)


def define_flags():
  """Defines the program's flags."""
  config.define_flags(VerifySettings)


def main(arguments: Sequence[str]) -> int:
  """Checks the shards that the arguments name; returns the exit code."""
  settings = config.from_flags(VerifySettings)
  began = time.monotonic()
  shards = find_shards(arguments)
  if settings.output_json in shards:
    raise UserError(
      f"--output_json={settings.output_json!r} is one of the shards to check. "
      "Name another file."
    )
  with contextlib.ExitStack() as stack:
    output = None
    if settings.output_json:  # An error shows now, not at the end.
      output = stack.enter_context(
        utils.replacing(settings.output_json, follows_links=True)
      )
    schema = find_schema(shards, settings.feature_names)
    reader = build_reader(schema, settings.num_classes)
    with_labels = settings.labels
    if with_labels is None:
      with_labels = find_labels(shards)
    checker = ShardChecker(reader, schema, with_labels)
    num_workers = settings.num_workers or choose_num_workers(shards)
    reports = check_shards(checker, shards, num_workers)
    stack.enter_context(contextlib.closing(reports))
    report = _add_all(reports, len(shards))
    results = Results(
      report, shards, settings.num_classes, with_labels, schema
    ).to_dict()
    # Standard output is for the JSON alone where that goes there.
    is_stdout = settings.output_json == "-"
    print(format_results(results), file=sys.stderr if is_stdout else sys.stdout)
    if output:
      output.write((json.dumps(results, indent=2) + "\n").encode())
  seconds = report.end - report.start
  logging.info(
    "Checked %d videos, %.1f MB, in %.2f s (%.1f videos/s); %.1f s to start.",
    report.num_records,
    report.num_bytes / 1e6,
    seconds,
    report.num_records / seconds,
    report.start - began,
  )
  return program.EXIT_FAILURE if results["num_problems"] else 0


def _add_all(reports: Iterator[Report], num_shards: int) -> Report:
  """Adds reports up, and shows how far they have come."""
  total = Report()
  last_shown = time.monotonic()
  with program.ProgressDisplay("shard", num_shards) as display:
    for report in reports:
      total.add(report)
      now = time.monotonic()
      is_last = total.num_shards == num_shards
      if is_last or now - last_shown > _SHOW_EVERY_SECS:
        last_shown = now
        count = total.num_records
        line = f"shard {total.num_shards} of {num_shards} | {count} videos"
        display.show(total.num_shards, line, videos=count)
  return total


def format_results(results: Mapping[str, Any]) -> str:
  """The results as text for a terminal."""
  lines = []
  for name, value in _total_rows(results):
    lines += _wrapped(value, f"{name:<{_NAME_COLUMNS}}  ", _NAME_COLUMNS + 2)
  lines.append("")
  num_shards = results["totals"]["num_shards"]
  if not results["problems"]:
    return "\n".join([*lines, f"No problem in {_number(num_shards, 'shard')}."])
  lines += [*_format_problems(results["problems"]), ""]
  lines.append(
    f"{_number(results['num_problems'], 'problem')} in "
    f"{results['num_shards_with_problems']:,} of "
    f"{_number(num_shards, 'shard')}."
  )
  return "\n".join(lines)


def _total_rows(results: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
  """(name, value) of what is shown of the totals."""
  totals = results["totals"]
  yield "shards", f"{totals['num_shards']:,}"
  unreadable = f"{totals['num_unreadable_bytes']:,} cannot be read"
  yield "bytes", f"{totals['num_bytes']:,}, of which {unreadable}"
  for dialect in results["dialects"][:_SHOWN_DIALECTS]:
    name = "layout" if dialect["is_expected"] else "another layout"
    yield name, _format_dialect(dialect, totals["num_shards"])
  if len(results["dialects"]) > _SHOWN_DIALECTS:
    yield "more layouts", f"{len(results['dialects']) - _SHOWN_DIALECTS:,}"
  yield "videos without problem", f"{totals['num_videos']:,}"
  yield "  of them without labels", f"{totals['num_videos_without_labels']:,}"
  yield "  with the id of another", _format_repeated(totals["repeated_ids"])
  yield "labels per video", _format_spread(totals["labels_per_video"])
  labels = totals["labels"]
  if labels["num_different"]:
    count = f"{labels['num_different']:,} of {results['num_classes']:,} classes"
    yield "labels", f"{labels['min']} to {labels['max']}, {count}"
  frames = totals["frames"]
  if frames:
    yield "frames per video", _format_spread(frames["per_video"])
    yield "  videos without frames", f"{frames['num_videos_without']:,}"
    name = f"  videos of more than {frames['max_frames']}"
    yield name, f"{frames['num_longer_videos']:,} (readers cut them)"


def _number(count: int, unit: str) -> str:
  return f"{count:,} {unit}{'' if count == 1 else 's'}"


def _format_repeated(repeated: Mapping[str, Any]) -> str:
  if not repeated["first"]:
    return "0"
  later, earlier = (
    bad_records.place(place["shard"], place["record"])
    for place in repeated["first"]
  )
  return f"{repeated['num_videos']:,}; first {later}, as {earlier}"


def _format_spread(spread: Mapping[str, float] | None) -> str:
  if spread is None:
    return "-"
  return f"{spread['min']} to {spread['max']}, {spread['mean']:.2f} on average"


def _format_dialect(dialect: Mapping[str, Any], num_shards: int) -> str:
  features = ", ".join(f"{k} {size}" for k, size in dialect["features"].items())
  where = f"in {_number(dialect['num_shards'], 'shard')}"
  if dialect["num_shards"] < num_shards:
    where += f", first {dialect['first_shard']!r}"
  return (
    f"{dialect['level']} level, {dialect['id_key']}, {features}: "
    f"{_number(dialect['num_records'], 'record')} {where}"
  )


def _format_problems(problems: Sequence[Mapping[str, Any]]) -> Iterator[str]:
  """A table of causes, each with its first record below it."""
  width = max(len("problem"), *(len(row["cause"]) for row in problems))
  yield f"{'problem':<{width}}  {'records':>11}  {'shards':>7}"
  yield f"{'-' * width}  {'-' * 11}  {'-' * 7}"
  for row in problems:
    counts = f"{row['num_records']:>11,}  {row['num_shards']:>7,}"
    yield f"{row['cause']:<{width}}  {counts}"
    first = row["listed"][0]
    place = bad_records.place(
      first["shard"], first["record"], first["video_id"]
    )
    yield from _wrapped(f"{place}: {first['detail']}", "  ", 2)


def _wrapped(text: str, indent: str, num_spaces: int) -> list[str]:
  """A text in lines; paths are not broken, so that they can be copied."""
  # Names come from the records, and may hold what a terminal obeys.
  shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
  return textwrap.wrap(
    shown,
    _COLUMNS,
    initial_indent=indent,
    subsequent_indent=" " * num_spaces,
    break_long_words=False,
    break_on_hyphens=False,
  )


def run():
  """Starts the program."""
  program.run(main, define_flags, "PATTERN")


if __name__ == "__main__":
  # As an imported module: worker processes import what they are sent.
  importlib.import_module("tools.verify_shards").run()
