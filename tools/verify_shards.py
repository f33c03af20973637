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

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import importlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import program
from program import UserError

import numpy as np
from absl import logging

import config
import devices
import experiment
import readers
import records
import shard_files
import utils
from records import Problem, find_video_id, parse_contexts, schema_of
from segment_reader import LABELS_KEY, read_ratings

# Problems of each cause that are listed; all are counted.
MAX_LISTED = 1000
# A record's place is one number: shard index * SHARD + record number.
SHARD = 2**32
# Shards whose first records are looked at for labels.
_LABEL_SHARDS = 16
# Largest block of records, with their labels as an array of all classes; larger
# ones are not decoded faster.
_BLOCK_RECORDS, _BLOCK_BYTES = 256, 8 * 2**20
# Shown characters of an id or a detail, which are as long as a record likes.
_MOST_CHARACTERS = 500
# A worker takes seconds to start, in which another one checks about this much.
_BYTES_PER_WORKER, _MOST_WORKERS = 2**29, 16
_SHOW_EVERY_SECS = 2.0
_SHOWN_DIALECTS = 8
_NAMES = {"num_videos": "videos without problem"}

# How a record is laid out: "frame" or "video", the key of the video's id, and
# name and size of each feature.
Dialect = tuple[str, str, tuple[tuple[str, int], ...]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifySettings:
  """How the program is run."""

  num_classes: int = config.setting(
    config.ExperimentConfig.num_classes,
    "Number of classes; labels are in [0, num_classes).",
    (1, 10_000_000),
    group="Data",
  )
  feature_names: tuple[str, ...] = config.setting(
    (),
    "Features to check, comma-separated. Found from the data when not given.",
    group="Data",
    has_flag_default=False,
  )
  labels: bool | None = config.setting(
    None,
    "Whether every record needs labels, as for train.py; with --nolabels they "
    "are not looked at, as by inference.py. When not given, they are needed if "
    "the first records of a shard have them.",
    group="Data",
  )
  output_json: str | None = config.setting(
    None,
    "File for the results and a list of the problems; local or gs://. Without "
    "it, none is written.",
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


def _new(kind):
  return dataclasses.field(default_factory=kind)


@dataclasses.dataclass
class Report:
  """What was found in some shards. Sound videos are those without problem."""

  sums: Counter[str] = _new(Counter)  # By their names in the results.
  problems: Counter[str] = _new(Counter)  # By cause.
  dialects: Counter[Dialect] = _new(Counter)  # Records.
  num_shards: Counter[str | Dialect] = _new(Counter)  # That have it.
  # Cause -> its problems, dialect -> its shards; `MAX_LISTED` of each at most.
  listed: dict[str | Dialect, list] = _new(dict)
  # Arrays [2, N] int64 of sound videos in the order of their places: hashes of
  # their ids, which would take gigabytes, and the places.
  videos: list[np.ndarray] = _new(list)
  num_frames: Counter[int] = _new(Counter)  # Sound videos with so many frames.
  num_labels: Counter[int] = _new(Counter)  # Sound videos with so many labels.
  num_ratings: Counter[int] = _new(Counter)  # The same of ratings of segments.
  labels: set[int] = _new(set)
  times: list[float] = _new(list)  # Begin and end; processes have one clock.

  def add(self, other: "Report"):
    """Adds the report of other shards, which come later."""
    for name, more in vars(other).items():
      mine = getattr(self, name)
      if name == "listed":
        for kind, items in more.items():
          mine[kind] = (mine.get(kind, []) + items)[:MAX_LISTED]
      elif isinstance(mine, list):
        mine += more
      else:
        mine.update(more)


@dataclasses.dataclass(frozen=True)
class ShardChecker:
  """Checks shards as a reader does; can be sent to other processes.

  `schema` and `reader` are None where no record shows the layout. Labels are
  looked at only `with_labels`; every record needs some then. Ratings of
  segments are looked at only `with_ratings`.
  """

  schema: readers.Schema | None
  reader: readers.BaseReader | None
  num_classes: int
  with_labels: bool
  with_ratings: bool

  def check(self, index: int, shard: str) -> Report:
    """Checks the shard with an index among all shards."""
    report = Report(Counter(num_shards=1), times=[time.monotonic()])
    for block in self._read_blocks(shard, report):
      is_bad = np.ones(len(block), bool)
      if self.reader:
        records = [record for _, record in block]
        batch, is_bad = self.reader.decode(records, self.with_labels)
        if self.with_ratings:
          self._add_ratings(records, batch, is_bad)
      for row in np.flatnonzero(is_bad):
        self._add_bad(shard, *block[row], report)
      # Most blocks are sound as a whole: no need to copy them.
      rows = ~is_bad if is_bad.any() else slice(None)
      if not is_bad.all():
        places = np.array([number for number, _ in block]) + index * SHARD
        self._add_sound(places[rows], batch, rows, report)
    report.listed.update((dialect, [shard]) for dialect in report.dialects)
    report.num_shards.update([*report.problems, *report.dialects])
    report.sums["num_shards_with_problems"] = int(bool(report.problems))
    report.times.append(time.monotonic())
    return report

  def _read_blocks(self, shard: str, report: Report) -> Iterator[list]:
    """Yields lists of (number, record)."""
    block, num_bytes = [], 0
    for number, item in enumerate(shard_files.read_shard(shard)):
      if isinstance(item, shard_files.Fault):
        lost = item.lost_bytes
        report.sums.update(num_bytes=lost, num_unreadable_bytes=lost)
        self._add_problem(shard, number, item.remains, item, report)
        continue
      report.sums["num_records"] += 1
      report.sums["num_bytes"] += len(item) + shard_files.FRAMING_BYTES
      block.append((number, item))
      num_bytes += len(item) + 4 * self.num_classes
      if len(block) == _BLOCK_RECORDS or num_bytes > _BLOCK_BYTES:
        yield block
        block, num_bytes = [], 0
    if block:
      yield block

  def _add_ratings(self, records, batch, is_bad):
    """Adds the records' ratings to a batch, and what is wrong with them."""
    batch["ratings"] = np.empty(len(records), object)
    for row, context in enumerate(parse_contexts(records)):
      num_frames = min(batch["num_frames"][row], self.schema.max_frames)
      found = read_ratings(context, self.num_classes, num_frames)
      batch["ratings"][row] = found
      is_bad[row] |= isinstance(found, Problem)

  def _describe(self, record: bytes) -> Problem:
    """The problem of a record that is bad."""
    problem = self.reader.describe_problem(record, self.with_labels)
    if not problem and self.with_ratings:
      batch, is_bad = self.reader.decode([record], self.with_labels)
      self._add_ratings([record], batch, is_bad)
      (problem,) = batch["ratings"]
    return problem or readers.REFUSED

  def _add_problem(self, shard, number, data, problem, report: Report):
    """Counts a problem, and lists it unless there are many of its kind."""
    report.problems[problem.cause] += 1
    listed = report.listed.setdefault(problem.cause, [])
    if len(listed) < MAX_LISTED:
      video_id = (find_video_id(data) or "")[:_MOST_CHARACTERS]
      names = {"shard": shard, "record": number, "video_id": video_id or None}
      listed.append({**names, "detail": problem.detail[:_MOST_CHARACTERS]})

  def _add_bad(self, shard, number, record, report: Report):
    schema = None
    detail = "no video has frames, which would show a frame's size"
    for asked in (None, self.schema and self.schema.feature_names):
      try:
        schema = schema_of(record, "", 0, asked)
      except UserError as error:
        detail = getattr(error, "detail", detail)
    if schema and all(schema.feature_sizes):
      report.dialects[dialect_of(schema)] += 1
    problem = Problem("unknown layout", detail)
    if self.reader:
      problem = self._describe(record)
    self._add_problem(shard, number, record, problem, report)

  def _add_sound(self, places, batch, rows, report: Report):
    """Adds the rows of a batch that hold sound videos."""
    hashes = b"".join(
      hashlib.blake2b(video_id, digest_size=8).digest()
      for video_id in batch["video_ids"][rows]
    )
    report.videos.append(np.stack([np.frombuffer(hashes, np.int64), places]))
    report.dialects[dialect_of(self.schema)] += len(places)
    report.num_frames.update(batch["num_frames"][rows].tolist())
    labels = batch["labels"][rows]
    report.num_labels.update(labels.sum(axis=1).astype(int).tolist())
    report.labels.update(np.flatnonzero(labels.sum(axis=0)).tolist())
    for ratings in batch["ratings"][rows] if self.with_ratings else ():
      report.num_ratings[ratings.rows.size] += 1
      report.sums["num_rated_segments"] += ratings.starts.size
      report.sums["num_positive_ratings"] += int((ratings.scores > 0).sum())


def make_checker(shards: Sequence[str], settings: VerifySettings):
  """Finds out how shards are laid out, and whether they need labels."""

  def detect(shards, **options):
    with contextlib.suppress(UserError):  # No record shows it.
      schema = readers.detect_schema(shards, skip_bad=True, **options)
      if all(schema.feature_sizes):
        return schema
    return None

  schema, reader = detect(shards), None
  if schema:
    if names := settings.feature_names:  # An error if they are not there.
      schema = readers.detect_schema(shards, names, skip_bad=True)
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
    labelled = detect(shards[:_LABEL_SHARDS], need_labels=True)
    with_labels = labelled is not None and labelled.has_labels
  with_ratings = (
    settings.labels is not False
    and reader is not None
    and schema.frame_features
    and LABELS_KEY in schema.keys
  )
  return ShardChecker(
    schema, reader, settings.num_classes, with_labels, with_ratings
  )


def check_shards(checker: ShardChecker, shards, num_workers=1) -> Report:
  """Checks shards, in other processes if there are several; shows progress.

  Raises:
    UserError: a process was killed.
  """
  total, count, last_shown = Report(), len(shards), time.monotonic()
  try:
    with (
      program.ProgressDisplay("shard", count) as display,
      _reports(checker, shards, num_workers) as reports,
    ):
      for report in reports:
        total.add(report)
        done, videos = total.sums["num_shards"], total.sums["num_records"]
        if done == count or time.monotonic() - last_shown > _SHOW_EVERY_SECS:
          last_shown = time.monotonic()
          line = f"shard {done} of {count} | {videos} videos"
          display.show(done, line, videos=videos)
  except BrokenProcessPool as error:
    raise UserError(
      f"A worker process was killed while {shards[total.sums['num_shards']]!r},"
      " or a shard after it, was checked. If the memory does not suffice, try "
      "a lower --num_workers."
    ) from error
  return total


@contextlib.contextmanager
def _reports(checker, shards, num_workers: int) -> Iterator[Iterator[Report]]:
  """Gives the shards' reports in order; processes end with the context."""
  if num_workers == 1:
    yield map(checker.check, range(len(shards)), shards)
    return
  # Not forked from this process: TensorFlow's threads do not survive that.
  pool = concurrent.futures.ProcessPoolExecutor(
    num_workers, multiprocessing.get_context("spawn"), initializer=_watch_parent
  )
  try:
    # A terminal sends Ctrl-C to all processes, and this one ends the others:
    # they inherit that the signal is held back.
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    futures = deque(pool.submit(checker.check, *i) for i in enumerate(shards))
    signal.pthread_sigmask(signal.SIG_SETMASK, previous)
    # `pool.map` would cancel some, on which the pool's thread fails.
    yield (futures.popleft().result() for _ in shards)
  finally:
    # An end that was asked for must not wait for shards that are being read.
    for child in multiprocessing.active_children():
      child.kill()
    pool.shutdown(cancel_futures=True)


def _watch_parent():
  """Has a worker process end when its parent has, whatever ended that."""

  def watch():
    multiprocessing.parent_process().join()
    os._exit(program.EXIT_FAILURE)

  threading.Thread(target=watch, daemon=True).start()


def choose_num_workers(shards: Sequence[str]) -> int:
  """As many processes as the machine has use for, and the shards are worth."""
  num_bytes = len(shards) * utils.mean_file_size(shards)
  worth = 1 + int(num_bytes // _BYTES_PER_WORKER)
  return min(devices.available_cpus(), _MOST_WORKERS, worth)


def summarize(report: Report, checker, shards) -> dict[str, Any]:
  """What --output_json holds; the same for the same shards."""

  def counted(kinds):
    for kind in sorted(kinds, key=lambda kind: (-kinds[kind], kind)):
      num_shards = report.num_shards[kind]
      yield kind, {"num_records": kinds[kind], "num_shards": num_shards}

  expected = checker.schema and dialect_of(checker.schema)
  dialects = [
    {
      "is_expected": dialect == expected,
      "level": dialect[0],
      "id_key": dialect[1],
      "features": dict(dialect[2]),
      **counts,
      "first_shard": report.listed[dialect][0],
    }
    for dialect, counts in counted(report.dialects)
  ]
  return {
    "num_problems": report.problems.total(),
    "num_shards_with_problems": report.sums["num_shards_with_problems"],
    "num_classes": checker.num_classes,
    "labels_needed": checker.with_labels,
    "max_listed": MAX_LISTED,
    "totals": _totals(report, checker, shards),
    "dialects": sorted(dialects, key=lambda row: not row["is_expected"]),
    "problems": [
      {"cause": cause, **counts, "listed": report.listed[cause]}
      for cause, counts in counted(report.problems)
    ],
  }


def _totals(report: Report, checker, shards) -> dict[str, Any]:
  num_frames, num_labels = report.num_frames, report.num_labels
  frames, schema = None, checker.schema
  if schema and schema.frame_features:
    longer = (num_frames[n] for n in num_frames if n > schema.max_frames)
    frames = {
      "per_video": _spread(num_frames),
      "num_videos_without": num_frames[0],
      "max_frames": schema.max_frames,
      "num_longer_videos": sum(longer),
    }
  ratings = None
  if checker.with_ratings:
    ratings = {
      "per_video": _spread(report.num_ratings),
      "num_positive": report.sums["num_positive_ratings"],
      "num_segments": report.sums["num_rated_segments"],
    }
  return {
    "num_shards": report.sums["num_shards"],
    "num_bytes": report.sums["num_bytes"],
    "num_unreadable_bytes": report.sums["num_unreadable_bytes"],
    "num_records": report.sums["num_records"],
    "num_videos": num_frames.total(),
    "num_videos_without_labels": num_labels[0],
    "labels_per_video": _spread(num_labels) if checker.with_labels else None,
    "labels": {
      "min": min(report.labels, default=None),
      "max": max(report.labels, default=None),
      "num_different": len(report.labels),
    },
    "frames": frames,
    "ratings": ratings,
    "repeated_ids": _find_repeated(report.videos, shards),
  }


def _spread(counts: Counter[int]) -> dict[str, float] | None:
  """Least, mean and most of numbers that come with counts."""
  if not counts:
    return None
  mean = sum(n * counts[n] for n in counts) / counts.total()
  return {"min": min(counts), "mean": mean, "max": max(counts)}


def _find_repeated(videos, shards: Sequence[str]) -> dict[str, Any]:
  """Videos with the id of an earlier one; the first such one and that one."""
  hashes, places = np.concatenate([np.empty((2, 0), int), *videos], axis=1)
  is_repeated = np.ones(len(hashes), bool)
  is_repeated[np.unique(hashes, return_index=True)[1]] = False
  if not is_repeated.any():
    return {"num_videos": 0, "first": None}
  later = np.argmax(is_repeated)
  earlier = np.argmax(hashes == hashes[later])
  pair = [divmod(int(places[row]), SHARD) for row in (later, earlier)]
  return {
    "num_videos": int(is_repeated.sum()),
    "first": [{"shard": shards[i], "record": number} for i, number in pair],
  }


def format_results(results: Mapping[str, Any]) -> str:
  """The results as text for a terminal; the totals keep their names."""
  totals, dialects = results["totals"], results["dialects"]
  rows = [_dialect_row(dialect) for dialect in dialects[:_SHOWN_DIALECTS]]
  if len(dialects) > _SHOWN_DIALECTS:
    rows.append(("more layouts", str(len(dialects) - _SHOWN_DIALECTS)))
  rows += [(_NAMES.get(k) or _words(k), _text(v)) for k, v in totals.items()]
  lines = [f"{name:<25}  {value}" for name, value in rows]
  for problem in results["problems"]:
    shard, record, video_id, detail = problem["listed"][0].values()
    place = records.place(shard, record, video_id)
    cause = f"{problem['cause']}: {_counted(problem)}; the first:"
    lines += ["", cause, f"  {place}: {detail}"]
  last = "Problems: {num_problems:,}, in {num_shards_with_problems:,} of "
  last += "{totals[num_shards]:,} shards."
  lines += ["", last.format_map(results)]
  # Names come from the records, and may hold what a terminal obeys.
  return "\n".join(
    "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    for line in lines
  )


def _dialect_row(dialect: Mapping[str, Any]) -> tuple[str, str]:
  name = "layout" if dialect["is_expected"] else "another layout"
  features = ", ".join(f"{k} {size}" for k, size in dialect["features"].items())
  layout = f"{dialect['level']} level, {dialect['id_key']}, {features}"
  return (
    name,
    f"{layout}: {_counted(dialect)}, {dialect['first_shard']!r} first",
  )


def _counted(row: Mapping[str, Any]) -> str:
  records, shards = row["num_records"], row["num_shards"]
  records = f"{records:,} record{'' if records == 1 else 's'}"
  return f"{records} in {shards:,} shard{'' if shards == 1 else 's'}"


def _words(name: str) -> str:
  return name.removeprefix("num_").replace("_", " ")


def _text(value) -> str:
  if isinstance(value, dict):
    return ", ".join(f"{_words(name)} {_text(value[name])}" for name in value)
  if isinstance(value, list):
    return " and ".join(map(_text, value))
  if isinstance(value, str | None):
    return repr(value) if value else "-"
  return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def main(arguments: Sequence[str]) -> int:
  """Checks the shards that the arguments name; returns the exit code."""
  settings = config.from_flags(VerifySettings)
  began, path = time.monotonic(), settings.output_json
  # A shell may have expanded a pattern; or it is one, or several with commas.
  shards = sorted({s for a in arguments for s in utils.list_shards(a, None)})
  if path in shards:
    raise UserError(f"--output_json={path!r} is one of the shards to check.")
  # An error of the file shows now, not at the end.
  replacing = utils.replacing(path, follows_links=True) if path else None
  with replacing or contextlib.nullcontext() as output:
    checker = make_checker(shards, settings)
    num_workers = settings.num_workers or choose_num_workers(shards)
    report = check_shards(checker, shards, num_workers)
    results = summarize(report, checker, shards)
    # Standard output is for the JSON alone where that goes there.
    stream = sys.stderr if path == "-" else sys.stdout
    print(format_results(results), file=stream)
    if output:
      output.write((json.dumps(results, indent=2) + "\n").encode())
  start = min(report.times)
  videos, seconds = report.sums["num_records"], max(report.times) - start
  logging.info(
    f"Checked {videos} videos, {report.sums['num_bytes'] / 1e6:.1f} MB, in "
    f"{seconds:.2f} s ({videos / seconds:.1f} videos/s); "
    f"{start - began:.1f} s to start."
  )
  return program.EXIT_FAILURE if results["num_problems"] else 0


def run():
  """Starts the program."""
  program.run(main, lambda: config.define_flags(VerifySettings), "PATTERN")


if __name__ == "__main__":
  # As an imported module: worker processes import what they are sent.
  importlib.import_module("tools.verify_shards").run()
