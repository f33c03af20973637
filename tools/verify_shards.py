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
import operator
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import program
from program import UserError

import numpy as np
import tensorflow as tf
from absl import logging

import config
import devices
import experiment
import readers
import records
import shard_files
import utils
from records import LayoutError, Problem, find_video_id, schema_of

# Problems of each cause that are listed; all are counted.
MAX_LISTED = 1000
# A record's place is one number: shard index * SHARD + record number.
SHARD = 2**32
# Shards whose first records are looked at for labels.
_LABEL_SHARDS = 16

# Largest block of records, with their labels as an array of all classes; larger
# ones are not decoded faster.
_BLOCK_RECORDS, _BLOCK_BYTES = 256, 8 * 2**20
_NUM_HASHES = 2**63 - 1
# Shown characters of an id or a detail, which are as long as a record likes.
_MOST_CHARACTERS = 500

# A worker takes seconds to start, in which another one checks about this much.
_BYTES_PER_WORKER = 2**29
_MOST_WORKERS = 16
# Small shards are checked together: what one costs beside its records adds up.
_GROUP_BYTES, _GROUP_SHARDS = 2**24, 256
_SHOW_EVERY_SECS = 2.0
_SHOWN_DIALECTS = 8

# How a record is laid out: "frame" or "video", the key of the video's id, and
# name and size of each feature.
Dialect = tuple[str, str, tuple[tuple[str, int], ...]]

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


def dialect_of(schema: readers.Schema) -> Dialect:
  """The dialect of a record with this schema."""
  level = "frame" if schema.frame_features else "video"
  features = zip(schema.feature_names, schema.feature_sizes, strict=True)
  return level, schema.id_key, tuple(features)


def _field(kind):
  return dataclasses.field(default_factory=kind)


@dataclasses.dataclass
class Report:
  """What was found in some shards, which are known by their indices.

  Attributes:
    num_shards: number of shards.
    num_records: number of records that can be read.
    num_bytes: size of the files.
    num_lost_bytes: bytes of them that are of no use.
    problems: (cause, shard) -> number of problems.
    listed: cause -> (place, video id, detail) of `MAX_LISTED` of them at most.
    dialects: (dialect, shard) -> number of records.
    videos: arrays [2, N] int64 of sound videos in the order of their places:
      hashes of their ids, which would take gigabytes, and the places.
    num_frames: number of frames -> sound videos that have so many.
    num_labels: number of labels -> sound videos that have so many.
    labels: [num_classes], sound videos that have each label.
    times: when checking began and ended; the processes of a machine have one
      clock.
  """

  num_shards: int = 0
  num_records: int = 0
  num_bytes: int = 0
  num_lost_bytes: int = 0
  problems: Counter[tuple[str, int]] = _field(Counter)
  listed: dict[str, list[tuple[int, str | None, str]]] = _field(dict)
  dialects: Counter[tuple[Dialect, int]] = _field(Counter)
  videos: list[np.ndarray] = _field(list)
  num_frames: Counter[int] = _field(Counter)
  num_labels: Counter[int] = _field(Counter)
  labels: np.ndarray | int = 0
  times: list[float] = _field(list)

  def add_problem(self, place: int, data: bytes, problem: Problem):
    """Counts a record's problem, and lists it unless there are many such."""
    self.problems[problem.cause, place // SHARD] += 1
    listed = self.listed.setdefault(problem.cause, [])
    if len(listed) < MAX_LISTED:
      video_id = find_video_id(data)
      shown_id = video_id and video_id[:_MOST_CHARACTERS]
      listed.append((place, shown_id, problem.detail[:_MOST_CHARACTERS]))

  def add(self, other: "Report"):
    """Adds the report of other shards, which come later."""
    for name, more in vars(other).items():
      mine = getattr(self, name)
      if name == "listed":
        for cause, others in more.items():
          mine[cause] = (mine.get(cause, []) + others)[:MAX_LISTED]
      elif isinstance(mine, Counter):
        mine.update(more)
      else:
        setattr(self, name, operator.iadd(mine, more))


@dataclasses.dataclass(frozen=True)
class ShardChecker:
  """Checks shards as a reader does; can be sent to other processes.

  Attributes:
    schema: the layout; None where no record shows it.
    reader: the reader for it; None likewise.
    num_classes: number of classes.
    with_labels: whether every record needs labels; else they are not looked at.
  """

  schema: readers.Schema | None
  reader: readers.BaseReader | None
  num_classes: int
  with_labels: bool

  def check(self, shards: Mapping[int, str]) -> Report:
    """Checks shards.

    Args:
      shards: index -> path.
    """
    report = Report(num_shards=len(shards), times=[time.monotonic()])
    for block in self._read_blocks(shards, report):
      self._check_block(block, report)
    report.times.append(time.monotonic())
    return report

  def _read_blocks(self, shards, report: Report) -> Iterator[list]:
    """Yields lists of (place, record), from one shard or more."""
    block, num_bytes = [], 0
    for index, shard in shards.items():
      items = shard_files.read_shard(shard)
      for place, item in enumerate(items, start=index * SHARD):
        if isinstance(item, shard_files.Fault):
          report.num_bytes += item.lost_bytes
          report.num_lost_bytes += item.lost_bytes
          problem = Problem(item.cause, item.detail)
          report.add_problem(place, item.remains, problem)
          continue
        report.num_records += 1
        report.num_bytes += len(item) + shard_files.FRAMING_BYTES
        block.append((place, item))
        num_bytes += len(item) + 4 * self.num_classes
        if len(block) == _BLOCK_RECORDS or num_bytes > _BLOCK_BYTES:
          yield block
          block, num_bytes = [], 0
    if block:
      yield block

  def _check_block(self, block, report: Report):
    """Checks a list of (place, record)."""
    is_bad = np.ones(len(block), bool)
    if self.reader:
      records = [record for _, record in block]
      batch, is_bad = self.reader.decode(records, self.with_labels)
    for row in np.flatnonzero(is_bad):
      place, record = block[row]
      report.add_problem(place, record, self._describe(record))
      schema = self._find_schema(record)
      if schema and all(schema.feature_sizes):
        report.dialects[dialect_of(schema), place // SHARD] += 1
    if not is_bad.all():
      # Most blocks are sound as a whole: no need to copy them.
      is_sound = ~is_bad if is_bad.any() else slice(None)
      places = np.array([place for place, _ in block])[is_sound]
      self._add_sound(places, batch, is_sound, report)

  def _add_sound(self, places, batch, is_sound, report: Report):
    dialect = dialect_of(self.schema)
    for index, count in Counter((places // SHARD).tolist()).items():
      report.dialects[dialect, index] += count
    video_ids = batch["video_ids"][is_sound].tolist()
    hashes = tf.strings.to_hash_bucket_fast(video_ids, _NUM_HASHES).numpy()
    report.videos.append(np.stack([hashes, places]))
    report.num_frames.update(batch["num_frames"][is_sound].tolist())
    if self.with_labels:
      labels = batch["labels"][is_sound]
      report.num_labels.update(labels.sum(axis=1).astype(int).tolist())
      report.labels += labels.sum(axis=0).astype(int)

  def _describe(self, record: bytes) -> Problem:
    if self.reader:
      problem = self.reader.describe_problem(record, self.with_labels)
      return problem or readers.REFUSED
    try:
      schema_of(record, "", 0)
    except LayoutError as error:
      return Problem("unknown layout", error.detail)
    detail = "no video has frames, which would show a frame's size"
    return Problem("unknown layout", detail)

  def _find_schema(self, record: bytes) -> readers.Schema | None:
    names = self.schema.feature_names if self.schema else None
    for asked in (names, None):
      with contextlib.suppress(UserError):
        return schema_of(record, "", 0, asked)
    return None


def make_checker(
  shards: Sequence[str], settings: VerifySettings
) -> ShardChecker:
  """Finds out how shards are laid out, and whether they need labels.

  Raises:
    UserError: they do not have the features asked for.
  """
  schema, reader = _detect(shards), None
  if schema:
    if settings.feature_names:
      schema = readers.detect_schema(
        shards, settings.feature_names, skip_bad=True
      )
    run_config = config.ExperimentConfig(
      num_classes=settings.num_classes,
      feature_names=schema.feature_names,
      feature_sizes=schema.feature_sizes,
      feature_kinds=schema.feature_kinds,
      frame_features=schema.frame_features,
      max_frames=1,  # All frames are checked; but none need be copied.
    )
    reader = experiment.build_reader(run_config)
  with_labels = settings.labels
  if with_labels is None:
    labelled = _detect(shards[:_LABEL_SHARDS], need_labels=True)
    with_labels = labelled is not None and labelled.has_labels
  return ShardChecker(schema, reader, settings.num_classes, with_labels)


def _detect(shards, **options) -> readers.Schema | None:
  """The layout of shards; None if no record shows it."""
  with contextlib.suppress(UserError):
    schema = readers.detect_schema(shards, skip_bad=True, **options)
    return schema if all(schema.feature_sizes) else None
  return None


def check_shards(
  checker: ShardChecker, shards: Sequence[str], num_workers: int = 1
) -> Report:
  """Checks shards, several at the same time, and shows how far it has come.

  Args:
    checker: checks them.
    shards: their paths.
    num_workers: processes to start; 1 starts none.

  Raises:
    UserError: a process was killed.
  """
  total, last_shown = Report(), time.monotonic()
  groups, count = group_shards(shards), len(shards)
  with contextlib.ExitStack() as stack:
    display = stack.enter_context(program.ProgressDisplay("shard", count))
    try:
      reports = map(checker.check, groups)
      if num_workers > 1:
        reports = stack.enter_context(
          _in_processes(checker.check, groups, num_workers)
        )
      for report in reports:
        total.add(report)
        done, num_videos = total.num_shards, total.num_records
        if done == count or time.monotonic() - last_shown > _SHOW_EVERY_SECS:
          last_shown = time.monotonic()
          line = f"shard {done} of {count} | {num_videos} videos"
          display.show(done, line, videos=num_videos)
    except BrokenProcessPool as error:
      raise UserError(
        f"A worker process was killed while {shards[total.num_shards]!r}, or a "
        "shard after it, was checked. If the memory does not suffice, try a "
        "lower --num_workers."
      ) from error
  return total


@contextlib.contextmanager
def _in_processes(
  function: Callable, items: Iterable, num_workers: int
) -> Iterator[Iterator]:
  """Gives a function's results in order; its processes end with the context."""
  # Processes, since half of the work is Python's. Not forked from this one:
  # TensorFlow's threads do not survive that.
  executor = concurrent.futures.ProcessPoolExecutor(
    num_workers,
    multiprocessing.get_context("spawn"),
    initializer=_start_worker,
  )
  # A terminal sends Ctrl-C to all processes, and this one ends the others: they
  # inherit that the signal is held back.
  previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    results = executor.map(function, items)
    signal.pthread_sigmask(signal.SIG_SETMASK, previous)
    yield results
  finally:
    # An end that was asked for must not wait for shards that are being read.
    for child in multiprocessing.active_children():
      child.kill()
    executor.shutdown(cancel_futures=True)


def _start_worker():
  def end_with_parent():
    multiprocessing.parent_process().join()  # Whatever ends it.
    os._exit(program.EXIT_FAILURE)

  threading.Thread(target=end_with_parent, daemon=True).start()
  # There are as many workers as processors.
  tf.config.threading.set_inter_op_parallelism_threads(1)
  tf.config.threading.set_intra_op_parallelism_threads(1)


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


def summarize(
  report: Report, checker: ShardChecker, shards: Sequence[str]
) -> dict[str, Any]:
  """What --output_json holds; the same for the same shards."""
  problems = [
    {
      "cause": cause,
      "num_records": sum(counts.values()),
      "num_shards": len(counts),
      "listed": [
        {**_name(place, shards), "video_id": video_id, "detail": detail}
        for place, video_id, detail in report.listed[cause]
      ],
    }
    for cause, counts in _by_shard(report.problems).items()
  ]
  expected = dialect_of(checker.schema) if checker.schema else None
  dialects = [
    {
      "is_expected": dialect == expected,
      "level": dialect[0],
      "id_key": dialect[1],
      "features": dict(dialect[2]),
      "num_records": sum(counts.values()),
      "num_shards": len(counts),
      "first_shard": shards[min(counts)],
    }
    for dialect, counts in sorted(_by_shard(report.dialects).items())
  ]
  return {
    "num_problems": report.problems.total(),
    "num_shards_with_problems": len({shard for _, shard in report.problems}),
    "num_classes": checker.num_classes,
    "labels_needed": checker.with_labels,
    "max_listed": MAX_LISTED,
    "totals": _totals(report, checker, shards),
    "dialects": sorted(
      dialects, key=lambda row: (not row["is_expected"], -row["num_records"])
    ),
    "problems": sorted(
      problems, key=lambda row: (-row["num_records"], row["cause"])
    ),
  }


def _by_shard(counts: Counter[tuple[Any, int]]) -> dict[Any, dict[int, int]]:
  """(key, shard) -> count, as key -> shard -> count."""
  by_shard = collections.defaultdict(dict)
  for (key, shard), count in counts.items():
    by_shard[key][shard] = count
  return by_shard


def _name(place: int, shards: Sequence[str]) -> dict[str, Any]:
  index, number = divmod(int(place), SHARD)
  return {"shard": shards[index], "record": number}


def _totals(report, checker, shards) -> dict[str, Any]:
  hashes, places = np.concatenate(
    [np.empty((2, 0), np.int64), *report.videos], axis=1
  )
  num_videos = len(places)
  labels = np.flatnonzero(report.labels).tolist()
  frames = None
  if checker.schema and checker.schema.frame_features:
    most, num_frames = checker.schema.max_frames, report.num_frames
    frames = {
      "per_video": _spread(num_frames),
      "num_videos_without": num_frames[0],
      "max_frames": most,
      "num_longer_videos": sum(num_frames[n] for n in num_frames if n > most),
    }
  return {
    "num_shards": report.num_shards,
    "num_bytes": report.num_bytes,
    "num_unreadable_bytes": report.num_lost_bytes,
    "num_records": report.num_records,
    "num_videos": num_videos,
    "num_videos_without_labels": (
      report.num_labels[0] if checker.with_labels else num_videos
    ),
    "labels_per_video": _spread(report.num_labels),
    "labels": {
      "min": min(labels, default=None),
      "max": max(labels, default=None),
      "num_different": len(labels),
    },
    "frames": frames,
    "repeated_ids": _find_repeated(hashes, places, shards),
  }


def _find_repeated(hashes, places, shards) -> dict[str, Any]:
  """Videos with the id of an earlier one; the first such one and that one."""
  is_repeated = np.ones(len(hashes), bool)
  is_repeated[np.unique(hashes, return_index=True)[1]] = False
  if not is_repeated.any():
    return {"num_videos": 0, "first": None}
  later = np.argmax(is_repeated)
  earlier = np.argmax(hashes == hashes[later])
  pair = [_name(places[index], shards) for index in (later, earlier)]
  return {"num_videos": int(is_repeated.sum()), "first": pair}


def _spread(counts: Mapping[int, int]) -> dict[str, float] | None:
  """Least, mean and most of numbers that come with counts."""
  if not counts:
    return None
  total = sum(number * count for number, count in counts.items())
  mean = total / sum(counts.values())
  return {"min": min(counts), "mean": mean, "max": max(counts)}


def format_results(results: Mapping[str, Any]) -> str:
  """The results as text for a terminal."""
  # Names come from the records, and may hold what a terminal obeys.
  return "\n".join(
    "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    for line in _lines(results)
  )


def _lines(results: Mapping[str, Any]) -> Iterator[str]:
  for name, value in _total_rows(results):
    yield f"{name:<25}  {value}"
  yield ""
  shards = _number(results["totals"]["num_shards"], "shard")
  if not results["problems"]:
    yield f"No problem in {shards}."
    return
  row = "{:<25}  {:>11}  {:>7}".format
  yield row("problem", "records", "shards")
  yield row("-" * 25, "-" * 11, "-" * 7)
  for problem in results["problems"]:
    counts = (f"{problem[key]:,}" for key in ("num_records", "num_shards"))
    yield row(problem["cause"], *counts)
    first = problem["listed"][0]
    place = records.place(first["shard"], first["record"], first["video_id"])
    yield f"  {place}: {first['detail']}"
  problems = _number(results["num_problems"], "problem")
  yield ""
  yield f"{problems} in {results['num_shards_with_problems']:,} of {shards}."


def _total_rows(results: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
  """(name, value) of what is shown of the totals."""
  totals, dialects = results["totals"], results["dialects"]
  labels, frames = totals["labels"], totals["frames"]
  yield "shards", f"{totals['num_shards']:,}"
  unreadable = f"{totals['num_unreadable_bytes']:,} cannot be read"
  yield "bytes", f"{totals['num_bytes']:,}, of which {unreadable}"
  for dialect in dialects[:_SHOWN_DIALECTS]:
    name = "layout" if dialect["is_expected"] else "another layout"
    yield name, _format_dialect(dialect, totals["num_shards"])
  if len(dialects) > _SHOWN_DIALECTS:
    yield "more layouts", f"{len(dialects) - _SHOWN_DIALECTS:,}"
  yield "videos without problem", f"{totals['num_videos']:,}"
  yield "  of them without labels", f"{totals['num_videos_without_labels']:,}"
  yield "  with the id of another", _format_repeated(totals["repeated_ids"])
  yield "labels per video", _format_spread(totals["labels_per_video"])
  if labels["num_different"]:
    count = f"{labels['num_different']:,} of {results['num_classes']:,} classes"
    yield "labels", f"{labels['min']} to {labels['max']}, {count}"
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
  later, earlier = (records.place(*p.values()) for p in repeated["first"])
  return f"{repeated['num_videos']:,}; first {later}, as {earlier}"


def _format_spread(spread: Mapping[str, float] | None) -> str:
  if spread is None:
    return "-"
  return "{min} to {max}, {mean:.2f} on average".format_map(spread)


def _format_dialect(dialect: Mapping[str, Any], num_shards: int) -> str:
  features = ", ".join(f"{k} {size}" for k, size in dialect["features"].items())
  where = f"in {_number(dialect['num_shards'], 'shard')}"
  if dialect["num_shards"] < num_shards:
    where += f", first {dialect['first_shard']!r}"
  return (
    f"{dialect['level']} level, {dialect['id_key']}, {features}: "
    f"{_number(dialect['num_records'], 'record')} {where}"
  )


def define_flags():
  """Defines the program's flags."""
  config.define_flags(VerifySettings)


def main(arguments: Sequence[str]) -> int:
  """Checks the shards that the arguments name; returns the exit code."""
  settings = config.from_flags(VerifySettings)
  began, path = time.monotonic(), settings.output_json
  # A shell may have expanded a pattern; or it is one, or several with commas.
  shards = sorted({s for a in arguments for s in utils.list_shards(a, None)})
  if path in shards:
    raise UserError(
      f"--output_json={path!r} is one of the shards to check. Name another "
      "file."
    )
  with contextlib.ExitStack() as stack:
    if path:  # An error shows now, not at the end.
      output = stack.enter_context(utils.replacing(path, follows_links=True))
    checker = make_checker(shards, settings)
    num_workers = settings.num_workers or choose_num_workers(shards)
    report = check_shards(checker, shards, num_workers)
    results = summarize(report, checker, shards)
    # Standard output is for the JSON alone where that goes there.
    stream = sys.stderr if path == "-" else sys.stdout
    print(format_results(results), file=stream)
    if path:
      output.write((json.dumps(results, indent=2) + "\n").encode())
  start, end = min(report.times), max(report.times)
  logging.info(
    "Checked %d videos, %.1f MB, in %.2f s (%.1f videos/s); %.1f s to start.",
    report.num_records,
    report.num_bytes / 1e6,
    end - start,
    report.num_records / (end - start),
    start - began,
  )
  return program.EXIT_FAILURE if results["num_problems"] else 0


def run():
  """Starts the program."""
  program.run(main, define_flags, "PATTERN")


if __name__ == "__main__":
  # As an imported module: worker processes import what they are sent.
  importlib.import_module("tools.verify_shards").run()
