# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Readers: TFRecord shards in, batches of tensors out.

The only file that knows how records are laid out, with frame_records.py for the
bytes of frame-level ones. Every batch, of every
reader, is a dict with these keys (B videos, C classes, T = max_frames):

  video_ids   [B] string
  features    {feature name: [B, D] float32} at video level,
              {feature name: [B, T, D] uint8 codes} at frame level
  num_frames  [B] int32, each video's own frames (1 at video level)
  labels      [B, C] float32 in {0, 1}
  weights     [B] float32, 0 for rows that only pad the last batch
  epochs      [B] int32, the pass over the data a row belongs to, from 0

Frame features stay 8-bit codes until they are on the device that trains; see
`models.NormalizedInput`.

The pipelines check what they parse with a few vectorised comparisons. When one
fails, they say only which record it was; `describe_problem` then reads that
record again, slowly, and says what is wrong with it.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Sequence

from program import UserError

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf.message import DecodeError

import frame_records
import utils

MAX_FRAMES = 300

# Features in the order in which they are concatenated; whichever a record has.
FRAME_FEATURES = ("inc3", "rgb", "audio", "audio_embedding")
VIDEO_FEATURES = ("mean_inc3", "mean_rgb", "mean_audio")
ID_KEYS = ("id", "video_id")
LABELS_KEY = "labels"
# AudioSet clips are 10 s; padding them to 300 frames would waste 97%.
_SHORT_CLIP_FEATURE, _SHORT_CLIP_FRAMES = "audio_embedding", 10

# A record's location is one int64: epoch * _EPOCH + shard index * _SHARD +
# record number. One number is cheaper to carry along than three.
_SHARD = 2**28
_EPOCH = 2**48
_LOCATION = re.compile(r"record@(\d+)")
# UnicodeDecodeError: TensorFlow quotes a record it cannot parse, as it is.
_READ_ERRORS = (tf.errors.OpError, UnicodeDecodeError)
_PARSE_ERRORS = (tf.errors.InvalidArgumentError, UnicodeDecodeError)
# Of a shard's contents, or of one that is no longer there. Others, a network
# that is down for instance, would not be found by reading again.
_EXPLAINED_ERRORS = (
  *_PARSE_ERRORS,
  tf.errors.DataLossError,
  tf.errors.FailedPreconditionError,
  tf.errors.NotFoundError,
  tf.errors.OutOfRangeError,
)
# 2**63 // _EPOCH: what a location has room for.
MAX_EPOCHS = 32767

# The functions of the pipelines need no AutoGraph, whose rewriting of them
# takes a second of every program's start.
_as_written = tf.autograph.experimental.do_not_convert

_SHUFFLE_BYTES = 256 * 2**20
_PARSE_BYTES = 2**30
# Shards that records come from in turn. Fixed, as the order of the records
# must not depend on the machine, nor on how many of them are read in parallel.
_SHARDS_IN_TURN = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schema:
  """How a shard's records are laid out, as its first record shows it."""

  shard: str
  frame_features: bool
  id_key: str
  feature_names: tuple[str, ...]
  feature_sizes: tuple[int, ...]
  max_frames: int
  has_labels: bool
  record_bytes: int


def available_cpus() -> int:
  """CPUs this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def detect_schema(
  shards: Sequence[str], feature_names: Sequence[str] | None = None
) -> Schema:
  """Looks at the first records and finds out how they are laid out.

  Usually the first record of the first shard tells everything; empty shards
  and videos without frames, which do not show a feature's size, are passed
  over.

  Args:
    shards: paths of TFRecord files.
    feature_names: the features to read; None takes those of the dataset that
      the record has.

  Raises:
    UserError: no record, not TFRecord files, not YouTube-8M records, or
      records without the features asked for.
  """
  for shard in shards:
    try:
      for record in tf.data.TFRecordDataset(shard).take(100):
        schema = _schema_of(record.numpy(), shard, feature_names)
        if all(schema.feature_sizes):
          return schema
    except tf.errors.OpError as error:
      raise UserError(_shard_error(shard, error)) from error
  raise UserError(
    f"No record with features in {len(shards)} shard(s), the first of which is "
    f"{shards[0]!r}. Check that the files are complete."
  )


def _schema_of(record: bytes, shard: str, asked: Sequence[str] | None):
  example = _parse_proto(record)
  if example is None:
    raise UserError(
      f"{shard!r}: the first record is neither a tf.Example nor a "
      "tf.SequenceExample."
    )
  context, frame_lists = example
  id_key = next((key for key in ID_KEYS if key in context), None)
  if id_key is None:
    raise UserError(
      f"{shard!r}: the first record has neither 'id' nor 'video_id'; it has "
      f"{_listing([*context, *frame_lists])}."
    )
  sizes = (
    {
      name: _frame_size(name, frames, shard)
      for name, frames in frame_lists.items()
    }
    if frame_lists
    else _float_sizes(context)
  )
  names = _choose_features(sizes, asked, bool(frame_lists), shard)
  return Schema(
    shard=shard,
    frame_features=bool(frame_lists),
    id_key=id_key,
    feature_names=names,
    feature_sizes=tuple(sizes[name] for name in names),
    max_frames=_default_max_frames(names, frame_lists),
    has_labels=LABELS_KEY in context,
    record_bytes=len(record),
  )


def _choose_features(sizes, asked, frame_level: bool, shard: str):
  level = "frame" if frame_level else "video"
  if asked:
    missing = [name for name in asked if name not in sizes]
    if missing:
      raise UserError(
        f"The model reads feature {missing[0]!r} (--feature_names), but "
        f"{shard!r} has the {level}-level features {_listing(sizes)}."
      )
    return tuple(asked)
  known = FRAME_FEATURES if frame_level else VIDEO_FEATURES
  names = [name for name in known if name in sizes] or sorted(sizes)
  if not names:
    raise UserError(
      f"{shard!r}: the first record has no {level}-level feature."
    )
  return tuple(names)


def _default_max_frames(names, frame_lists) -> int:
  if not frame_lists:
    return 1
  longest = max(len(frame_lists[name].feature) for name in names)
  is_short_clip = (
    tuple(names) == (_SHORT_CLIP_FEATURE,) and longest <= _SHORT_CLIP_FRAMES
  )
  return _SHORT_CLIP_FRAMES if is_short_clip else MAX_FRAMES


def _parse_proto(record: bytes):
  """A record's context and feature lists, or None where it is no example.

  A tf.Example is a valid tf.SequenceExample without feature lists: their
  first fields are the same.
  """
  try:
    example = tf.train.SequenceExample.FromString(record)
  except DecodeError:
    return None
  context = dict(example.context.feature)
  frame_lists = dict(example.feature_lists.feature_list)
  return (context, frame_lists) if context or frame_lists else None


def _frame_size(name: str, frames, shard: str) -> int:
  """Bytes of a feature's first frame; 0 where there is none."""
  if not frames.feature:
    return 0
  kind = frames.feature[0].WhichOneof("kind")
  if kind != "bytes_list":
    raise UserError(
      f"{shard!r}: frames of {name!r} are of type {kind}; one byte string of "
      "8-bit codes for each frame is expected (bytes_list)."
    )
  return len(_only_bytes(frames.feature[0]))


def _only_bytes(feature) -> bytes:
  values = feature.bytes_list.value
  return values[0] if len(values) == 1 else b""


def _float_sizes(context) -> dict[str, int]:
  return {
    name: len(feature.float_list.value)
    for name, feature in context.items()
    if feature.WhichOneof("kind") == "float_list"
  }


def _listing(names) -> str:
  return ", ".join(sorted(names)) or "nothing"


class Batches:
  """Batches of a pipeline; errors while reading name shard, record and video.

  Attributes:
    dataset: the tf.data.Dataset behind it, for a distribution strategy.
  """

  def __init__(self, dataset, explain: Callable[[Exception], Exception]):
    self.dataset = dataset
    self._explain = explain

  def __iter__(self) -> Iterator[dict]:
    iterator = iter(self.dataset)
    while True:
      try:
        batch = next(iterator)
      except StopIteration:
        return
      except _READ_ERRORS as error:
        raise self._explain(error) from error
      yield batch

  def distributed(self, strategy) -> "Batches":
    """The same batches, each split over the strategy's replicas."""
    return Batches(
      strategy.experimental_distribute_dataset(self.dataset), self._explain
    )


class BaseReader:
  """What the two readers share: pipelines, errors, labels.

  Args:
    num_classes: number of classes; labels are in [0, num_classes).
    feature_sizes: size of each feature.
    feature_names: the features, in the order in which they are concatenated.
    id_key: the key of the video's id, "id" or "video_id".
    num_readers: shards read at the same time, at most 16; None chooses from
      the machine. The order of the records does not depend on it.
  """

  def __init__(
    self,
    num_classes: int = 3862,
    feature_sizes: Sequence[int] = (1024,),
    feature_names: Sequence[str] = ("mean_inc3",),
    id_key: str = "id",
    num_readers: int | None = None,
  ):
    if len(feature_names) != len(feature_sizes):
      raise UserError(
        f"{len(feature_names)} feature names ({','.join(feature_names)}) but "
        f"{len(feature_sizes)} feature sizes "
        f"({','.join(map(str, feature_sizes))}); give one size for each name."
      )
    self.num_classes = num_classes
    self.feature_sizes = dict(zip(feature_names, feature_sizes, strict=True))
    self.id_key = id_key
    self._num_readers = min(num_readers or available_cpus(), _SHARDS_IN_TURN)

  def parse(self, records, locations, with_labels=True):
    """Parses serialized records into a batch; override in a new reader.

    Args:
      records: [K] string, serialized records.
      locations: [K] int64; pass them to `located` where a check fails.
      with_labels: False where the records need not have labels.

    Returns:
      A batch as in the module's docstring without "weights" and "epochs".
    """
    raise NotImplementedError

  def describe_problem(self, record: bytes, with_labels=True) -> str | None:
    """What is wrong with a serialized record; None if nothing is."""
    example = _parse_proto(record)
    if example is None:
      return "it is neither a tf.Example nor a tf.SequenceExample"
    context, frame_lists = example
    if self.id_key not in context:
      return f"it has no {self.id_key!r}; it has {_listing(context)}"
    if not _only_bytes(context[self.id_key]):
      return f"its {self.id_key!r} is not one string, or is empty"
    problem = self._describe_features(context, frame_lists)
    if problem or not with_labels:
      return problem
    labels = context.get(LABELS_KEY, tf.train.Feature())
    if labels.WhichOneof("kind") not in (None, "int64_list"):
      return "its labels are not integers"
    outside = [
      label
      for label in labels.int64_list.value
      if not 0 <= label < self.num_classes
    ]
    if outside:
      return (
        f"its label {outside[0]} is outside [0, {self.num_classes}); check "
        "--num_classes"
      )
    return None

  def evaluation_batches(
    self, shards: Sequence[str], batch_size: int, with_labels=True
  ) -> Batches:
    """Every video exactly once, in an order that is always the same.

    Args:
      shards: paths of TFRecord files.
      batch_size: videos in a batch; the last one is padded.
      with_labels: False for shards without labels; `labels` are zeros then.
    """
    records = self._epoch_records(shards, tf.range(len(shards)), 0)
    return self._batches(records, shards, batch_size, with_labels)

  def training_batches(
    self,
    shards: Sequence[str],
    batch_size: int,
    num_epochs: int,
    seed: int,
    record_bytes: int,
    first_epoch: int = 0,
    skip_videos: int = 0,
  ) -> Batches:
    """Shuffled passes over the data; batches run on across their ends.

    The order is a function of the shards, `seed`, the epoch and TensorFlow's
    global seed, so a resumed run goes on where the first one stopped. The
    records of the epoch that it has had are read again, several times as fast
    as they are trained on, but not parsed.

    Args:
      shards: paths of TFRecord files.
      batch_size: videos in a batch; only the very last one is padded.
      num_epochs: the epoch at which to stop, counted from 0.
      seed: what the order depends on.
      record_bytes: size of a typical record, which sets how many fit into the
        shuffle buffer.
      first_epoch: the epoch to start with.
      skip_videos: how many videos of that epoch to pass over.
    """
    # The first record may be a short video: what a long one takes bounds the
    # memory. Not of the batch size, which may differ when a run is resumed.
    record_bytes = max(record_bytes, self._most_bytes())
    buffer_size = max(1, _SHUFFLE_BYTES // record_bytes)

    @_as_written
    def epoch_records(epoch):
      order = tf.random.experimental.stateless_shuffle(
        tf.range(len(shards)),
        seed=tf.stack([tf.constant(seed, tf.int64), epoch]),
      )
      records = self._epoch_records(shards, order, epoch)
      records = records.shuffle(buffer_size, seed=seed + 1 + epoch)
      if not skip_videos:
        return records
      is_first = tf.cast(epoch == first_epoch, tf.int64)
      return records.skip(skip_videos * is_first)

    epochs = tf.data.Dataset.range(first_epoch, num_epochs)
    return self._batches(
      epochs.flat_map(epoch_records), shards, batch_size, with_labels=True
    )

  def _epoch_records(self, shards, order, epoch):
    """A dataset of (location, record) pairs of one pass over the shards."""
    paths = tf.constant(list(shards))
    epoch = tf.cast(epoch, tf.int64)

    @_as_written
    def read_shard(index):
      first = epoch * _EPOCH + tf.cast(index, tf.int64) * _SHARD
      return tf.data.TFRecordDataset(paths[index]).enumerate(first)

    return tf.data.Dataset.from_tensor_slices(order).interleave(
      read_shard,
      cycle_length=_SHARDS_IN_TURN,
      # Runs of records are cheaper to hand over than single ones.
      block_length=8,
      num_parallel_calls=self._num_readers,
      deterministic=True,
    )

  def _batches(self, records, shards, batch_size, with_labels) -> Batches:
    @_as_written
    def parse(locations, block):
      batch = self.parse(block, locations, with_labels)
      batch["epochs"] = tf.cast(locations // _EPOCH, tf.int32)
      batch["weights"] = tf.ones_like(batch["epochs"], tf.float32)
      return _pad_batch(batch, batch_size)

    # Frame-level batches are large: a hundred CPUs must not parse one each.
    most_parsers = max(2, _PARSE_BYTES // (batch_size * self._most_bytes()))
    dataset = records.batch(batch_size).map(
      parse,
      num_parallel_calls=min(available_cpus(), most_parsers),
      deterministic=True,
    )
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
      tf.data.experimental.AutoShardPolicy.OFF
    )
    dataset = dataset.prefetch(2).with_options(options)
    return Batches(
      dataset, lambda error: self._explain(error, shards, with_labels)
    )

  def _explain(self, error, shards, with_labels) -> Exception:
    """A UserError that names a pipeline error's cause, if it is known."""
    location = _LOCATION.search(str(error))
    if not location:
      return self._explain_by_reading(error, shards, with_labels)
    try:
      shard, number = _split_location(int(location[1]), shards)
      record = next(iter(tf.data.TFRecordDataset(shard).skip(number))).numpy()
    except (IndexError, StopIteration, tf.errors.OpError):
      return error  # The text came from a record, or the shard has changed.
    return self._record_error(shard, number, record, with_labels) or error

  def _explain_by_reading(self, error, shards, with_labels) -> Exception:
    """Reads the shards again, since TensorFlow does not say where it was."""
    if isinstance(error, tf.errors.ResourceExhaustedError):
      return error
    if not isinstance(error, _EXPLAINED_ERRORS):
      return UserError(f"Reading failed: {utils.error_text(error)}")
    if len(shards) > _SHARDS_IN_TURN:
      logging.info("Looking for the shard that cannot be read ...")
    is_parse_error = isinstance(error, _PARSE_ERRORS)
    for shard in shards:
      number = 0
      try:
        for record in tf.data.TFRecordDataset(shard).as_numpy_iterator():
          if is_parse_error:
            problem = self._record_error(shard, number, record, with_labels)
            if problem:
              return problem
          number += 1
      except tf.errors.OpError as shard_error:
        return UserError(_shard_error(shard, shard_error, number))
    return error

  def _record_error(self, shard, number, record, with_labels):
    """A UserError if something is wrong with a record, else None."""
    problem = self.describe_problem(record, with_labels)
    if not problem:
      return None
    name = _video_name(record, self.id_key)
    return UserError(f"{shard!r}, record {number}{name}: {problem}.")

  def _most_bytes(self) -> int:
    """Bytes of the features of the longest video that is not cut."""
    return 4 * sum(self.feature_sizes.values())

  def _id_spec(self):
    # Without an id it is "", which `parse` refuses: TensorFlow's own error
    # would not say which record it was.
    return {self.id_key: tf.io.FixedLenFeature([], tf.string, "")}

  def _describe_features(self, context, frame_lists) -> str | None:
    raise NotImplementedError

  def _dense_labels(self, sparse):
    """[K, num_classes] float32 labels, and which rows have one outside."""
    labels = sparse.values
    inside = (labels >= 0) & (labels < self.num_classes)
    rows = sparse.indices[:, 0]
    # Written, not added, so that a label listed twice is still 1.
    dense = tf.sparse.to_dense(
      tf.SparseTensor(
        tf.stack([rows, tf.where(inside, labels, 0)], axis=1),
        tf.ones_like(labels, tf.float32),
        tf.cast([sparse.dense_shape[0], self.num_classes], tf.int64),
      ),
      validate_indices=False,
    )
    dense = tf.ensure_shape(dense, [None, self.num_classes])
    bad_rows = tf.boolean_mask(rows, ~inside)
    is_bad = tf.scatter_nd(
      bad_rows[:, None], tf.ones_like(bad_rows), sparse.dense_shape[:1]
    )
    return dense, is_bad > 0


class YT8MAggregatedFeatureReader(BaseReader):
  """Reads video-level records: a tf.Example with float features per video."""

  def parse(self, records, locations, with_labels=True):
    """See `BaseReader.parse`."""
    spec = self._id_spec()
    for name, size in self.feature_sizes.items():
      spec[name] = tf.io.FixedLenFeature([size], tf.float32)
    if with_labels:
      spec[LABELS_KEY] = tf.io.VarLenFeature(tf.int64)
    parsed = tf.io.parse_example(
      records, spec, example_names=located(locations)
    )
    features = {name: parsed[name] for name in self.feature_sizes}
    num_videos = tf.shape(records)[0]
    is_bad = tf.equal(parsed[self.id_key], "")
    for values in features.values():
      is_bad |= ~tf.reduce_all(tf.math.is_finite(values), axis=1)
    labels = tf.zeros([num_videos, self.num_classes])
    if with_labels:
      labels, is_outside = self._dense_labels(parsed[LABELS_KEY])
      is_bad |= is_outside
    with tf.control_dependencies([_refuse(is_bad, locations)]):
      return {
        "video_ids": parsed[self.id_key],
        "features": features,
        "num_frames": tf.ones([num_videos], tf.int32),
        "labels": tf.identity(labels),
      }

  def _describe_features(self, context, frame_lists):
    for name, size in self.feature_sizes.items():
      if name not in context:
        have = _listing([*context, *frame_lists])
        return f"it has no feature {name!r}; it has {have}"
      values = context[name].float_list.value
      if len(values) != size:
        return f"its {name!r} has {len(values)} floats, {size} were expected"
      if not np.isfinite(values).all():
        return f"its {name!r} has values that are not finite"
    return None


class YT8MFrameFeatureReader(BaseReader):
  """Reads frame-level records: a tf.SequenceExample with bytes per frame.

  Args:
    max_frames: longer videos are cut to this many frames, shorter ones padded.
    **kwargs: as `BaseReader`.
  """

  def __init__(
    self,
    num_classes: int = 3862,
    feature_sizes: Sequence[int] = (1024,),
    feature_names: Sequence[str] = ("inc3",),
    max_frames: int = MAX_FRAMES,
    **kwargs,
  ):
    super().__init__(num_classes, feature_sizes, feature_names, **kwargs)
    self.max_frames = max_frames
    self._decoder = frame_records.FrameDecoder(self.feature_sizes, max_frames)

  def parse(self, records, locations, with_labels=True):
    """See `BaseReader.parse`."""
    context_spec = self._id_spec()
    if with_labels:
      context_spec[LABELS_KEY] = tf.io.VarLenFeature(tf.int64)
    context, _, _ = tf.io.parse_sequence_example(
      records, context_spec, {}, example_names=located(locations)
    )
    features, num_frames, is_bad = self._decode(records)
    is_bad |= tf.equal(context[self.id_key], "")
    labels = tf.zeros([tf.shape(records)[0], self.num_classes])
    if with_labels:
      labels, is_outside = self._dense_labels(context[LABELS_KEY])
      is_bad |= is_outside
    with tf.control_dependencies([_refuse(is_bad, locations)]):
      return {
        "video_ids": context[self.id_key],
        "features": features,
        "num_frames": num_frames,
        "labels": tf.identity(labels),
      }

  def _most_bytes(self):
    return self.max_frames * sum(self.feature_sizes.values())

  def _decode(self, records):
    """`FrameDecoder.decode`, in the pipeline."""
    *codes, num_frames, is_bad = tf.numpy_function(
      self._decoder.decode,
      [records],
      [tf.uint8] * len(self.feature_sizes) + [tf.int32, tf.bool],
      stateful=False,
    )
    features = {
      name: tf.ensure_shape(values, [None, self.max_frames, size])
      for (name, size), values in zip(
        self.feature_sizes.items(), codes, strict=True
      )
    }
    return (
      features,
      tf.ensure_shape(num_frames, [None]),
      tf.ensure_shape(is_bad, [None]),
    )

  def _describe_features(self, context, frame_lists):
    lengths = {}
    for name, size in self.feature_sizes.items():
      if name not in frame_lists:
        have = _listing([*context, *frame_lists])
        return f"it has no frame feature {name!r}; it has {have}"
      frames = frame_lists[name].feature
      lengths[name] = len(frames)
      for number, frame in enumerate(frames):
        if len(frame.bytes_list.value) != 1:
          return f"frame {number} of its {name!r} is not one byte string"
        num_bytes = len(_only_bytes(frame))
        if num_bytes != size:
          return (
            f"frame {number} of its {name!r} has {num_bytes} bytes, {size} "
            "were expected"
          )
    if len(set(lengths.values())) > 1:
      counts = ", ".join(f"{n} of {name}" for name, n in lengths.items())
      return f"its features differ in their number of frames: {counts}"
    return None


def located(locations):
  """[K] string, what an error must contain for its record to be found."""
  return tf.strings.join(["record@", tf.strings.as_string(locations)])


def _refuse(is_bad, locations):
  """An op that fails with the location of the first bad record, if any."""
  first = located(tf.boolean_mask(locations, is_bad)[:1])
  return tf.debugging.Assert(~tf.reduce_any(is_bad), [first])


def _pad_batch(batch, batch_size: int):
  """Fills the last batch up with rows of zeros, whose weight is 0 too."""
  missing = batch_size - tf.shape(batch["weights"])[0]

  def padded(value):
    paddings = [[0, missing]] + [[0, 0]] * (value.shape.rank - 1)
    if value.dtype == tf.string:
      return tf.pad(value, paddings, constant_values="")
    return tf.pad(value, paddings)

  def pad_all():
    # A mean over no frames may be NaN in a model, and NaN * 0 is NaN: rows of
    # padding have one frame.
    frames = tf.pad(batch["num_frames"], [[0, missing]], constant_values=1)
    return {
      **tf.nest.map_structure(padded, batch),
      "num_frames": frames,
    }

  # tf.pad copies, so full batches go around it.
  batch = tf.cond(
    missing > 0,
    pad_all,
    lambda: tf.nest.map_structure(tf.identity, batch),
  )
  return tf.nest.map_structure(
    lambda value: tf.ensure_shape(value, [batch_size, *value.shape[1:]]), batch
  )


def _split_location(location: int, shards: Sequence[str]) -> tuple[str, int]:
  index, number = divmod(location % _EPOCH, _SHARD)
  return shards[index], number


def _video_name(record: bytes, id_key: str) -> str:
  example = _parse_proto(record)
  if example is None:
    return ""
  video_id = _only_bytes(example[0].get(id_key, tf.train.Feature()))
  if not video_id:
    return ""
  return f" (video {video_id.decode(errors='backslashreplace')!r})"


def _shard_error(shard: str, error: Exception, number: int = 0) -> str:
  return (
    f"{shard!r} cannot be read at record {number}: {utils.error_text(error)}. "
    "Shards are uncompressed TFRecord files; fetch it again if it is damaged."
  )
