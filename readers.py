# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Readers: TFRecord shards in, batches of tensors out.

Every batch, of every reader, is a dict with these keys (B rows, C classes,
T = max_frames):

  video_ids   [B] string
  features    {feature name: [B, D] float32, of the whole video; or
              [B, T, D] uint8 codes, or float32, of its frames}
  num_frames  [B] int32, each video's own frames, at most T (1 at video level)
  labels      [B, C] float32 in {0, 1}
  weights     [B] float32, 0 for the rows that only pad a data set's last batch;
              everything else is 0 or empty there, too

Frame features stay 8-bit codes until they are on the device that trains; see
`model_layers.NormalizedInput`. Segments have two more keys (segment_reader.py).

There is one pipeline: records of several shards in turn -> shuffled, for
training -> blocks are decoded (records.py), and their bad records stop the
pipeline or are left out (sources.py) -> batches -> padding.
"""

import functools
import itertools
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import program
from program import UserError

import numpy as np
import tensorflow as tf

import devices
import shard_files
import utils
from bad_records import BadRecords
from records import (
  CODES,
  FRAME_FEATURES,
  ID_KEYS,
  LABELS_KEYS,
  VECTOR,
  VIDEO_FEATURES,
  Decoder,
  Form,
  FrameChoice,
  Problem,
  Schema,
  first_key,
  parse,
  schema_of,
)
from sources import (
  WHOLE,
  Batches,
  Fold,
  Part,
  Passes,
  SkippingSource,
  Source,
  StoppingSource,
  fault_error,
  is_in_part,
)

# The problem of a record that `decode` refuses and `describe_problem` does not.
REFUSED = Problem(
  "refused by the reader", "its describe_problem does not say why"
)

# The functions of the pipelines need no AutoGraph, whose rewriting of them
# takes a second of every program's start.
_as_written = tf.autograph.experimental.do_not_convert

# Most bytes of the records that wait to be shuffled.
SHUFFLE_BYTES = 256 * 2**20
# Bytes of all batches that are decoded at the same time.
_DECODED_BYTES = 128 * 2**20
# Shards that are interleaved. A constant, since the order of the records must
# not depend on the machine, nor on how many shards are read in parallel.
_SHARDS_IN_TURN = 16
# Most shards of a pass, unless several workers share it.
_PASS_SHARDS = 256
# With fewer shards per worker the records of each shard are divided instead,
# since parts of whole shards would differ too much in size.
_LEAST_SHARDS_PER_WORKER = 8
# Bytes read ahead in each shard on gs://: one block of TensorFlow's reads.
_AHEAD_BYTES = program.CLOUD_BLOCK_MB * 2**20
# Batches that are ready while a step runs, so that the next pass begins early.
_BATCHES_AHEAD = 2
# Most records, and bytes, of a shard of which the labels are looked at.
_LABEL_RECORDS, _LABEL_BYTES = 256, 2**24
# Most records of a shard that are looked at to find its layout.
_SCHEMA_RECORDS = 100


def detect_schema(
  shards: Sequence[str],
  feature_names: Sequence[str] | None = None,
  skip_bad: bool = False,
  need_labels: bool = False,
  frame_features: bool | None = None,
) -> Schema:
  """Looks at the first records and finds out how they are laid out.

  Usually the first record of the first shard tells everything; videos without
  frames, which do not show a feature's size, are passed over.

  Args:
    shards: paths of TFRecord files.
    feature_names: the features to read; None takes those of the dataset that
      the record has.
    skip_bad: whether to pass over what cannot be read, too.
    need_labels: whether a record without labels is then such a one, as long as
      there is another.
    frame_features: as in `records.schema_of`.

  Returns:
    How they are laid out; where no video has frames, with sizes of 0.

  Raises:
    UserError: no record, not TFRecord files, not YouTube-8M records, or
      records without the features asked for.
  """
  problem = second_best = None
  for shard in shards:
    items = shard_files.read_shard(shard)
    for number, item in enumerate(itertools.islice(items, _SCHEMA_RECORDS)):
      try:
        if isinstance(item, shard_files.Fault):
          raise fault_error(shard, item)
        schema = schema_of(item, shard, number, feature_names, frame_features)
      except UserError as error:
        problem = problem or error
        if not skip_bad:
          raise
        continue
      has_sizes = all(schema.feature_sizes)
      if has_sizes and (schema.has_labels or not (skip_bad and need_labels)):
        return schema
      if has_sizes or not second_best:
        second_best = schema
  if second_best:
    return second_best
  raise problem or UserError(f"{shards[0]!r} has no record.")


def first_labels(shard: str, keys: Sequence[str] = LABELS_KEYS) -> list[int]:
  """The labels of a shard's first records, of all that can be read."""
  labels, num_bytes = [], 0
  items = shard_files.read_shard(shard)
  for item in itertools.islice(items, _LABEL_RECORDS):
    context, _ = (
      parse(item) or ({}, {}) if isinstance(item, bytes) else ({}, {})
    )
    if key := first_key(keys, context):
      labels += context[key].int64_list.value
      num_bytes += len(item)
    if num_bytes > _LABEL_BYTES:
      break
  return labels


class FrameSample(NamedTuple):
  """The frames of each video that training takes, others in each pass.

  Attributes:
    size: frames of each video, S.
    is_random: whether they are drawn one by one, so that one may come twice,
      and put in their order; else they are S adjacent frames, or all of a
      shorter video.
    seed: what they depend on, beside the pass and the video's id.
  """

  size: int
  is_random: bool
  seed: int

  def choose(
    self, number: int, video_ids: np.ndarray, num_frames: np.ndarray
  ) -> np.ndarray:
    """Draws frames; see `records.FrameChoice`.

    Args:
      number: the pass's.
      video_ids: [K] bytes.
      num_frames: [K] int64.
    """
    draws = self._draws(number, video_ids)
    counts = num_frames.astype(np.uint64)[:, None]
    if self.is_random:
      frames = np.sort(draws * counts >> np.uint64(32), axis=1)
      is_there = np.broadcast_to(counts > 0, frames.shape)
    else:
      starts = np.maximum(num_frames - self.size, 0).astype(np.uint64) + 1
      first = draws[:, :1] * starts[:, None] >> np.uint64(32)
      frames = first + np.arange(self.size, dtype=np.uint64)
      is_there = frames < counts
    return np.where(is_there, frames.astype(np.int64), -1)

  def _draws(self, number: int, video_ids: np.ndarray) -> np.ndarray:
    """[K, S] uint64 below 2**32: the numbers of SplitMix64.

    Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
    generators", figure 16; a sequence for each video and pass.
    """
    checksums = np.fromiter(map(zlib.crc32, video_ids), np.uint64)
    start = np.random.SeedSequence([self.seed, number]).generate_state(
      1, np.uint64
    )
    states = checksums[:, None] * np.uint64(0xD1342543DE82EF95) + start
    steps = np.arange(1, self.size + 1, dtype=np.uint64)
    mixed = states + steps * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
      mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(32)


class BaseReader:
  """Base class of the readers: pipelines, ids, labels.

  Args:
    num_classes: number of classes; labels are in [0, num_classes).
    feature_sizes: size of each feature.
    feature_names: the features, in the order in which they are concatenated.
    num_readers: shards read at the same time, at most 16; None chooses from
      the machine. The order of the records does not depend on it.
    feature_kinds: kind of each feature (`records.KINDS`); None where all are of
      the reader's usual kind.
    max_frames: longer videos are cut to this many frames, shorter ones padded.
  """

  usual_kind = VECTOR
  row_name = "videos"  # What the rows of a batch are called.

  def __init__(
    self,
    num_classes: int = 3862,
    feature_sizes: Sequence[int] = (1024,),
    feature_names: Sequence[str] = ("mean_inc3",),
    num_readers: int | None = None,
    feature_kinds: Sequence[str] | None = None,
    max_frames: int = 1,
  ):
    if len(feature_names) != len(feature_sizes):
      raise UserError(
        f"{len(feature_names)} feature names ({','.join(feature_names)}) but "
        f"{len(feature_sizes)} feature sizes "
        f"({','.join(map(str, feature_sizes))}); give one size for each name."
      )
    if named := {*ID_KEYS, *LABELS_KEYS} & {*feature_names}:
      raise UserError(
        f"--feature_names: {named.pop()!r} is no feature; the datasets' are "
        f"{', '.join((*FRAME_FEATURES, *VIDEO_FEATURES))}."
      )
    kinds = feature_kinds or [self.usual_kind] * len(feature_names)
    self.num_classes = num_classes
    self.max_frames = max_frames
    self.row_frames = max_frames
    self.feature_sizes = dict(zip(feature_names, feature_sizes, strict=True))
    self._forms = dict(
      zip(feature_names, map(Form, kinds, feature_sizes), strict=True)
    )
    self._num_readers = num_readers
    self._decoder = Decoder(num_classes)

  @property
  def feature_spec(self) -> dict[str, tf.TensorSpec]:
    """Name -> shape and type of a feature, of K records."""
    return {
      name: tf.TensorSpec(form.shape(None, self.max_frames), form.dtype)
      for name, form in self._forms.items()
    }

  def decode(
    self,
    records: Sequence[bytes],
    with_labels: bool = True,
    choose_frames: FrameChoice | None = None,
  ):
    """Decodes a block of records; a new reader adds features to this one's.

    Args:
      records: K serialized records.
      with_labels: False where the records need not have labels.
      choose_frames: the frames to take, S of each video. Only given where
        training takes some of them.

    Returns:
      A dict of arrays as in the module's docstring without "weights", with
      "num_frames" of the whole videos, or of the frames that were chosen; the
      features are as `feature_spec` says, but with S frames where they are
      chosen. And [K] bool, True for the bad records, whose rows mean nothing.
    """
    return self._decoder.decode(records, with_labels, choose_frames)

  def describe_problem(self, record: bytes, with_labels=True) -> Problem | None:
    """The problem of a serialized record; None if it has none."""
    return self._decoder.describe(record, with_labels)

  def rows_of(self, batch: dict, with_labels: bool = True) -> dict:
    """The rows of videos that are not bad; here, each video is one.

    Args:
      batch: what `decode` returned, K videos.
      with_labels: as in `decode`.

    Returns:
      A dict of arrays of N rows, as `row_spec` says.
    """
    counts = np.minimum(batch["num_frames"], self.max_frames, dtype=np.int32)
    return {**batch, "num_frames": counts}

  def rows_per_video(self, with_labels: bool = True) -> int:
    """About how many rows a video becomes."""
    del with_labels
    return 1

  def row_spec(self, with_labels: bool = True) -> dict:
    """Shape and type of each part of some rows, but for the weights."""
    return {
      "video_ids": tf.TensorSpec([None], tf.string),
      "features": _with_frames(self.feature_spec, self.row_frames),
      "num_frames": tf.TensorSpec([None], tf.int32),
      "labels": tf.TensorSpec([None, self.num_classes], tf.float32),
    }

  def evaluation_batches(
    self,
    shards: Sequence[str],
    batch_size: int,
    with_labels: bool = True,
    left_out: BadRecords | None = None,
    part: Part = WHOLE,
    fold: Fold | None = None,
  ) -> Batches:
    """Every video exactly once, in an order that is always the same.

    Args:
      shards: paths of TFRecord files.
      batch_size: videos in a batch; the last one is padded.
      with_labels: False for shards without labels; `labels` are zeros then.
      left_out: takes note of bad records, which are left out; None stops with
        a UserError at the first.
      part: which of the videos to read; all parts together are all videos.
      fold: which videos to keep of those; None for all.
    """
    by_shards = len(shards) >= part.count * _LEAST_SHARDS_PER_WORKER
    source = self._source(shards, with_labels, left_out)
    order = np.arange(len(shards))
    if by_shards:
      order = order[part.index :: part.count]
    records = self._records(source, order)
    if not by_shards:
      records = _filtered(records, 0, part)
    dataset = self._batched(records, source, batch_size, with_labels, fold)
    return Batches(dataset.with_options(_options()), source, with_labels)

  def training_passes(
    self,
    shards: Sequence[str],
    batch_size: int,
    seed: int,
    record_bytes: int,
    left_out: BadRecords | None = None,
    part: Part = WHOLE,
    fold: Fold | None = None,
    sample: FrameSample | None = None,
  ) -> Passes:
    """Shuffled passes over the data; the last batch of each is padded.

    The order is a function of the shards, `seed`, the pass's number and
    TensorFlow's global seed, so a resumed run goes on where the first one
    stopped.

    Args:
      shards: paths of TFRecord files.
      batch_size: videos in a batch.
      seed: what the order depends on.
      record_bytes: size of a typical record, which sets how many fit into the
        shuffle buffer.
      left_out: takes note of bad records, which are left out; None stops with
        a UserError at the first.
      part: which of each pass's videos to read.
      fold: which videos to keep of those; None for all.
      sample: the frames to take of each video; None for all.
    """
    per_epoch = passes_per_epoch(len(shards), part.count)
    least = part.count * _LEAST_SHARDS_PER_WORKER
    by_shards = len(shards) // per_epoch >= least
    source = self._source(shards, True, left_out)
    # In records of the longest video, since the first record may be a short
    # one. Not a function of the batch size, which may differ when a run is
    # resumed.
    buffer_size = SHUFFLE_BYTES // max(1, record_bytes, self._most_bytes())

    def order_of(number) -> np.ndarray:
      order = pass_order(len(shards), per_epoch, seed, int(number))
      if by_shards:
        order = order[(part.index + int(number)) % part.count :: part.count]
      return order

    @_as_written
    def records_of(number):
      order = tf.numpy_function(order_of, [number], tf.int64)
      records = self._records(source, tf.ensure_shape(order, [None]))
      if not by_shards:
        records = _filtered(records, number, part)
      return records.shuffle(
        max(1, buffer_size), seed + 1 + number, reshuffle_each_iteration=False
      )

    @_as_written
    def batches_of(number):
      batches = self._batched(
        records_of(number), source, batch_size, True, fold, sample, number
      )
      return batches.map(_as_written(lambda batch: (number, batch)))

    def make_dataset(numbers: Callable[[], range]):
      passes = tf.data.Dataset.from_generator(
        numbers, output_signature=tf.TensorSpec([], tf.int64)
      )
      dataset = passes.flat_map(batches_of).prefetch(_BATCHES_AHEAD)
      return dataset.with_options(_options())

    return Passes(make_dataset, source, per_epoch)

  def _source(self, shards, with_labels, left_out) -> Source:
    """The one place that chooses who reads the shards."""

    def describe(record):
      return self.describe_problem(record, with_labels) or REFUSED

    arguments = (shards, describe)
    if left_out is None:
      return StoppingSource(*arguments)
    return SkippingSource(*arguments, left_out=left_out)

  def _records(self, source: Source, order):
    """A dataset of (location, record) pairs of shards.

    Args:
      source: the shards.
      order: [n] int64, the shards' indices in the order of reading.
    """
    num_readers, num_ahead = self._read_ahead(source.shards)

    @_as_written
    def read_shard(index):
      records = source.records(index)
      return records.prefetch(num_ahead) if num_ahead else records

    return tf.data.Dataset.from_tensor_slices(order).interleave(
      read_shard,
      cycle_length=_SHARDS_IN_TURN,
      # A run of records costs less to hand over than single records.
      block_length=8,
      num_parallel_calls=num_readers,
      deterministic=True,
    )

  def _read_ahead(self, shards: Sequence[str]) -> tuple[int, int]:
    """How many shards to read at the same time, and records ahead in each.

    Behind a network, a shard's next bytes take long to come: all shards wait
    for them together, and while what came before is used.
    """
    are_local = all(map(utils.is_local, shards))
    default = devices.available_cpus() if are_local else _SHARDS_IN_TURN
    num_readers = min(self._num_readers or default, _SHARDS_IN_TURN)
    if are_local:
      return num_readers, 0
    return num_readers, max(1, _AHEAD_BYTES // self._most_bytes())

  def _batched(
    self, records, source, batch_size, with_labels, fold, sample=None, number=0
  ):
    """A dataset of padded batches of (location, record) pairs of a pass."""
    row_bytes = self._most_bytes() + 4 * self.num_classes
    spec = self.row_spec(with_labels)
    if sample:
      spec["features"] = _with_frames(spec["features"], sample.size)

    def decode(number, locations, block):
      # A reader of somebody's own need not know how to choose frames.
      chosen = [functools.partial(sample.choose, number)] if sample else []
      try:
        batch, is_bad = self.decode(block, with_labels, *chosen)
      except Exception as error:  # Shown with its traceback.
        source.fail(error)
      source.examine(block, locations, is_bad)
      is_kept = ~is_bad
      if fold:
        is_kept &= fold.keeps(batch["video_ids"])
      if not is_kept.all():
        batch = tf.nest.map_structure(lambda rows: rows[is_kept], batch)
      return tf.nest.flatten(self.rows_of(batch, with_labels))

    @_as_written
    def decode_block(locations, block):
      specs = tf.nest.flatten(spec)
      types = [item.dtype for item in specs]
      values = tf.numpy_function(decode, [number, locations, block], types)
      for value, item in zip(values, specs, strict=True):
        value.set_shape(item.shape)
      return tf.nest.pack_sequence_as(spec, values)

    # Bounded parallelism: each decoder holds one batch that is ready.
    dataset = records.batch(
      -(-batch_size // self.rows_per_video(with_labels))
    ).map(
      decode_block,
      num_parallel_calls=num_decoders(batch_size * row_bytes),
      deterministic=True,
    )
    return dataset.rebatch(batch_size).map(
      _as_written(lambda batch: _pad_batch(batch, batch_size))
    )

  def _most_bytes(self) -> int:
    """Bytes of the features of the longest video that is not cut."""
    return sum(
      form.num_bytes * (1 if form.kind == VECTOR else self.max_frames)
      for form in self._forms.values()
    )


class YT8MAggregatedFeatureReader(BaseReader):
  """Reads video-level records: a tf.Example with float features per video."""

  def __init__(self, *args, **kwargs):
    super().__init__(*args, **kwargs)
    self._decoder = Decoder(self.num_classes, self._forms, self.max_frames)


class YT8MFrameFeatureReader(YT8MAggregatedFeatureReader):
  """Reads frame-level records: a tf.SequenceExample with bytes per frame.

  A feature of another kind may stand beside the frames.

  Args:
    max_frames: as in `BaseReader`.
    **kwargs: as in `BaseReader`.
  """

  usual_kind = CODES

  def __init__(self, *args, max_frames: int = utils.MAX_FRAMES, **kwargs):
    super().__init__(*args, max_frames=max_frames, **kwargs)


def _with_frames(spec: dict, num_frames: int) -> dict:
  """Specs of features, with another number of frames."""
  return {
    name: tf.TensorSpec([None, num_frames, *item.shape[2:]], item.dtype)
    if item.shape.rank == 3
    else item
    for name, item in spec.items()
  }


def _options() -> tf.data.Options:
  options = tf.data.Options()
  # Nothing is left to tune, and the autotuner's thread can delay the end of a
  # pipeline that failed by a minute.
  options.autotune.enabled = False
  return options


def num_decoders(batch_bytes: float) -> int:
  """Batches of a size that are decoded at the same time."""
  most = max(1, int(_DECODED_BYTES // max(1, batch_bytes)))
  return min(devices.available_cpus(), most)


def passes_per_epoch(num_shards: int, num_workers: int) -> int:
  """Passes that an epoch's shards are cut into."""
  most = max(_PASS_SHARDS, _SHARDS_IN_TURN * num_workers)
  return -(-num_shards // most)


def pass_order(
  num_shards: int, per_epoch: int, seed: int, number: int
) -> np.ndarray:
  """[n] int64: a pass's shards, in the order of reading.

  Args:
    num_shards: shards of the data set.
    per_epoch: passes that they are cut into.
    seed: what the order depends on.
    number: the pass's number, from 0 over all epochs.
  """
  epoch, place = divmod(number, per_epoch)
  # A seed may be negative.
  rng = np.random.default_rng([seed % 2**64, epoch])
  first, last = (num_shards * n // per_epoch for n in (place, place + 1))
  return rng.permutation(num_shards)[first:last]


def _filtered(records, number, part: Part):
  """The (location, record) pairs of a part of a pass."""
  return records.filter(
    _as_written(lambda location, _: is_in_part(location, number, part))
  )


def _pad_batch(batch, batch_size: int):
  """Fills the last batch up with rows of zeros, whose weight is 0 too."""
  num_rows = tf.shape(batch["num_frames"])[0]
  batch = {**batch, "weights": tf.ones([num_rows])}
  missing = batch_size - num_rows

  def padded(value):
    return tf.pad(value, [[0, missing]] + [[0, 0]] * (value.shape.rank - 1))

  # Full batches are not padded: tf.pad would copy them.
  batch = tf.cond(
    missing > 0,
    lambda: tf.nest.map_structure(padded, batch),
    lambda: tf.nest.map_structure(tf.identity, batch),
  )
  return tf.nest.map_structure(
    lambda value: tf.ensure_shape(value, [batch_size, *value.shape[1:]]), batch
  )
