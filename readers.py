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
  weights     [B] float32, 0 for rows that only pad: behind the last videos, and
              in the place of records that were left out
  epochs      [B] int32, the passes over the data that the records read for the
              batch belong to, from 0, in the order of reading; -1 where there
              were fewer records. Not row by row: some may have been left out

Frame features stay 8-bit codes until they are on the device that trains; see
`models.NormalizedInput`.

The pipelines check what they parse with a few vectorised comparisons. When one
fails, they say only which record it was; `describe_problem` then reads that
record again, slowly, and says what is wrong with it. A program that leaves out
bad records (bad_records.py) reads the shards itself, which takes longer, and
looks through the records of a batch when they fail.
"""

import dataclasses
import itertools
import os
import re
import sys
from collections.abc import Mapping, Sequence

import program
from program import UserError

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf.message import DecodeError

import bad_records
import canonical_records
import frame_records
import shard_files
import sources
import utils
from bad_records import BadRecords, Problem
from sources import WHOLE, Batches, Part, Source, located

MAX_FRAMES = 300

# Features in the order in which they are concatenated; whichever a record has.
FRAME_FEATURES = ("inc3", "rgb", "audio", "audio_embedding")
VIDEO_FEATURES = ("mean_inc3", "mean_rgb", "mean_audio")
ID_KEYS = ("id", "video_id")
LABELS_KEY = "labels"
# Where `describe_problem` finds nothing wrong.
REFUSED = "refused by the reader"
_NO_EXAMPLE = "it is neither a tf.Example nor a tf.SequenceExample"
NO_LABELS = Problem("no labels", f"it has no {LABELS_KEY!r}")
# AudioSet clips are 10 s; padding them to 300 frames would waste 97%.
_SHORT_CLIP_FEATURE, _SHORT_CLIP_FRAMES = "audio_embedding", 10

# What `parse` fails with where a record is wrong.
PARSE_ERRORS = (tf.errors.InvalidArgumentError, UnicodeDecodeError)
# Of a shard's contents, or of one that is no longer there. Others, a network
# that is down for instance, would not be found by reading again.
_EXPLAINED_ERRORS = (
  *PARSE_ERRORS,
  tf.errors.DataLossError,
  tf.errors.FailedPreconditionError,
  tf.errors.NotFoundError,
  tf.errors.OutOfRangeError,
)
# The functions of the pipelines need no AutoGraph, whose rewriting of them
# takes a second of every program's start.
_as_written = tf.autograph.experimental.do_not_convert

_SHUFFLE_BYTES = 256 * 2**20
_PARSE_BYTES = 2**30
# Shards that records come from in turn. Fixed, as the order of the records
# must not depend on the machine, nor on how many of them are read in parallel.
_SHARDS_IN_TURN = 16
# Of each shard that is not on a local disk; as much as is fetched at a time.
_AHEAD_BYTES = program.CLOUD_BLOCK_MB * 2**20
_SKIP_HINT = "--on_bad_record=skip leaves such records out."
# So many first records of a shard may be without what shows its layout.
_SCHEMA_RECORDS = 100


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


def _memory_bytes() -> int:
  """Bytes of this machine's memory; a large number where it does not tell."""
  try:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  except (AttributeError, OSError, ValueError):
    return 2**40


def available_cpus() -> int:
  """CPUs this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


class LayoutError(UserError):
  """A record shows no layout of the YouTube-8M datasets.

  Attributes:
    detail: what is wrong with it.
  """

  def __init__(self, where: str, detail: str):
    super().__init__(f"{where}: {detail}.")
    self.detail = detail


def detect_schema(
  shards: Sequence[str],
  feature_names: Sequence[str] | None = None,
  skip_bad: bool = False,
  need_labels: bool = False,
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

  Raises:
    UserError: no record, not TFRecord files, not YouTube-8M records, or
      records without the features asked for.
  """
  problem = unlabelled = None
  for shard in shards:
    items = shard_files.read_shard(shard)
    for number, item in enumerate(itertools.islice(items, _SCHEMA_RECORDS)):
      try:
        if isinstance(item, shard_files.Fault):
          raise _fault_error(shard, item)
        schema = schema_of(item, shard, number, feature_names)
      except UserError as error:
        problem = problem or error
        if not skip_bad:
          raise
        continue
      if all(schema.feature_sizes):
        if schema.has_labels or not (skip_bad and need_labels):
          return schema
        unlabelled = unlabelled or schema
  if unlabelled:
    return unlabelled
  raise problem or UserError(
    f"The videos of {len(shards)} shard(s), the first of which is "
    f"{shards[0]!r}, have no frames; what a frame holds cannot be told."
  )


def schema_of(
  record: bytes,
  shard: str,
  number: int,
  asked: Sequence[str] | None = None,
) -> Schema:
  """How a record is laid out.

  Args:
    record: serialized.
    shard: its shard, for messages.
    number: its number there, for messages.
    asked: the features to read; None takes those of the dataset that it has.

  Returns:
    Its schema; a feature without frames has size 0.

  Raises:
    LayoutError: it is no YouTube-8M record.
    UserError: it is without the features asked for.
  """
  example = _parse_proto(record)
  if example is None:
    raise LayoutError(bad_records.place(shard, number), _NO_EXAMPLE)
  context, frame_lists = example
  id_key = next((key for key in ID_KEYS if key in context), None)
  if id_key is None:
    raise LayoutError(
      bad_records.place(shard, number),
      "it has neither 'id' nor 'video_id'; it has "
      f"{_listing([*context, *frame_lists])}",
    )
  where = bad_records.place(shard, number, find_video_id(record, id_key))
  sizes = _float_sizes(context, {*ID_KEYS, LABELS_KEY})
  names = _choose_features(
    frame_lists or sizes, asked, bool(frame_lists), shard
  )
  if not names:  # With frames there would be one.
    raise LayoutError(where, "it has no video-level feature")
  for name in names if frame_lists else ():
    sizes[name] = _frame_size(name, frame_lists[name], where)
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
  return tuple(name for name in known if name in sizes) or tuple(sorted(sizes))


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


def _frame_size(name: str, frames, where: str) -> int:
  """Bytes of a feature's first frame; 0 where there is none."""
  if not frames.feature:
    return 0
  kind = frames.feature[0].WhichOneof("kind")
  if kind != "bytes_list":
    raise LayoutError(
      where,
      f"frames of {name!r} are of type {kind}; one byte string of 8-bit codes "
      "for each frame is expected (bytes_list)",
    )
  return len(_only_bytes(frames.feature[0]))


def _only_bytes(feature) -> bytes:
  values = feature.bytes_list.value
  return values[0] if len(values) == 1 else b""


def _float_sizes(context, without: set[str]) -> dict[str, int]:
  return {
    name: len(feature.float_list.value)
    for name, feature in context.items()
    if feature.WhichOneof("kind") == "float_list" and name not in without
  }


def _listing(names) -> str:
  return ", ".join(sorted(names)) or "nothing"


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
    if named := {id_key, LABELS_KEY} & {*feature_names}:
      raise UserError(
        f"--feature_names: {named.pop()!r} is no feature; the datasets' are "
        f"{', '.join((*FRAME_FEATURES, *VIDEO_FEATURES))}."
      )
    self.num_classes = num_classes
    self.feature_sizes = dict(zip(feature_names, feature_sizes, strict=True))
    self.id_key = id_key
    self._form = canonical_records.CanonicalForm(
      id_key, LABELS_KEY, self._float_sizes
    )
    self._num_readers = num_readers

  @property
  def _float_sizes(self) -> Mapping[str, int]:
    """Key -> size, of the features that a record has beside id and labels."""
    return {}

  def _find_video_id(self, data: bytes) -> str | None:
    return find_video_id(data, self.id_key)

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

  def describe_problem(self, record: bytes, with_labels=True) -> Problem | None:
    """What is wrong with a serialized record; None if nothing is."""
    example = _parse_proto(record)
    if example is None:
      return Problem("no example", _NO_EXAMPLE)
    context, frame_lists = example
    if self.id_key not in context:
      have = _listing([*context, *frame_lists])
      return Problem("no id", f"it has no {self.id_key!r}; it has {have}")
    if not _only_bytes(context[self.id_key]):
      return Problem(
        "no id", f"its {self.id_key!r} is not one string, or empty"
      )
    problem = self._describe_features(context, frame_lists)
    if problem or not with_labels:
      return problem
    return self._describe_labels(context)

  def _describe_labels(self, context) -> Problem | None:
    if LABELS_KEY not in context:
      return NO_LABELS
    labels = context[LABELS_KEY]
    if labels.WhichOneof("kind") not in (None, "int64_list"):
      return Problem("labels no integers", "its labels are not integers")
    for label in labels.int64_list.value:
      if not 0 <= label < self.num_classes:
        return Problem(
          "label out of range",
          f"its label {label} is outside [0, {self.num_classes}); check "
          "--num_classes",
        )
    return None

  def evaluation_batches(
    self,
    shards: Sequence[str],
    batch_size: int,
    with_labels=True,
    left_out: BadRecords | None = None,
    part: Part = WHOLE,
  ) -> Batches:
    """Every video exactly once, in an order that is always the same.

    Args:
      shards: paths of TFRecord files.
      batch_size: videos in a batch; the last one is padded.
      with_labels: False for shards without labels; `labels` are zeros then.
      left_out: takes note of bad records, which are left out; None stops with
        a UserError at the first.
      part: which of the videos to read; all parts together are all videos.
    """
    source = Source(shards, self._find_video_id, left_out, part=part)
    records = self._epoch_records(source, tf.range(len(shards)), 0)
    return self._batches(records, source, batch_size, with_labels)

  def training_batches(
    self,
    shards: Sequence[str],
    batch_size: int,
    num_epochs: int,
    seed: int,
    record_bytes: int,
    first_epoch: int = 0,
    skip_videos: int = 0,
    left_out: BadRecords | None = None,
    part: Part = WHOLE,
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
      left_out: takes note of bad records, which are left out; None stops with
        a UserError at the first.
      part: which of each epoch's videos to read.
    """
    first_whole_epoch = first_epoch + (skip_videos > 0)
    source = Source(
      shards, self._find_video_id, left_out, first_whole_epoch, part
    )
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
      records = self._epoch_records(source, order, epoch)
      records = records.shuffle(buffer_size, seed=seed + 1 + epoch)
      if not skip_videos:
        return records
      is_first = tf.cast(epoch == first_epoch, tf.int64)
      return records.skip(skip_videos * is_first)

    epochs = tf.data.Dataset.range(first_epoch, num_epochs)
    return self._batches(
      epochs.flat_map(epoch_records), source, batch_size, with_labels=True
    )

  def _epoch_records(self, source, order, epoch):
    """A dataset of (location, record) pairs of one pass over the shards."""
    epoch = tf.cast(epoch, tf.int64)
    part = source.part
    # With fewer shards, the parts would differ too much.
    by_shards = len(source.shards) >= part.count * _SHARDS_IN_TURN
    if by_shards and part.count > 1:
      first = tf.cast((part.index + epoch) % part.count, tf.int32)
      order = order[first :: part.count]

    num_readers, num_ahead = self._read_ahead(source.shards)

    @_as_written
    def read_shard(index):
      first = sources.location_of(epoch, tf.cast(index, tf.int64))
      records = source.records(index, first)
      return records.prefetch(num_ahead) if num_ahead else records

    records = tf.data.Dataset.from_tensor_slices(order).interleave(
      read_shard,
      cycle_length=_SHARDS_IN_TURN,
      # Runs of records are cheaper to hand over than single ones.
      block_length=8,
      num_parallel_calls=num_readers,
      deterministic=True,
    )
    if by_shards or part.count == 1:
      return records
    return records.filter(
      _as_written(lambda location, _: source.is_in_part(location))
    )

  def _read_ahead(self, shards: Sequence[str]) -> tuple[int, int]:
    """How many shards to read at the same time, and records ahead in each.

    Behind a network, a shard's next bytes take long to come: all shards wait
    for them together, and while what came before is used.
    """
    are_local = all(map(utils.is_local, shards))
    default = available_cpus() if are_local else _SHARDS_IN_TURN
    num_readers = min(self._num_readers or default, _SHARDS_IN_TURN)
    if are_local:
      return num_readers, 0
    return num_readers, max(1, _AHEAD_BYTES // self._most_bytes())

  def _batches(self, records, source, batch_size, with_labels) -> Batches:
    parse_block = self._parser(source, with_labels)

    @_as_written
    def parse(locations, block):
      # Without left_out TensorFlow reads the shards, here all of them.
      is_counted = not source.left_out and source.part.count == 1
      counts = [source.count(locations, block)] if is_counted else []
      with tf.control_dependencies(counts):
        batch = parse_block(tf.identity(block), locations)
      batch["weights"] = tf.ones_like(batch["num_frames"], tf.float32)
      batch = _pad_batch(batch, batch_size)
      epochs = tf.cast(sources.epoch_of(locations), tf.int32)
      missing = batch_size - tf.size(epochs)
      epochs = tf.pad(epochs, [[0, missing]], constant_values=-1)
      return {**batch, "epochs": tf.ensure_shape(epochs, [batch_size])}

    self._refuse_giant_batches(batch_size)
    # Frame-level batches are large: a hundred CPUs must not parse one each.
    most_parsers = max(2, _PARSE_BYTES // (batch_size * self._most_bytes()))
    dataset = records.batch(batch_size).map(
      parse,
      num_parallel_calls=min(available_cpus(), most_parsers),
      deterministic=True,
    )
    options = tf.data.Options()
    # Nothing is left to tune; and the thread that would do it can make the end
    # of a pipeline that failed wait for a minute.
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = (
      tf.data.experimental.AutoShardPolicy.OFF
    )
    dataset = dataset.prefetch(2).with_options(options)
    return Batches(
      dataset,
      lambda error: self._explain(error, source, with_labels),
      lambda is_end: self._check(is_end, source),
    )

  def _parser(self, source, with_labels):
    """A function from records and locations to what `parse` gives."""
    if not source.left_out:
      return lambda block, locations: self.parse(block, locations, with_labels)

    parse = tf.function(
      lambda block, locations: self.parse(block, locations, with_labels),
      input_signature=[
        tf.TensorSpec([None], tf.string),
        tf.TensorSpec([None], tf.int64),
      ],
      autograph=False,
    )
    outputs = parse.get_concrete_function().structured_outputs

    def refusals(block, locations) -> list[str]:
      """What `parse` says of each record; "" if it takes it."""
      try:
        parse(block, locations)
      except PARSE_ERRORS as error:
        if len(block) == 1:
          return [utils.error_text(error) or "no reason is given"]
        middle = len(block) // 2
        return [
          *refusals(block[:middle], locations[:middle]),
          *refusals(block[middle:], locations[middle:]),
        ]
      return [""] * len(block)

    def parse_sound(block, locations):
      try:
        batch = parse(block, locations)
      except PARSE_ERRORS:
        # Of each by itself: it must not depend on what else is in the batch.
        reasons = refusals(block, locations)
        for row, reason in enumerate(reasons):
          if reason:
            record, location = block[row].numpy(), int(locations[row])
            self._leave_out(record, location, reason, source, with_labels)
        is_sound = [not reason for reason in reasons]
        batch = parse(
          tf.boolean_mask(block, is_sound),
          tf.boolean_mask(locations, is_sound),
        )
      return tf.nest.flatten(batch)

    def parse_block(block, locations):
      flat = tf.py_function(
        parse_sound,
        [block, locations],
        [output.dtype for output in tf.nest.flatten(outputs)],
      )
      return tf.nest.map_structure(
        lambda value, output: tf.ensure_shape(value, output.shape),
        tf.nest.pack_sequence_as(outputs, flat),
        outputs,
      )

    return parse_block

  def _leave_out(self, record, location, reason, source, with_labels):
    """Takes note of a record that `parse` refused."""
    problem = self.describe_problem(record, with_labels)
    shard, number = source.place_of(location)
    source.left_out.leave_out(
      shard,
      number,
      problem or Problem(REFUSED, reason),
      find_video_id(record, self.id_key),
    )

  def _check(self, is_end, source):
    """Raises a UserError if too much was left out, or a shard ended early."""
    if source.left_out:
      source.left_out.check()
      return
    if source.part.count > 1:
      return  # No bytes are counted.
    for shard in source.shards_that_ended_early(is_end):
      problem = self._find_problem(shard, range(0), with_labels=False)
      if problem:
        raise problem

  def _explain(self, error, source, with_labels) -> Exception:
    """A UserError that names a pipeline error's cause, if it is known."""
    if source.failure:
      return source.failure
    if sources.names_a_record(error):
      try:
        shard, number = source.place_in(error)
      except IndexError:
        return error  # The text came from a record.
      numbers = range(number, number + 1)
      return (
        self._find_problem(shard, numbers, with_labels)
        # It was not opened because of what comes farther on.
        or self._find_problem(shard, range(0), with_labels)
        or UserError(
          f"{bad_records.place(shard, number)}: {REFUSED}: "
          f"{utils.error_text(error)}. {_SKIP_HINT}"
        )
      )
    if isinstance(error, tf.errors.ResourceExhaustedError):
      return error
    if not isinstance(error, _EXPLAINED_ERRORS):
      return UserError(f"Reading failed: {utils.error_text(error)}")
    if len(source.shards) > _SHARDS_IN_TURN:
      logging.info("Looking for the shard that cannot be read ...")
    is_parse_error = isinstance(error, PARSE_ERRORS)
    numbers = range(sys.maxsize if is_parse_error else 0)
    problems = (
      self._find_problem(shard, numbers, with_labels)
      for shard in source.likely_shards()
    )
    return next(filter(None, problems), error)

  def _find_problem(self, shard, numbers, with_labels) -> UserError | None:
    """What is wrong with a shard, or with its records of these numbers."""
    for number, item in enumerate(shard_files.read_shard(shard)):
      if isinstance(item, shard_files.Fault):
        return _fault_error(shard, item, self.id_key)
      if number in numbers:
        problem = self.describe_problem(item, with_labels)
        if problem:
          video_id = find_video_id(item, self.id_key)
          where = bad_records.place(shard, number, video_id)
          return UserError(f"{where}: {problem.detail}. {_SKIP_HINT}")
        if number == numbers[-1]:
          break
    return None

  def count_frames(self, records: Sequence[bytes]) -> np.ndarray:
    """Each video's own frames, those that `parse` cuts off too.

    Args:
      records: K serialized records that `parse` accepts.

    Returns:
      [K] int32; 1 at video level.
    """
    return np.ones(len(records), np.int32)

  def _refuse_giant_batches(self, batch_size: int):
    """Raises a UserError if a few batches would take all the memory.

    A stranger's model_flags.json may say anything of frames and classes.
    """
    video_bytes = self._most_bytes() + 4 * self.num_classes
    memory = _memory_bytes()
    if batch_size * video_bytes > memory // 8:
      raise UserError(
        f"--batch_size={batch_size} videos of up to {video_bytes:,} bytes each "
        f"(features of sizes {','.join(map(str, self.feature_sizes.values()))},"
        f" --max_frames, --num_classes={self.num_classes}) are too much for "
        f"this machine's {memory:,} bytes of memory. Try a lower --batch_size."
      )

  def _most_bytes(self) -> int:
    """Bytes of the features of the longest video that is not cut."""
    return 4 * sum(self.feature_sizes.values())

  def _describe_features(self, context, frame_lists) -> Problem | None:
    raise NotImplementedError

  def _parse_examples(self, records, locations, with_labels):
    """Parses K tf.Examples, of which nothing is trusted.

    Returns:
      Key -> ids, [K] string, "" where there is none; and float features.
      [K, num_classes] float32, labels.
      [K] bool, where id or labels are wrong or missing.
    """
    records = self._form.ensure(records)
    # Without an id it is "", as TensorFlow's own error would not say which
    # record it was.
    spec = {self.id_key: tf.io.FixedLenFeature([], tf.string, "")}
    for key, size in self._float_sizes.items():
      spec[key] = tf.io.FixedLenFeature([size], tf.float32)
    if with_labels:
      spec[LABELS_KEY] = tf.io.VarLenFeature(tf.int64)
    parsed = tf.io.parse_example(
      records, spec, example_names=located(locations)
    )
    is_bad = tf.equal(parsed[self.id_key], "")
    if not with_labels:
      return parsed, tf.zeros([tf.size(records), self.num_classes]), is_bad
    labels, has_bad_labels = self._dense_labels(parsed.pop(LABELS_KEY), records)
    return parsed, labels, is_bad | has_bad_labels

  def _dense_labels(self, sparse, records):
    """[K, num_classes] float32 labels; and which rows have wrong ones, or none.

    A record with an empty list of labels is a video that has none, and right.
    One without the list is from a test shard, most likely.
    """
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
    num_videos = sparse.dense_shape[0]
    num_outside = tf.math.unsorted_segment_sum(
      tf.cast(~inside, tf.int32), rows, num_videos
    )
    num_labels = tf.math.unsorted_segment_sum(
      tf.ones_like(rows), rows, num_videos
    )
    # The parser gives the same for both, so that these few are looked at again.
    lacks_labels = tf.cond(
      tf.reduce_any(num_labels == 0),
      lambda: tf.numpy_function(
        _lack_labels, [records, num_labels == 0], tf.bool
      ),
      lambda: tf.zeros([num_videos], tf.bool),
    )
    return dense, (num_outside > 0) | tf.ensure_shape(lacks_labels, [None])


class YT8MAggregatedFeatureReader(BaseReader):
  """Reads video-level records: a tf.Example with float features per video."""

  @property
  def _float_sizes(self):
    return self.feature_sizes

  def parse(self, records, locations, with_labels=True):
    """See `BaseReader.parse`."""
    features, labels, is_bad = self._parse_examples(
      records, locations, with_labels
    )
    ids = features.pop(self.id_key)
    for values in features.values():
      is_bad |= ~tf.reduce_all(tf.math.is_finite(values), axis=1)
    with tf.control_dependencies([_refuse(is_bad, locations)]):
      return {
        "video_ids": ids,
        "features": {name: features[name] for name in self.feature_sizes},
        "num_frames": tf.ones([tf.size(records)], tf.int32),
        "labels": tf.identity(labels),
      }

  def _describe_features(self, context, frame_lists):
    for name, size in self.feature_sizes.items():
      if name not in context:
        have = _listing([*context, *frame_lists])
        return Problem(
          "missing feature", f"it has no feature {name!r}; it has {have}"
        )
      values = context[name].float_list.value
      if len(values) != size:
        return Problem(
          "wrong feature size",
          f"its {name!r} has {len(values)} floats, {size} were expected",
        )
      if not np.isfinite(values).all():
        return Problem(
          "feature not finite", f"its {name!r} has values that are not finite"
        )
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
    features, num_frames, has_bad_frames, contexts = self._decode(records)
    context, labels, is_bad = self._parse_examples(
      contexts, locations, with_labels
    )
    is_bad |= has_bad_frames
    with tf.control_dependencies([_refuse(is_bad, locations)]):
      return {
        "video_ids": context[self.id_key],
        "features": features,
        "num_frames": num_frames,
        "labels": tf.identity(labels),
      }

  def count_frames(self, records):
    """See `BaseReader.count_frames`."""
    return self._decoder.count(records)

  def _most_bytes(self):
    return self.max_frames * sum(self.feature_sizes.values())

  def _decode(self, records):
    """`FrameDecoder.decode`, in the pipeline; features by name."""
    *codes, num_frames, is_bad, contexts = tf.numpy_function(
      self._decoder.decode,
      [records],
      [tf.uint8] * len(self.feature_sizes) + [tf.int32, tf.bool, tf.string],
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
      tf.ensure_shape(contexts, [None]),
    )

  def _describe_features(self, context, frame_lists):
    lengths = {}
    for name, size in self.feature_sizes.items():
      if name not in frame_lists:
        have = _listing([*context, *frame_lists])
        return Problem(
          "missing feature", f"it has no frame feature {name!r}; it has {have}"
        )
      frames = frame_lists[name].feature
      lengths[name] = len(frames)
      for number, frame in enumerate(frames):
        if len(frame.bytes_list.value) != 1:
          return Problem(
            "wrong frame", f"frame {number} of its {name!r} is not one string"
          )
        num_bytes = len(_only_bytes(frame))
        if num_bytes != size:
          return Problem(
            "wrong feature size",
            f"frame {number} of its {name!r} has {num_bytes} bytes, {size} "
            "were expected",
          )
    if len(set(lengths.values())) > 1:
      counts = ", ".join(f"{n} of {name}" for name, n in lengths.items())
      return Problem(
        "numbers of frames differ",
        f"its features differ in their number of frames: {counts}",
      )
    return None


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


def find_video_id(data: bytes, id_key: str) -> str | None:
  """The id in a serialized record, damaged ones included; None if not found."""
  example = _parse_proto(data)
  context = example[0] if example else {}
  video_id = _only_bytes(context.get(id_key, tf.train.Feature()))
  if not video_id:
    # As it is serialized: the key, then three lengths, the id's own last.
    key = b"\n" + bytes([len(id_key)]) + id_key.encode() + b"\x12"
    entry = re.search(re.escape(key) + rb".\n.\n(.)", data, re.DOTALL)
    if entry:
      video_id = data[entry.end() : entry.end() + entry[1][0]]
  return video_id.decode(errors="backslashreplace") or None


def _fault_error(
  shard: str, fault: shard_files.Fault, *id_keys: str
) -> UserError:
  found = (find_video_id(fault.remains, key) for key in id_keys or ID_KEYS)
  where = bad_records.place(
    shard, fault.number, next(filter(None, found), None)
  )
  return UserError(
    f"{where}: {fault.detail}. Shards are uncompressed TFRecord files; fetch "
    "this one again, or give --on_bad_record=skip to leave out what cannot be "
    "read."
  )


def _lack_labels(records, is_suspect) -> np.ndarray:
  """[K] bool: which of the suspect records have no list of labels at all."""
  lacks_labels = np.zeros(len(records), bool)
  for row in np.flatnonzero(is_suspect):
    context, _ = _parse_proto(records[row]) or ({}, {})
    lacks_labels[row] = LABELS_KEY not in context
  return lacks_labels
