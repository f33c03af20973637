# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Writes made-up TFRecord shards that look like YouTube-8M's or AudioSet's.

For trying the suite without downloading anything, for tests and for
benchmarks. Keys, types, sizes, ids, label frequencies and value ranges are
those of the real shards; the contents are random, but can be learned: a video
is the sum of a random direction for each of its classes, and noise. Partitions
of one seed (train, validate, test) share these directions and no video.

  python -m tools.sample_data --output_dir=/tmp/sample --dialect=v2_video
"""

import csv
import dataclasses
import functools
import io
import itertools
import os
import re
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import program
from program import UserError

import numpy as np
import tensorflow as tf
from tqdm import tqdm

import config
import utils


@dataclasses.dataclass(frozen=True)
class Feature:
  """One feature of a dialect.

  Attributes:
    name: its key in the records.
    size: values per video or per frame.
    spread: standard deviation of a video's values, about that of real v2
      shards.
    frame_spread: standard deviation of frames around their video's mean. With
      1.0, audio codes spread like AudioSet's; the others are a guess.
  """

  name: str
  size: int
  spread: float
  frame_spread: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dialect:
  """How one release of the data sets writes its records.

  Attributes:
    id_key: the key of the video's id.
    id_length: characters of an id.
    num_classes: size of the release's vocabulary.
    labels_per_video: mean number of labels.
    features: in the records' order; frame features are one byte a value.
    frames: least and most frames of a video, one a second. None: tf.Examples
      with one float vector per video and feature instead of SequenceExamples.
    has_times: records say where in its video the clip starts and ends.
  """

  id_key: str
  id_length: int
  num_classes: int
  labels_per_video: float
  features: tuple[Feature, ...]
  frames: tuple[int, int] | None = None
  has_times: bool = False


_INC3 = Feature("inc3", 1024, spread=0.46, frame_spread=0.6)
_RGB = Feature("rgb", 1024, spread=0.46, frame_spread=0.6)
_AUDIO = Feature("audio", 128, spread=0.69, frame_spread=1.0)


def _mean(feature: Feature) -> Feature:
  return dataclasses.replace(feature, name=f"mean_{feature.name}")


_V0 = Dialect(
  id_key="video_id",
  id_length=11,
  num_classes=4800,
  labels_per_video=1.8,
  features=(_INC3,),
  frames=(120, 300),
)
_V1 = Dialect(
  id_key="video_id",
  id_length=11,
  num_classes=4716,
  labels_per_video=3.4,
  features=(_RGB, _AUDIO),
  frames=(120, 300),
)
_V2 = Dialect(
  id_key="id",
  id_length=4,
  num_classes=3862,
  labels_per_video=3.0,
  features=(_RGB, _AUDIO),
  frames=(120, 300),
)
_AUDIOSET = Dialect(
  id_key="video_id",
  id_length=11,
  num_classes=527,
  labels_per_video=2.4,
  features=(dataclasses.replace(_AUDIO, name="audio_embedding"),),
  frames=(10, 10),
  has_times=True,
)


def _video_level(dialect: Dialect) -> Dialect:
  features = tuple(_mean(feature) for feature in dialect.features)
  return dataclasses.replace(dialect, features=features, frames=None)


DIALECTS = {
  "v0_video": _video_level(_V0),
  "v1_video": _video_level(_V1),
  "v2_video": _video_level(_V2),
  "v0_frame": _V0,
  "v1_frame": _V1,
  "v2_frame": _V2,
  "audioset": _AUDIOSET,
}

# What code 0 and code 255 stand for; real values never leave this span.
_LOWEST = utils.DEQUANTIZE_OFFSET
_HIGHEST = 255 * utils.DEQUANTIZE_SCALE + utils.DEQUANTIZE_OFFSET

# Share of class number k among all labels, k = 1 for the most frequent:
# (k + shift) ** exponent. Follows TrainVideoCount in v2's vocabulary.csv.
_SHARE_SHIFT = 1.5
_SHARE_EXPONENT = -1.05

# As in the real data, labels are incomplete: a class that a video shows is left
# out with this probability, so no model can reach a perfect score.
_HIDDEN_SHARE = 0.1
# A class shows in a video with a strength between this and 1.
_LEAST_STRENGTH = 0.3
# Of the variance of a video's values, about the part its classes explain.
_CLASSES_VARIANCE = 0.8

# Frame counts are Beta(a, b) over [min_frames, max_frames]: the mean of 120 to
# 300 is then the data set's 225.
_FRAMES_BETA = (2.1, 1.5)
# Frames of noise made once. A video takes a run of them at a random place,
# which is about fifty times faster than noise of its own.
_NOISE_FRAMES = 2048

# Where their number is not given.
_MOST_SHARDS = 4

# Videos made at a time; bounds the memory and stays in the CPU's cache.
_CHUNK_SIZE = 256

_ID_LETTERS = np.frombuffer(
  b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", np.uint8
)
# Four letters tell the videos of a dialect apart, as v2's ids have no more.
_UNIQUE_LETTERS = 4
# First and number of the letters with which a partition's ids begin. Each has
# room for its real size (5.8M, 1.7M and 1.1M videos at most).
_ID_REGIONS = {"train": (0, 31), "validate": (31, 11), "test": (42, 11)}
_OTHER_ID_REGION = (53, 9)
# Successive ids are this far apart, so that they look random. A prime that
# divides no region's size visits every id of the region once.
_ID_STEP = 1_000_003


_content = functools.partial(config.setting, group="Content")
_size = functools.partial(config.setting, group="Sizes")
_output = functools.partial(config.setting, group="Output")
_MOST = 2**31 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleConfig:
  """The contents of one partition's shards; equal configs give equal bytes.

  (With the same version of numpy, whose random streams may change.)

  Raises:
    UserError: a value is out of range.
  """

  dialect: str = _content(
    "v2_video",
    "Release of the data set and level to imitate: video is one vector a "
    "video; frame and audioset are one a second.",
    choices=DIALECTS,
  )
  num_videos: int = _content(1000, "Videos in all shards together.", (1, _MOST))
  labels: bool = _content(
    True, "Write the labels. --nolabels imitates the test partition."
  )
  seed: int = _content(
    0,
    "Seed; the same flags with the same seed give the same bytes.",
    (0, _MOST),
  )
  num_classes: int | None = _size(
    None,
    "Number of classes; class 0 is the most frequent. The dialect's when not "
    "given: v0 4800, v1 4716, v2 3862, audioset 527.",
    (1, _MOST),
  )
  feature_sizes: tuple[int, ...] | None = _size(
    None,
    "Values of each feature, comma-separated, in the dialect's order. The "
    "dialect's when not given: 1024 (v0), 1024,128 (v1, v2), 128 (audioset).",
    (1, _MOST),
  )
  min_frames: int | None = _size(
    None,
    "Frames (seconds) of the shortest video possible; may be 0. Frame-level "
    "dialects only; when not given 120, for audioset 10.",
    (0, _MOST),
  )
  max_frames: int | None = _size(
    None,
    "Frames (seconds) of the longest video possible. Frame-level dialects "
    "only; when not given 300, for audioset 10.",
    (0, _MOST),
  )
  prefix: str = _output(
    "train",
    "How the shards' names begin, and which partition they are: train, "
    "validate and test of one seed share what is to be learned but no video.",
  )
  num_shards: int | None = _output(
    None,
    "Number of files, each with a video at least. 4 when not given, or one for "
    "each video if there are fewer.",
    (1, _MOST),
  )

  def __post_init__(self):
    config.check(self)
    if not re.fullmatch(r"[A-Za-z]([\w-]*[A-Za-z_-])?", self.prefix, re.ASCII):
      raise UserError(
        f"--prefix={self.prefix!r} must be letters, digits, _ and -, begin "
        "with a letter and not end in a digit, after which the shards' numbers "
        "come."
      )
    self._check_num_videos()
    names = [feature.name for feature in self.layout.features]
    if self.feature_sizes and len(self.feature_sizes) != len(names):
      raise UserError(
        f"--feature_sizes={config.shown(self.feature_sizes)} must give "
        f"{len(names)} size(s), for {', '.join(names)}."
      )
    self._check_frames()

  def _check_num_videos(self):
    if self.num_videos < self.total_shards:
      raise UserError(
        f"--num_videos={self.num_videos} is less than --num_shards="
        f"{self.total_shards}: a shard would be empty, and refused as a failed "
        "download is."
      )
    _, num_ids = _id_region(self.prefix)
    if self.num_videos > num_ids:
      raise UserError(
        f"--num_videos={self.num_videos} must be at most {num_ids} for "
        f"--prefix={self.prefix}: there are no more ids."
      )

  def _check_frames(self):
    for name in ("min_frames", "max_frames"):
      if getattr(self, name) is not None and self.layout.frames is None:
        raise UserError(
          f"--{name} has no meaning for --dialect={self.dialect}, which is "
          "video level. Leave it out, or choose a frame-level dialect."
        )
    low, high = self.frame_range
    if low > high:
      raise UserError(f"--min_frames={low} is more than --max_frames={high}.")

  @property
  def layout(self) -> Dialect:
    """The dialect's row of `DIALECTS`."""
    return DIALECTS[self.dialect]

  @property
  def total_shards(self) -> int:
    """The number of shards, also when it was not given."""
    if self.num_shards is None:
      return max(1, min(_MOST_SHARDS, self.num_videos))
    return self.num_shards

  @property
  def total_classes(self) -> int:
    """The number of classes, also when it is the dialect's."""
    if self.num_classes is None:
      return self.layout.num_classes
    return self.num_classes

  @property
  def features(self) -> tuple[Feature, ...]:
    """The features, with the sizes they have in the shards."""
    if self.feature_sizes is None:
      return self.layout.features
    return tuple(
      dataclasses.replace(feature, size=size)
      for feature, size in zip(
        self.layout.features, self.feature_sizes, strict=True
      )
    )

  @property
  def frame_range(self) -> tuple[int, int]:
    """Least and most frames of a video; (0, 0) at video level."""
    low, high = self.layout.frames or (0, 0)
    if self.min_frames is not None:
      low, high = self.min_frames, max(high, self.min_frames)
    if self.max_frames is not None:
      high = self.max_frames
      low = low if self.min_frames is not None else min(low, high)
    return low, high


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputSettings:
  """Where the program writes."""

  output_dir: str = _output(
    dataclasses.MISSING,
    "Folder for the shards; local or gs://. Made when it does not exist.",
    is_path=True,
  )
  vocabulary_file: str | None = _output(
    None,
    "CSV file for made-up class names, in the format of the data set's "
    "vocabulary.csv. Without it, none is written.",
    is_path=True,
  )
  overwrite: bool = _output(
    False, "Replace files of the same names instead of refusing to."
  )


def write_shards(
  output_dir: str,
  dialect: str = SampleConfig.dialect,
  *,
  overwrite: bool = False,
  **options: Any,
) -> list[str]:
  """Writes the shards of one partition.

  A shard appears under its name when it is complete. Files are called
  `train0000.tfrecord` and so on.

  Args:
    output_dir: a folder, made when it does not exist.
    dialect: a key of `DIALECTS`.
    overwrite: replace shards of the same names.
    **options: the other fields of `SampleConfig`, with its defaults.

  Returns:
    The shards' paths, in order.

  Raises:
    UserError: a value is out of range, a shard exists already, or the folder
      has other shards of this prefix, which a pattern such as
      `train*.tfrecord` would mix with the new ones.
    TypeError: `SampleConfig` has no such field.
  """
  if options.get("feature_sizes") is not None:
    options["feature_sizes"] = tuple(options["feature_sizes"])
  sample = SampleConfig(dialect=dialect, **options)
  return _write_partition(os.fspath(output_dir), sample, overwrite, False)


def _write_partition(
  output_dir: str, sample: SampleConfig, overwrite: bool, show_progress: bool
) -> list[str]:
  names = _shard_names(sample)
  _check_no_other_shards(output_dir, sample, names, overwrite)
  utils.make_folder(output_dir, "output_dir")
  shared = _make_shared(sample)
  paths = [os.path.join(output_dir, name) for name in names]
  with tqdm(
    total=sample.num_videos,
    unit=" videos",
    disable=None if show_progress else True,  # None: only under a terminal.
  ) as progress:
    for shard, path in enumerate(paths):
      with utils.replacing(path, tf.io.TFRecordWriter) as writer:
        for record in _shard_records(sample, shared, shard):
          writer.write(record)
          progress.update()
  return paths


def _shard_names(sample: SampleConfig) -> list[str]:
  digits = max(4, len(str(sample.total_shards - 1)))
  return [
    f"{sample.prefix}{shard:0{digits}d}.tfrecord"
    for shard in range(sample.total_shards)
  ]


def _check_no_other_shards(
  output_dir: str, sample: SampleConfig, names: list[str], overwrite: bool
):
  """Refuses a folder that has shards of the prefix, unless all get replaced."""
  if not tf.io.gfile.isdir(output_dir):
    return
  pattern = re.compile(rf"{re.escape(sample.prefix)}\d+\.tfrecord")
  existing = set(filter(pattern.fullmatch, tf.io.gfile.listdir(output_dir)))
  others = sorted(existing.difference(names))
  if existing and not overwrite:
    raise UserError(
      f"--output_dir={output_dir!r} has {min(existing)!r} already. Choose "
      "another folder or --prefix, or replace shards with --overwrite."
    )
  if others:
    raise UserError(
      f"--output_dir={output_dir!r} has {len(others)} other shard(s) of prefix "
      f"{sample.prefix!r}, such as {others[0]!r}, which would mix with the "
      "new ones. Remove them, or choose another folder or --prefix."
    )


def _generator(seed: int, *purpose: str | int) -> np.random.Generator:
  """A random stream of its own for each purpose."""
  key = [zlib.crc32(str(part).encode()) for part in purpose]
  sequence = np.random.SeedSequence(seed, spawn_key=key)
  return np.random.Generator(np.random.PCG64(sequence))


@dataclasses.dataclass(frozen=True)
class _Shared:
  """What all videos of one seed have in common, whatever their partition.

  Attributes:
    cumulative_shares: [C] float64, of the classes among all labels.
    prototypes: [C, D] float32, what a class adds to a video's values; D is
      the size of all features together.
    noise_spread: [D] float32, standard deviation of a video's own noise.
    frame_noise: [_NOISE_FRAMES + max_frames, D] int16, in codes; without rows
      at video level.
  """

  cumulative_shares: np.ndarray
  prototypes: np.ndarray
  noise_spread: np.ndarray
  frame_noise: np.ndarray


def _make_shared(sample: SampleConfig) -> _Shared:
  noise_share = np.sqrt(1 - _CLASSES_VARIANCE)
  spreads = [
    np.full(feature.size, noise_share * feature.spread, np.float32)
    for feature in sample.features
  ]
  prototypes = [_prototypes(sample, feature) for feature in sample.features]
  frame_noise = [_frame_noise(sample, feature) for feature in sample.features]
  return _Shared(
    cumulative_shares=np.cumsum(_label_shares(sample.total_classes)),
    prototypes=np.concatenate(prototypes, axis=1),
    noise_spread=np.concatenate(spreads),
    frame_noise=np.concatenate(frame_noise, axis=1),
  )


def _prototypes(sample: SampleConfig, feature: Feature) -> np.ndarray:
  """[C, feature.size] float32: what a class adds to a video's values."""
  # The mean of a feature has its frames' prototypes.
  name = feature.name.removeprefix("mean_")
  rng = _generator(sample.seed, "prototypes", name)
  shape = (sample.total_classes, feature.size)
  # The classes of a mean video, each times its strength, add up to values of
  # variance _CLASSES_VARIANCE * spread ** 2 (hidden ones left aside).
  low = _LEAST_STRENGTH
  mean_square_strength = (1 + low + low**2) / 3
  variance = _CLASSES_VARIANCE / mean_square_strength
  scale = feature.spread * np.sqrt(variance / sample.layout.labels_per_video)
  return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)


def _frame_noise(sample: SampleConfig, feature: Feature) -> np.ndarray:
  """[_NOISE_FRAMES + max_frames, feature.size] int16, in codes."""
  num_frames = 0
  if sample.layout.frames is not None:
    num_frames = _NOISE_FRAMES + sample.frame_range[1]
  noise = _generator(sample.seed, "frame noise", feature.name).standard_normal(
    (num_frames, feature.size), dtype=np.float32
  )
  scale = np.float32(feature.frame_spread / utils.DEQUANTIZE_SCALE)
  return np.rint(noise * scale).astype(np.int16)


def _label_shares(num_classes: int) -> np.ndarray:
  """[num_classes] float64: each class's share of all labels, falling."""
  rank = np.arange(1, num_classes + 1)
  shares = (rank + _SHARE_SHIFT) ** _SHARE_EXPONENT
  return shares / shares.sum()


def _shard_records(
  sample: SampleConfig, shared: _Shared, shard: int
) -> Iterator[bytes]:
  """One shard's serialised records."""
  rng = _generator(sample.seed, "videos", sample.prefix, shard)
  first = sample.num_videos * shard // sample.total_shards
  end = sample.num_videos * (shard + 1) // sample.total_shards
  for start in range(first, end, _CHUNK_SIZE):
    videos = np.arange(start, min(start + _CHUNK_SIZE, end))
    ids = _make_ids(sample, rng, videos)
    labels, values = _draw_videos(sample, shared, rng, len(videos))
    if sample.layout.frames is None:
      yield from _video_records(sample, ids, labels, values)
    else:
      yield from _frame_records(sample, shared, rng, ids, labels, values)


def _id_region(prefix: str) -> tuple[int, int]:
  """First and number of the unique parts of a partition's ids."""
  first_letter, num_letters = _ID_REGIONS.get(prefix, _OTHER_ID_REGION)
  below = len(_ID_LETTERS) ** (_UNIQUE_LETTERS - 1)
  return first_letter * below, num_letters * below


def _make_ids(
  sample: SampleConfig, rng: np.random.Generator, videos: np.ndarray
) -> list[bytes]:
  """Ids of the partition's videos with these numbers.

  Distinct within a partition and among train, validate and test. Partitions
  of other prefixes may share ids with each other, not with these three.
  """
  first, num_ids = _id_region(sample.prefix)
  offset = zlib.crc32(f"{sample.seed} {sample.prefix}".encode())
  unique = first + (offset + videos.astype(np.int64) * _ID_STEP) % num_ids
  base = len(_ID_LETTERS)
  powers = base ** np.arange(_UNIQUE_LETTERS - 1, -1, -1)
  digits = unique[:, np.newaxis] // powers % base
  num_free = sample.layout.id_length - _UNIQUE_LETTERS
  free = rng.integers(base, size=(len(videos), num_free))
  letters = _ID_LETTERS[np.concatenate([digits, free], axis=1)]
  return [row.tobytes() for row in letters]


def _draw_videos(
  sample: SampleConfig, shared: _Shared, rng: np.random.Generator, count: int
) -> tuple[list[np.ndarray], np.ndarray]:
  """Labels of `count` videos, each sorted, and values [count, D] float32."""
  owners, classes = _draw_classes(sample, shared, rng, count)
  starts = np.searchsorted(owners, np.arange(count))
  strength = rng.uniform(_LEAST_STRENGTH, 1, size=(len(classes), 1))
  values = np.add.reduceat(
    shared.prototypes[classes] * strength.astype(np.float32), starts, axis=0
  )
  noise = rng.standard_normal(values.shape, dtype=np.float32)
  is_label = rng.random(len(classes)) >= _HIDDEN_SHARE
  is_label[starts] = True  # Every video has a label.
  ends_of_labels = np.cumsum(np.bincount(owners[is_label], minlength=count))
  labels = np.split(classes[is_label], ends_of_labels[:-1])
  return labels, values + noise * shared.noise_spread


def _draw_classes(
  sample: SampleConfig, shared: _Shared, rng: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray]:
  """Pairs of a video, below `count`, and a class that it shows, sorted."""
  num_classes = sample.total_classes
  # All but a video's first class may be hidden; so many remain as labels.
  more_labels = sample.layout.labels_per_video - 1
  num_shown = 1 + rng.poisson(more_labels / (1 - _HIDDEN_SHARE), size=count)
  num_shown = np.minimum(num_shown, num_classes)
  # A pair in one number, so that one sort finds repeated draws.
  pairs = np.empty(0, np.int64)
  while len(pairs) < num_shown.sum():
    missing = num_shown - np.bincount(pairs // num_classes, minlength=count)
    owners = np.repeat(np.arange(count), missing)
    drawn = np.searchsorted(
      shared.cumulative_shares[:-1], rng.random(len(owners)), side="right"
    )
    pairs = np.unique(np.concatenate([pairs, owners * num_classes + drawn]))
  return np.divmod(pairs, num_classes)


def _fill_features(
  features: tf.train.Features,
  sample: SampleConfig,
  video_id: bytes,
  labels: np.ndarray,
):
  """Adds what the records of all dialects have."""
  feature = features.feature
  feature[sample.layout.id_key].bytes_list.value.append(video_id)
  if sample.labels:
    feature["labels"].int64_list.value.extend(labels.tolist())


def _video_records(
  sample: SampleConfig,
  ids: list[bytes],
  labels: list[np.ndarray],
  values: np.ndarray,
) -> Iterator[bytes]:
  """Serialised tf.Examples."""
  values = np.clip(values, _LOWEST, _HIGHEST).astype("<f4")
  ends = list(itertools.accumulate(feature.size for feature in sample.features))
  for video_id, video_labels, row in zip(ids, labels, values, strict=True):
    example = tf.train.Example()
    _fill_features(example.features, sample, video_id, video_labels)
    for feature, end in zip(sample.features, ends, strict=True):
      part = row[end - feature.size : end]
      example.features.feature[feature.name].MergeFromString(
        _floats_header(feature.size) + part.tobytes()
      )
    yield example.SerializeToString(deterministic=True)


def _frame_records(
  sample: SampleConfig,
  shared: _Shared,
  rng: np.random.Generator,
  ids: list[bytes],
  labels: list[np.ndarray],
  values: np.ndarray,
) -> Iterator[bytes]:
  """Serialised tf.SequenceExamples."""
  codes = (values - utils.DEQUANTIZE_OFFSET) / utils.DEQUANTIZE_SCALE
  codes = np.rint(codes).astype(np.int16)
  low, high = sample.frame_range
  num_frames = rng.beta(*_FRAMES_BETA, size=len(ids)) * (high - low) + low
  num_frames = np.rint(num_frames).astype(np.int64)
  noise_starts = rng.integers(_NOISE_FRAMES, size=len(ids))
  times = 10.0 * rng.integers(60, size=len(ids))
  for i, video_id in enumerate(ids):
    example = tf.train.SequenceExample()
    _fill_features(example.context, sample, video_id, labels[i])
    if sample.layout.has_times:
      context = example.context.feature
      end_time = times[i] + num_frames[i]
      context["start_time_seconds"].float_list.value.append(times[i])
      context["end_time_seconds"].float_list.value.append(end_time)
    window = slice(noise_starts[i], noise_starts[i] + num_frames[i])
    frames = shared.frame_noise[window] + codes[i]
    np.clip(frames, 0, 255, out=frames)
    _fill_frames(example.feature_lists, sample, frames)
    yield example.SerializeToString(deterministic=True)


def _fill_frames(
  feature_lists: tf.train.FeatureLists,
  sample: SampleConfig,
  frames: np.ndarray,
):
  """Adds frames, [T, D] integers from 0 to 255, feature by feature."""
  start = 0
  for feature in sample.features:
    header = _frame_header(feature.size)
    encoded = np.empty((len(frames), len(header) + feature.size), np.uint8)
    encoded[:, : len(header)] = np.frombuffer(header, np.uint8)
    encoded[:, len(header) :] = frames[:, start : start + feature.size]
    feature_lists.feature_list[feature.name].MergeFromString(encoded.tobytes())
    start += feature.size


# Assigning each value or frame to a message costs about ten times as much as
# merging bytes that are encoded already. The only bytes beside the payload
# come from encoding a payload of zeros once.


@functools.lru_cache
def _floats_header(size: int) -> bytes:
  """What precedes `size` float32 values in an encoded tf.train.Feature."""
  values = tf.train.FloatList(value=[0.0] * size)
  encoded = tf.train.Feature(float_list=values).SerializeToString()
  return encoded[: -4 * size]


@functools.lru_cache
def _frame_header(size: int) -> bytes:
  """What precedes each frame of `size` bytes in an encoded FeatureList."""
  frame = tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(size)]))
  encoded = tf.train.FeatureList(feature=[frame]).SerializeToString()
  return encoded[:-size]


VOCABULARY_COLUMNS = (
  "Index",
  "TrainVideoCount",
  "KnowledgeGraphId",
  "Name",
  "WikiUrl",
  "Vertical1",
  "Vertical2",
  "Vertical3",
  "WikiDescription",
)
_VERTICALS = ("Games", "Music", "Sports", "Travel", "Food & Drink", "(Unknown)")
_SYLLABLES = (
  *("ba", "de", "fi", "go", "hu", "ka", "le", "mi"),
  *("no", "pu", "ra", "se", "ti", "vo", "zu", "la"),
)
# About one class in this many has no name, as in v2's vocabulary.
_CLASSES_PER_UNNAMED = 69


def write_vocabulary(
  path: str, num_classes: int, *, seed: int = 0, overwrite: bool = False
):
  """Writes made-up class names in the format of the data set's vocabulary.csv.

  As in the real file, rows are not in the order of Index, some classes have
  no name, and fields may hold commas, quotes and line breaks.

  Args:
    path: the CSV file.
    num_classes: rows.
    seed: of the names and the rows' order.
    overwrite: replace an existing file.

  Raises:
    UserError: the file exists already or cannot be written.
  """
  _check_may_write(path, overwrite)
  rng = _generator(seed, "vocabulary")
  # Class 0 goes last, so the order is never Index's.
  order = [*(rng.permutation(num_classes - 1) + 1), 0]
  num_unnamed = num_classes // _CLASSES_PER_UNNAMED or min(1, num_classes - 1)
  unnamed = set(rng.choice(num_classes, num_unnamed, replace=False))
  numbers = rng.permutation(num_classes)
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(VOCABULARY_COLUMNS)
  counts = np.ceil(1e7 * _label_shares(num_classes)).astype(int)
  for index in order:
    name = "" if index in unnamed else _made_up_name(index, numbers[index])
    writer.writerow(_vocabulary_row(index, counts[index], name))
  with utils.replacing(path) as file:
    file.write(text.getvalue().encode())


def _check_may_write(path: str, overwrite: bool):
  if tf.io.gfile.exists(path) and not overwrite:
    raise UserError(
      f"--vocabulary_file={path!r} exists already. Choose another name, or "
      "replace it with --overwrite."
    )


def _made_up_name(index: int, number: int) -> str:
  """A name that no other number has."""
  number += len(_SYLLABLES) ** 2  # At least three syllables.
  name = ""
  while number:
    number, digit = divmod(number, len(_SYLLABLES))
    name += _SYLLABLES[digit]
  kind = _VERTICALS[index % len(_VERTICALS)].strip("()")
  endings = {3: f", {kind}", 7: f" ({kind})"}
  return name.capitalize() + endings.get(index % 10, "")


def _vocabulary_row(index: int, count: int, name: str) -> list[Any]:
  url = description = ""
  if name:
    url = f"https://example.org/wiki/{name.replace(' ', '_')}"
    description = f'{name} is made up.\nNothing is called "{name}".'
  vertical = _VERTICALS[index % len(_VERTICALS)]
  graph_id = f"/m/0{index:05x}"
  return [index, count, graph_id, name, url, vertical, "", "", description]


def define_flags():
  """Defines the program's flags."""
  config.define_flags(OutputSettings)
  config.define_flags(SampleConfig)


def main():
  """Writes the shards, and the vocabulary, that the flags ask for."""
  output = config.from_flags(OutputSettings)
  sample = config.from_flags(SampleConfig)
  if output.vocabulary_file:
    _check_may_write(output.vocabulary_file, output.overwrite)
  _write_partition(output.output_dir, sample, output.overwrite, True)
  if output.vocabulary_file:
    write_vocabulary(
      output.vocabulary_file,
      sample.total_classes,
      seed=sample.seed,
      overwrite=output.overwrite,
    )
  pattern = os.path.join(output.output_dir, f"{sample.prefix}*.tfrecord")
  print(
    f"Wrote {sample.num_videos} {sample.dialect} videos of "
    f"{sample.total_classes} classes to {sample.total_shards} shard(s): "
    f"{pattern}",
    file=sys.stderr if output.vocabulary_file == "-" else sys.stdout,
  )


def run():
  """Starts the program."""
  program.run(main, define_flags)


if __name__ == "__main__":
  run()
