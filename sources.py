# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Shards as a pipeline reads them: locations, faults, batches, passes.

Nothing here knows what a record holds; that is the business of readers.py.

`Source` has two forms, of which a reader chooses one by its name. A
`StoppingSource` lets TensorFlow read the shards, which is fastest, and stops at
the first bad record or fault. A `SkippingSource` reads them with shard_files,
which can go on behind a fault, and leaves out what is bad.
"""

import collections
import itertools
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from program import UserError

import numpy as np
import tensorflow as tf
from absl import logging

import shard_files
import utils
from bad_records import BadRecords
from records import Problem, find_video_id, place

SKIP_HINT = "--on_bad_record=skip leaves such records out."

# A record's location is one int64: shard index * _SHARD + record number.
_SHARD = 2**32
# TensorFlow's error does not name the shard. Those opened last are looked at
# first.
_RECENT_SHARDS = 256
_FAILURE = re.compile(r"failure@(\d+)")
# Errors of a shard's contents, or of a shard that has gone: reading it again
# finds the fault. Other errors, of a network for instance, would not show
# again.
_SHARD_ERRORS = (
  tf.errors.DataLossError,
  tf.errors.FailedPreconditionError,
  tf.errors.NotFoundError,
  tf.errors.OutOfRangeError,
)
# Errors of this machine or of the program, not of the data.
_OWN_ERRORS = (
  tf.errors.InvalidArgumentError,
  tf.errors.ResourceExhaustedError,
)
# Largest block that Python hands over to TensorFlow at a time: each takes a
# tenth of a millisecond or two, beside what its records take.
_BLOCK_RECORDS, _BLOCK_BYTES = 4096, 2**22


class Part(NamedTuple):
  """The part of the data that one of several workers reads.

  Attributes:
    index: the worker's number, in [0, count).
    count: how many workers there are.
  """

  index: int = 0
  count: int = 1


WHOLE = Part()


class Fold(NamedTuple):
  """One of the parts into which cross-validation divides videos.

  A video is in the fold CRC-32(id) modulo `count`, whatever shard it lies in.

  Attributes:
    index: the fold's number, in [0, count).
    count: how many folds there are.
    is_left_out: whether the fold's videos are left out, or all others.
  """

  index: int
  count: int
  is_left_out: bool

  def keeps(self, video_ids: Sequence[bytes]) -> np.ndarray:
    """[K] bool, which of K videos are read."""
    checksums = np.array([*map(zlib.crc32, video_ids)], np.uint32)
    return (checksums % self.count == self.index) != self.is_left_out


class Source:
  """The shards of a pipeline, and what becomes of what is bad in them.

  Attributes:
    shards: their paths.

  Args:
    shards: paths of TFRecord files.
    describe: says what is wrong with a record.
  """

  def __init__(
    self,
    shards: Sequence[str],
    describe: Callable[[bytes], Problem],
  ):
    self.shards = list(shards)
    self._describe = describe
    self._failures: list[Exception] = []

  def records(self, index):
    """A dataset of a shard's (location, record) pairs, in order; in a graph.

    Args:
      index: scalar int64, the shard's.
    """
    raise NotImplementedError

  def examine(self, records, locations, is_bad):
    """Called with each block of records; raises an error where one must not be.

    Args:
      records: [K] bytes.
      locations: [K] int64.
      is_bad: [K] bool, those that cannot be decoded.
    """
    raise NotImplementedError

  def check(self):
    """Called after each batch; raises a UserError if too much is bad."""

  def explain(self, error: Exception) -> Exception:
    """The UserError behind an error of the pipeline; or the error itself."""
    found = _FAILURE.search(str(error))
    if found and int(found[1]) < len(self._failures):
      return self._failures[int(found[1])]
    if isinstance(error, _OWN_ERRORS):
      return error
    if isinstance(error, _SHARD_ERRORS):
      return self._find_fault(self.shards) or error
    return UserError(f"Reading failed: {utils.error_text(error)}")

  def fail(self, error: Exception):
    """Stops the pipeline, whose error is then explained by this one."""
    self._failures.append(error)
    raise ValueError(f"failure@{len(self._failures) - 1}")

  def _find_fault(self, shards) -> UserError | None:
    for shard in shards:
      for item in shard_files.read_shard(shard):
        if isinstance(item, shard_files.Fault):
          return fault_error(shard, item)
    return None

  def _bad_ones(self, records, locations, is_bad) -> Iterator[tuple]:
    """Yields shard, number, problem and video id of bad records."""
    for row in np.flatnonzero(is_bad):
      index, number = divmod(int(locations[row]), _SHARD)
      video_id = find_video_id(records[row])
      yield self.shards[index], number, self._describe(records[row]), video_id


class StoppingSource(Source):
  """Stops at the first bad record, or fault of a shard, and names it."""

  def __init__(self, *args):
    super().__init__(*args)
    self._paths = tf.constant(self.shards)
    self._recent = collections.deque(maxlen=_RECENT_SHARDS)

  def records(self, index):
    """See `Source.records`."""
    is_open = tf.numpy_function(self._open, [index], tf.bool)
    with tf.control_dependencies([is_open]):
      path = tf.identity(self._paths[index])
    return tf.data.TFRecordDataset(path).enumerate(index * _SHARD)

  def examine(self, records, locations, is_bad):
    """See `Source.examine`."""
    for shard, number, problem, video_id in self._bad_ones(
      records, locations, is_bad
    ):
      where = place(shard, number, video_id)
      self.fail(UserError(f"{where}: {problem.detail}. {SKIP_HINT}"))

  def explain(self, error):
    """See `Source.explain`."""
    if len(self.shards) > 16 and isinstance(error, tf.errors.DataLossError):
      logging.info("Looking for the shard that cannot be read ...")
    return super().explain(error)

  def _find_fault(self, shards):
    # The shards that were opened last come first.
    opened = [self.shards[index] for index in reversed([*self._recent])]
    likely = [shard for shard in opened if shard in {*shards}]
    return super()._find_fault(dict.fromkeys([*likely, *shards]))

  def _open(self, index) -> np.bool_:
    """Takes note of a shard; stops where TensorFlow would not see a fault."""
    index = int(index)
    self._recent.append(index)
    shard = self.shards[index]
    is_empty = not utils.mean_file_size([shard])  # Or it is gone.
    try:
      error = None
      if is_empty or shard_files.misleads_tensorflow(shard):
        error = self._find_fault([shard])
    except UserError as caught:
      error = caught
    if error:
      self.fail(error)
    return np.bool_(True)


class SkippingSource(Source):
  """Leaves out bad records, and what a fault makes unreadable.

  Args:
    *args: as of `Source`.
    left_out: takes note of them.
  """

  def __init__(self, *args, left_out: BadRecords):
    super().__init__(*args)
    self._left_out = left_out

  def records(self, index):
    """See `Source.records`."""
    # A file is read once from begin to end, since it may change at any time.
    blocks = tf.data.Dataset.from_generator(
      self._blocks,
      args=[index],
      output_signature=(
        tf.TensorSpec([None], tf.int64),
        tf.TensorSpec([None], tf.string),
      ),
    )
    return blocks.unbatch()

  def examine(self, records, locations, is_bad):
    """See `Source.examine`."""
    for found in self._bad_ones(records, locations, is_bad):
      self._left_out.leave_out(*found)

  def check(self):
    """See `Source.check`."""
    self._left_out.check()

  def _blocks(self, index) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (locations, records) of a shard's records; notes its faults."""
    index = int(index)
    shard = self.shards[index]
    num_records = total_bytes = 0
    try:
      for numbers, records, num_bytes in self._sound_records(shard):
        num_records += len(records)
        total_bytes += num_bytes
        yield (
          np.array(numbers, np.int64) + index * _SHARD,
          np.array(records, object),
        )
    except UserError as error:
      self.fail(error)
    self._left_out.add_shard(shard, num_records, total_bytes)

  def _sound_records(self, shard: str) -> Iterator[tuple[list, list, int]]:
    """Yields blocks of numbers and records, and their bytes."""
    numbers, records, num_bytes = [], [], 0
    for number, item in enumerate(shard_files.read_shard(shard)):
      if isinstance(item, shard_files.Fault):
        video_id = find_video_id(item.remains)
        self._left_out.leave_out_fault(shard, item, video_id)
        continue
      numbers.append(number)
      records.append(item)
      num_bytes += len(item)
      if len(records) == _BLOCK_RECORDS or num_bytes > _BLOCK_BYTES:
        yield numbers, records, num_bytes
        numbers, records, num_bytes = [], [], 0
    yield numbers, records, num_bytes


class Batches:
  """Batches of a pipeline; errors while reading name shard, record and video.

  Args:
    dataset: a tf.data.Dataset of batches.
    source: what it reads.
    has_labels: whether labels are read.

  Attributes:
    shards: paths of the shards that are read.
    has_labels: whether labels are read.
  """

  def __init__(self, dataset, source: Source, has_labels: bool = True):
    self.shards, self.has_labels = source.shards, has_labels
    self._dataset = dataset
    self._source = source

  def __iter__(self) -> Iterator[dict]:
    iterator = iter(self._dataset)
    while True:
      try:
        batch = next(iterator)
      except StopIteration:
        break
      except tf.errors.OpError as error:
        raise self._source.explain(error) from error
      self._source.check()
      yield batch
    self._source.check()


class Passes:
  """Shuffled passes over a data set's shards, several to an epoch if many.

  One pipeline reads pass after pass, so that the next pass fills its shuffle
  buffer while the last batches of the present one are trained on.

  Attributes:
    per_epoch: number of passes that an epoch's shards are cut into.

  Args:
    make_dataset: a function from a function that gives the passes' numbers to a
      tf.data.Dataset of (number, batch) pairs.
    source: what it reads.
    per_epoch: as the attribute.
  """

  def __init__(
    self,
    make_dataset: Callable[[Callable[[], range]], tf.data.Dataset],
    source: Source,
    per_epoch: int,
  ):
    self.per_epoch = per_epoch
    # The one item is what will be read. It is no attribute that the function
    # below reads, since TensorFlow keeps that function for ever: the iterator
    # and its threads would live as long.
    numbers = self._numbers = [range(0)]
    # One dataset for all passes: tracing takes a good part of a second.
    self._dataset = make_dataset(lambda: numbers[0])
    self._batches = Batches(self._dataset, source)
    self._items: Iterator[tuple[tf.Tensor, dict]] = iter(())
    # The first item of the next pass, by which the end of a pass shows.
    self._ahead: tuple[tf.Tensor, dict] | None = None
    self._next_number = 0

  @property
  def spec(self) -> dict:
    """Shapes and types of a batch."""
    return self._dataset.element_spec[1]

  def batches(
    self, number: int, skip: int = 0, end: int | None = None
  ) -> Iterator[dict]:
    """Yields the batches of a pass; only one pass is used at a time.

    Args:
      number: the pass's number, from 0 over all epochs.
      skip: how many batches to pass over.
      end: the number behind that of the last pass to be read; None for this
        pass alone.
    """
    if number != self._next_number or number >= self._numbers[0].stop:
      self._numbers[0] = range(number, end or number + 1)
      self._items, self._ahead = iter(self._batches), None
    self._next_number = number + 1
    yield from itertools.islice(self._of_pass(number), skip, None)

  def _of_pass(self, number: int) -> Iterator[dict]:
    while True:
      self._ahead = self._ahead or next(self._items, None)
      if self._ahead is None or self._ahead[0] > number:
        return
      (found, batch), self._ahead = self._ahead, None
      if found == number:
        yield batch

  def blank(self) -> dict:
    """A batch of padding only."""
    return tf.nest.map_structure(
      lambda item: tf.zeros(item.shape, item.dtype), self.spec
    )


def fault_error(shard: str, fault: shard_files.Fault) -> UserError:
  """The error with which a program stops at a fault."""
  video_id = find_video_id(fault.remains)
  where = place(shard, fault.number, video_id)
  return UserError(
    f"{where}: {fault.detail}. Shards are uncompressed TFRecord files; fetch "
    "this one again, or give --on_bad_record=skip to leave out what cannot be "
    "read."
  )


def is_in_part(location, number, part: Part):
  """Whether a record is in a part of a pass: scalar bool.

  It is in another part in each pass, so that the parts' sizes even out.

  Args:
    location: scalar int64, where the record is.
    number: scalar int64, the pass's number.
    part: the part.
  """
  # The shard's index is added, since each shard may have only one record.
  place = number + location // _SHARD + location % _SHARD
  return tf.equal(place % part.count, part.index)
