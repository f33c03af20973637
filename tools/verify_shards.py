# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
r"""Checks every record of TFRecord shards, and says what they hold.

  python -m tools.verify_shards '/path/to/train*.tfrecord' \
    --output_json=report.json

Takes any number of patterns and files. What a reader would refuse is a problem:
a shard that is cut or damaged; a record of another layout than the first one,
without id, or with features or labels that cannot be used. The exit code is 0
if there is no problem, 1 if there is one, 2 if a flag is wrong.
"""

import collections
import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import signal
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import program
from program import UserError

import numpy as np
import tensorflow as tf
from absl import flags, logging

import bad_records
import devices
import experiment
import readers
import utils
from config import ExperimentConfig
from records import NO_LABELS
from tools import shard_checks
from tools.shard_checks import Dialect, Finding, Report, ShardChecker, Tally

FLAGS = flags.FLAGS

# A worker takes seconds to start, in which another one checks about this much.
_BYTES_PER_WORKER = 2**29
_MOST_WORKERS = 16
# Small shards are checked together: what one costs beside its records adds up.
_GROUP_BYTES, _GROUP_SHARDS = 2**24, 256
_SHOW_EVERY_SECS = 2.0
_COLUMNS, _NAME_COLUMNS = 100, 25
_SHOWN_DIALECTS = 8


def define_flags():
  """Defines the program's flags."""
  flags.DEFINE_integer(
    "num_classes",
    ExperimentConfig.num_classes,
    "Number of classes; labels are in [0, num_classes).",
    lower_bound=1,
    module_name="Data",
  )
  flags.DEFINE_string(
    "feature_names",
    None,
    "Features to check, separated by commas. Found from the data when not "
    "given.",
    module_name="Data",
  )
  flags.DEFINE_boolean(
    "labels",
    None,
    "Whether every record needs labels, as for train.py; with --nolabels they "
    "are not looked at, as by inference.py. When not given, they are needed if "
    "any record has them.",
    module_name="Data",
  )
  flags.DEFINE_string(
    "output_json",
    None,
    "File for the results, and for a list of the problems; local or gs://. "
    "Without it, none is written.",
    module_name="Output",
  )
  flags.DEFINE_integer(
    "num_workers",
    None,
    "Processes that check shards at the same time; 1 starts no process. Found "
    "from the machine and the size of the shards when not given.",
    lower_bound=1,
    upper_bound=1024,
    module_name="Machine",
  )


class Results:
  """The results for people and programs, from what was found in all shards.

  Args:
    report: what was found.
    shards: paths of the shards, by their indices.
    num_classes: number of classes.
    need_labels: whether each record must have labels; None: if one has.
    schema: the layout, or None.
  """

  def __init__(
    self,
    report: Report,
    shards: Sequence[str],
    num_classes: int,
    need_labels: bool | None,
    schema: readers.Schema | None,
  ):
    self._report = report
    self._shards = shards
    self._num_classes = num_classes
    self._schema = schema
    self._need_labels = (
      report.has_labels if need_labels is None else need_labels
    )
    # Cause -> shard -> number of problems.
    self._counts: dict[str, dict[int, int]] = {}
    for (cause, shard), count in report.counts.items():
      if self._need_labels or cause != NO_LABELS.cause:
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
      "labels_needed": self._need_labels,
      "max_listed": shard_checks.MAX_LISTED,
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
    index, number = divmod(place, shard_checks.SHARD)
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
    videos = Tally()
    videos.add(self._report.labelled)
    num_without_labels = videos.num_labels[0]
    if not self._need_labels:
      videos.add(self._report.unlabelled)
      num_without_labels += self._report.unlabelled.num_videos
    return {
      "num_shards": self._report.num_shards,
      "num_bytes": self._report.num_bytes,
      "num_unreadable_bytes": self._report.num_lost_bytes,
      "num_records": self._report.num_records,
      "num_videos": videos.num_videos,
      "num_videos_without_labels": num_without_labels,
      "labels_per_video": _spread(videos.num_labels),
      "labels": {
        "min": min(videos.labels, default=None),
        "max": max(videos.labels, default=None),
        "num_different": len(videos.labels),
      },
      "frames": self._frame_totals(videos),
      "repeated_ids": self._find_repeated_ids(videos),
    }

  def _frame_totals(self, videos: Tally) -> dict[str, Any] | None:
    if not self._schema or not self._schema.frame_features:
      return None
    most = self._schema.max_frames
    longer = (n for count, n in videos.num_frames.items() if count > most)
    return {
      "per_video": _spread(videos.num_frames),
      "num_videos_without": videos.num_frames[0],
      "max_frames": most,
      "num_longer_videos": sum(longer),
    }

  def _find_repeated_ids(self, videos: Tally) -> dict[str, Any]:
    """Videos with the id of an earlier one; the first such one and that one."""
    if not videos.num_videos:
      return {"num_videos": 0, "first": None}
    hashes = np.concatenate(videos.id_hashes)
    places = np.concatenate(videos.places)
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


def find_schema(shards: Sequence[str]) -> readers.Schema | None:
  """How the shards are laid out; None if no record shows it.

  Raises:
    UserError: a record shows it, but does not have the features asked for.
  """
  names = [name.strip() for name in (FLAGS.feature_names or "").split(",")]
  try:
    schema = readers.detect_schema(shards, skip_bad=True)
  except UserError:
    return None
  if any(names):
    schema = readers.detect_schema(shards, names, skip_bad=True)
  return schema


def build_reader(
  schema: readers.Schema | None, num_classes: int
) -> readers.BaseReader | None:
  """The reader for shards of this layout."""
  if schema is None:
    return None
  config = ExperimentConfig(
    num_classes=num_classes,
    feature_names=schema.feature_names,
    feature_sizes=schema.feature_sizes,
    frame_features=schema.frame_features,
    # All frames are checked; but none need be copied.
    max_frames=1,
  )
  return experiment.build_reader(config, schema)


def main(arguments: Sequence[str]) -> int:
  """Checks what the arguments name; returns the exit code."""
  began = time.monotonic()
  shards = find_shards(arguments)
  if FLAGS.output_json in shards:
    raise UserError(
      f"--output_json={FLAGS.output_json!r} is one of the shards to check. "
      "Name another file."
    )
  with contextlib.ExitStack() as stack:
    output = None
    if FLAGS.output_json:  # What cannot be written shows now, not at the end.
      output = stack.enter_context(utils.replacing(FLAGS.output_json))
    schema = find_schema(shards)
    reader = build_reader(schema, FLAGS.num_classes)
    checker = ShardChecker(reader, schema, FLAGS.labels is not False)
    num_workers = FLAGS.num_workers or choose_num_workers(shards)
    reports = check_shards(checker, shards, num_workers)
    stack.enter_context(contextlib.closing(reports))
    report = _add_all(reports, len(shards))
    results = Results(
      report, shards, FLAGS.num_classes, FLAGS.labels, schema
    ).to_dict()
    print(format_results(results))
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
  run()
