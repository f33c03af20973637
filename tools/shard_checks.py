# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Checks the records of shards as a reader does, and adds up what they hold.

Blocks of records go through the reader's own `decode`; of each that it finds
bad, the reader's `describe_problem` says what is wrong.
"""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from program import UserError

import numpy as np
import tensorflow as tf

import readers
import shard_files
from readers import REFUSED
from records import ID_KEYS, LABELS_KEY, NO_LABELS, Problem, find_video_id

# Of each cause, so many problems are listed; all are counted.
MAX_LISTED = 1000
# A record's place is one number: shard index * SHARD + record number.
SHARD = 2**32

# Larger blocks are not parsed faster. A block's labels are one array of all
# classes.
_BLOCK_RECORDS = 256
_BLOCK_BYTES = 8 * 2**20
_BLOCK_LABELS = 2**22
_NUM_HASHES = 2**63 - 1
# Ids and names of features are as long as a record likes.
_MOST_CHARACTERS = 500


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
class Tally:
  """What sound videos hold.

  Attributes:
    places: arrays [N] int64, where their records are.
    id_hashes: arrays [N] int64, hashes of their ids: ids would take gigabytes.
    num_frames: number of frames -> videos that have so many.
    num_labels: number of labels -> videos that have so many.
    labels: all labels that a video has.
  """

  places: list[np.ndarray] = dataclasses.field(default_factory=list)
  id_hashes: list[np.ndarray] = dataclasses.field(default_factory=list)
  num_frames: collections.Counter[int] = _counter_field()
  num_labels: collections.Counter[int] = _counter_field()
  labels: set[int] = dataclasses.field(default_factory=set)

  @property
  def num_videos(self) -> int:
    """Number of the videos."""
    return sum(map(len, self.places))

  def add(self, other: "Tally"):
    """Adds other videos."""
    self.places += other.places
    self.id_hashes += other.id_hashes
    self.num_frames.update(other.num_frames)
    self.num_labels.update(other.num_labels)
    self.labels |= other.labels


@dataclasses.dataclass
class Report:
  """What was found in some shards, which are known by their indices.

  Attributes:
    num_shards: number of shards.
    num_records: number of records that can be read.
    num_bytes: size of the files.
    num_lost_bytes: bytes of them that are of no use.
    has_labels: whether a record has labels, right or wrong.
    labelled: sound videos with a list of labels.
    unlabelled: sound videos whose labels are missing, or not looked at.
    counts: (cause, shard) -> number of problems.
    findings: cause -> problems, no more than `MAX_LISTED`.
    dialects: (dialect, shard) -> number of records.
    start: time when it was begun; the processes of a machine have one clock.
    end: time when it was done.
  """

  num_shards: int = 0
  num_records: int = 0
  num_bytes: int = 0
  num_lost_bytes: int = 0
  has_labels: bool = False
  labelled: Tally = dataclasses.field(default_factory=Tally)
  unlabelled: Tally = dataclasses.field(default_factory=Tally)
  counts: collections.Counter[tuple[str, int]] = _counter_field()
  findings: dict[str, list[Finding]] = dataclasses.field(default_factory=dict)
  dialects: collections.Counter[tuple[Dialect, int]] = _counter_field()
  start: float = float("inf")
  end: float = 0.0

  def add_problem(self, place: int, video_id: str | None, problem: Problem):
    """Counts a problem, and lists it unless there are many of its kind."""
    self.counts[problem.cause, place // SHARD] += 1
    findings = self.findings.setdefault(problem.cause, [])
    if len(findings) < MAX_LISTED:
      shown_id = video_id and video_id[:_MOST_CHARACTERS]
      detail = problem.detail[:_MOST_CHARACTERS]
      findings.append(Finding(place, shown_id, detail))

  def add(self, other: "Report"):
    """Adds what was found in other shards, which come later."""
    self.num_shards += other.num_shards
    self.num_records += other.num_records
    self.num_bytes += other.num_bytes
    self.num_lost_bytes += other.num_lost_bytes
    self.has_labels |= other.has_labels
    self.labelled.add(other.labelled)
    self.unlabelled.add(other.unlabelled)
    self.counts.update(other.counts)
    for cause, others in other.findings.items():
      findings = self.findings.setdefault(cause, [])
      findings += others[: MAX_LISTED - len(findings)]
    self.dialects.update(other.dialects)
    self.start = min(self.start, other.start)
    self.end = max(self.end, other.end)


class ShardChecker:
  """Checks shards as a reader does; can be sent to other processes.

  Args:
    reader: the reader; None where the layout is not known.
    schema: the layout; None likewise.
    look_at_labels: whether to check labels.
  """

  def __init__(
    self,
    reader: readers.BaseReader | None,
    schema: readers.Schema | None,
    look_at_labels: bool = True,
  ):
    self._reader = reader
    self._look_at_labels = look_at_labels
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
    labelled, unlabelled = [], block
    if self._look_at_labels:
      key = LABELS_KEY.encode()
      # What does not have the word has no labels for sure.
      labelled = [item for item in block if key in item[1]]
      unlabelled = [item for item in block if key not in item[1]]
    lacking = self._check_records(labelled, True, report)
    self._check_records([*unlabelled, *lacking], False, report)

  def _check_records(self, items, with_labels: bool, report: Report) -> list:
    """Checks (place, record) pairs; returns those that only lack labels."""
    if not items:
      return []
    records = [record for _, record in items]
    batch, is_bad = self._reader.decode(records, with_labels)
    lacking = []
    for row in np.flatnonzero(is_bad):
      place, record = items[row]
      problem = self._reader.describe_problem(record, with_labels)
      if problem == NO_LABELS:
        lacking.append(items[row])
      else:
        self._add_bad(place, record, problem or REFUSED, with_labels, report)
    places = np.array([place for place, _ in items])[~is_bad]
    sound = {
      key: batch[key][~is_bad] for key in ("video_ids", "num_frames", "labels")
    }
    self._add_sound(places, sound, with_labels, report)
    return lacking

  def _add_bad(self, place, record, problem, with_labels, report):
    report.add_problem(place, self._find_video_id(record), problem)
    if with_labels and not self._reader.describe_problem(record, False):
      report.has_labels = True  # Wrong ones.
    schema = self._find_schema(record)
    if schema and all(schema.feature_sizes):
      report.dialects[Dialect.of(schema), place // SHARD] += 1

  def _find_schema(self, record: bytes) -> readers.Schema | None:
    for asked in (self._feature_names, None):
      with contextlib.suppress(UserError):
        return readers.schema_of(record, "", 0, asked)
    return None

  def _add_sound(self, places, batch, with_labels, report):
    tally = report.labelled if with_labels else report.unlabelled
    ids = batch["video_ids"].tolist()
    tally.places.append(places)
    tally.id_hashes.append(
      tf.strings.to_hash_bucket_fast(ids, _NUM_HASHES).numpy()
    )
    tally.num_frames.update(batch["num_frames"].tolist())
    for index, count in collections.Counter(places // SHARD).items():
      report.dialects[self._dialect, int(index)] += count
    if with_labels:
      labels = batch["labels"]
      report.has_labels |= bool(ids)
      tally.num_labels.update(labels.sum(axis=1).astype(int).tolist())
      tally.labels.update(np.flatnonzero(labels.any(axis=0)).tolist())
    elif self._look_at_labels:
      for place, video_id in zip(places.tolist(), ids, strict=True):
        shown = video_id.decode(errors="backslashreplace")
        report.add_problem(place, shown, NO_LABELS)


def _describe_unknown_layout(record: bytes) -> Problem:
  """What is wrong with a record of shards of which none shows its layout."""
  try:
    readers.schema_of(record, "", 0)
  except readers.LayoutError as error:
    detail = error.detail
  else:
    detail = "no video has frames, which would show a frame's size"
  return Problem("unknown layout", detail)
