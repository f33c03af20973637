# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Shards as a pipeline reads them: places of records, faults, batches.

Nothing here knows what a record holds; that is the business of readers.py.
"""

import collections
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from program import UserError

import numpy as np
import tensorflow as tf

import shard_files
from bad_records import BadRecords

# A record's location is one int64: epoch * _EPOCH + shard index * _SHARD +
# record number. One number is cheaper to carry along than three.
_SHARD = 2**28
_EPOCH = 2**48
_LOCATION = re.compile(r"record@(\d+)")
# TensorFlow's error does not name the shard, but it was opened not long ago.
_RECENT_SHARDS = 256
# 2**63 // _EPOCH: what a location has room for.
MAX_EPOCHS = 32767

# UnicodeDecodeError: TensorFlow quotes a record it cannot parse, as it is.
_READ_ERRORS = (tf.errors.OpError, UnicodeDecodeError)

# What Python hands over to TensorFlow at a time, at most.
_BLOCK_RECORDS, _BLOCK_BYTES = 64, 2**20


class Part(NamedTuple):
  """What one of several workers reads of the data.

  Attributes:
    index: the worker's number, in [0, count).
    count: how many workers there are.
  """

  index: int = 0
  count: int = 1


WHOLE = Part()


class Batches:
  """Batches of a pipeline; errors while reading name shard, record and video.

  Attributes:
    dataset: the tf.data.Dataset behind it, for a distribution strategy.

  Args:
    dataset: what to iterate over.
    explain: turns an error of the pipeline into one that names its cause.
    check: called for each batch with False, and with True behind the last;
      raises a UserError where something is wrong though the batches are right.
  """

  def __init__(
    self,
    dataset,
    explain: Callable[[Exception], Exception],
    check: Callable[[bool], None],
  ):
    self.dataset = dataset
    self._explain = explain
    self._check = check

  def __iter__(self) -> Iterator[dict]:
    iterator = iter(self.dataset)
    while True:
      try:
        batch = next(iterator)
      except StopIteration:
        break
      except _READ_ERRORS as error:
        raise self._explain(error) from error
      self._check(False)
      yield batch
    self._check(True)

  def distributed(self, strategy) -> "Batches":
    """The same batches, each split over the strategy's replicas."""
    dataset = strategy.experimental_distribute_dataset(self.dataset)
    return Batches(dataset, self._explain, self._check)

  def blank(self) -> dict:
    """A batch without videos."""
    batch = tf.nest.map_structure(
      lambda spec: tf.zeros(spec.shape, spec.dtype), self.dataset.element_spec
    )
    # As in the rows that pad a batch.
    batch["num_frames"] += 1
    batch["epochs"] -= 1
    return batch


class Source:
  """The shards of a pipeline, which are looked at when they are opened.

  Attributes:
    shards: their paths.
    left_out: takes note of what cannot be read; None stops there.
    part: which part of the records is to be read.
    failure: why shards cannot be read at all at present, a UserError; or None.
  """

  def __init__(
    self,
    shards: Sequence[str],
    find_video_id: Callable[[bytes], str | None],
    left_out: BadRecords | None,
    first_whole_epoch: int = 0,
    part: Part = WHOLE,
  ):
    self.shards = list(shards)
    self.left_out = left_out
    self.part = part
    self.failure: UserError | None = None
    self._find_video_id = find_video_id
    self._paths = tf.constant(self.shards)
    self._recent = collections.deque(maxlen=_RECENT_SHARDS)
    # Shard index -> size and time of change, and whether it has no fault: where
    # faults stop the program, none with which TensorFlow cannot deal.
    self._verdicts: dict[int, tuple[tuple[int, int], bool]] = {}
    # Shard index -> bytes of the file; and of the records that came from it, in
    # the epochs that are under way.
    self._sizes: dict[int, int] = {}
    self._bytes_read: dict[int, np.ndarray] = {}
    # The next epoch whose bytes are to be compared with the sizes.
    self._next_epoch = self._first_whole_epoch = first_whole_epoch
    self._lock = threading.Lock()

  def records(self, index, first):
    """A dataset of a shard's (location, record) pairs, in order.

    Args:
      index: scalar int, the shard's.
      first: scalar int64, the location of its first record.
    """
    if self.left_out is None:
      is_open = tf.numpy_function(self._note_opening, [index], tf.bool)
      check = tf.debugging.Assert(is_open, [located(first)])
      with tf.control_dependencies([check]):
        path = tf.identity(self._paths[index])
      return tf.data.TFRecordDataset(path).enumerate(first)
    # TensorFlow reads twice as fast; ours reads on behind a fault, and one pass
    # over the file is all it takes: a shard may change or go at any time.
    blocks = tf.data.Dataset.from_generator(
      self._readable_blocks,
      args=[index, first],
      output_signature=(
        tf.TensorSpec([None], tf.int64),
        tf.TensorSpec([None], tf.string),
      ),
    )
    return blocks.unbatch()

  def is_in_part(self, location):
    """Whether a record is in this part: scalar bool, of its location.

    It is in another part in each epoch, so that the parts' sizes even out.
    """
    epoch, place = location // _EPOCH, location % _EPOCH
    # The shard counts too: all may have only one record.
    number = epoch + place // _SHARD + place % _SHARD
    return tf.equal(number % self.part.count, self.part.index)

  def place_in(self, error: Exception) -> tuple[str, int]:
    """As `place_of`, of the record that an error names."""
    return self.place_of(int(_LOCATION.search(str(error))[1]))

  def place_of(self, location: int) -> tuple[str, int]:
    """A record's shard and number; IndexError if there is no such shard."""
    index, number = divmod(location % _EPOCH, _SHARD)
    return self.shards[index], number

  def likely_shards(self) -> Iterator[str]:
    """All shards, those first that were opened last."""
    recent = dict.fromkeys(reversed(self._recent))
    yield from (self.shards[index] for index in recent)
    for index, shard in enumerate(self.shards):
      if index not in recent:
        yield shard

  def count(self, locations, block):
    """Counts the bytes of records, in the pipeline.

    TensorFlow takes a shard that was cut in a record's header for a whole one.
    That of a local shard shows before (`shard_files.misleads_tensorflow`).

    Args:
      locations: [K] int64, where the records are.
      block: [K] string, the records.
    """
    num_bytes = tf.strings.length(block)
    return tf.numpy_function(self._count, [locations, num_bytes], tf.bool)

  def _count(self, locations, num_bytes) -> np.bool_:
    epochs = locations // _EPOCH
    indices = locations % _EPOCH // _SHARD
    framed = num_bytes + float(shard_files.FRAMING_BYTES)
    with self._lock:
      for epoch in np.unique(epochs).tolist():
        is_in = epochs == epoch
        counted = np.bincount(indices[is_in], framed[is_in], len(self.shards))
        self._bytes_read[epoch] = self._bytes_read.get(epoch, 0) + counted
    return np.bool_(True)

  def shards_that_ended_early(self, is_end: bool) -> list[str]:
    """Shards that gave fewer bytes than they have, in epochs that are over.

    Args:
      is_end: whether all records have been read, and the pipeline may start
        again. Otherwise an epoch is over for certain when the next but one has
        begun.
    """
    with self._lock:
      newest = max(self._bytes_read, default=0)
      epochs = range(self._next_epoch, newest + 1 if is_end else newest - 1)
      nothing = np.zeros(len(self.shards))
      counts = [self._bytes_read.pop(epoch, nothing) for epoch in epochs]
      self._next_epoch = max(self._next_epoch, epochs.stop)
      if is_end:
        self._bytes_read.clear()
        self._next_epoch = self._first_whole_epoch
    return [
      self.shards[index]
      for index, size in sorted(self._sizes.items())
      if any(num_bytes[index] < size for num_bytes in counts)
    ]

  def _note_opening(self, index) -> np.bool_:
    index = int(index)
    signature = self._signature(index)
    self._recent.append(index)
    self._sizes[index], _ = signature
    if not self._sizes[index]:
      return np.bool_(False)
    if self._verdicts.get(index, ())[:1] != (signature,):
      is_safe = not shard_files.misleads_tensorflow(self.shards[index])
      self._verdicts[index] = signature, is_safe
    return np.bool_(self._verdicts[index][1])

  def _signature(self, index: int) -> tuple[int, int]:
    """Size and time of change; zeros where the file cannot be looked at."""
    try:
      stat = tf.io.gfile.stat(self.shards[index])
    except (tf.errors.OpError, OSError):
      return 0, 0
    return stat.length, stat.mtime_nsec

  def _readable_blocks(self, index, first):
    """Yields (locations, records) of what a shard has; takes note of faults.

    Raises:
      UserError: it cannot be read at present, which `failure` has then.
    """
    try:
      yield from self._sound_blocks(index, first)
    except UserError as error:
      self.failure = error
      raise

  def _sound_blocks(self, index, first):
    shard = self.shards[int(index)]
    num_records = num_bytes = 0
    for block in _blocks(shard_files.read_shard(shard), int(first)):
      locations, records = [], []
      for location, item in block:
        if isinstance(item, bytes):
          locations.append(location)
          records.append(item)
        else:
          video_id = self._find_video_id(item.remains)
          self.left_out.leave_out_fault(shard, item, video_id)
      num_records += len(records)
      num_bytes += sum(map(len, records))
      yield np.array(locations, np.int64), np.array(records, object)
    self.left_out.add_shard(shard, num_records, num_bytes)


def _blocks(
  items: Iterable[bytes | shard_files.Fault], first: int
) -> Iterator[list[tuple[int, bytes | shard_files.Fault]]]:
  """Numbers items from `first`; many small ones or a few large ones at a time.

  To hand over single records takes Python several times as long.
  """
  block, num_bytes = [], 0
  for item in enumerate(items, start=first):
    block.append(item)
    num_bytes += len(item[1]) if isinstance(item[1], bytes) else 0
    if len(block) == _BLOCK_RECORDS or num_bytes > _BLOCK_BYTES:
      yield block
      block, num_bytes = [], 0
  yield block


def location_of(epoch, index):
  """Where the first record of a shard is: scalar int64, as its arguments."""
  return epoch * _EPOCH + index * _SHARD


def epoch_of(locations):
  """The epochs of locations, of the same shape."""
  return locations // _EPOCH


def names_a_record(error: Exception) -> bool:
  """Whether an error of a pipeline has a location in its text."""
  return _LOCATION.search(str(error)) is not None


def located(locations):
  """[K] string, what an error must contain for its record to be found."""
  return tf.strings.join(["record@", tf.strings.as_string(locations)])
