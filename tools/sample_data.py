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
import os
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import program
from program import UserError

import numpy as np
import tensorflow as tf
from tqdm import tqdm

import config as configs
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
    num_classes: size of the release's vocabulary.
    labels_per_video: mean number of labels.
    features: in the records' order; frame features are one byte a value.
    id_key: the key of the video's id.
    id_length: characters of an id.
    frames: least and most frames of a video, one a second. None: tf.Examples
      with one float vector per video and feature instead of SequenceExamples.
    has_times: records say where in its video the clip starts and ends.
  """

  num_classes: int
  labels_per_video: float
  features: tuple[Feature, ...]
  id_key: str = "video_id"
  id_length: int = 11
  frames: tuple[int, int] | None = (120, 300)
  has_times: bool = False


_INC3 = Feature("inc3", 1024, spread=0.46, frame_spread=0.6)
_RGB = Feature("rgb", 1024, spread=0.46, frame_spread=0.6)
_AUDIO = Feature("audio", 128, spread=0.69, frame_spread=1.0)
_AUDIO_EMBEDDING = dataclasses.replace(_AUDIO, name="audio_embedding")

_V0 = Dialect(num_classes=4800, labels_per_video=1.8, features=(_INC3,))
_V1 = Dialect(num_classes=4716, labels_per_video=3.4, features=(_RGB, _AUDIO))
_V2 = Dialect(
  num_classes=3862,
  labels_per_video=3.0,
  features=(_RGB, _AUDIO),
  id_key="id",
  id_length=4,
)
_AUDIOSET = Dialect(
  num_classes=527,
  labels_per_video=2.4,
  features=(_AUDIO_EMBEDDING,),
  frames=(10, 10),
  has_times=True,
)


def _video_level(dialect: Dialect) -> Dialect:
  features = tuple(
    dataclasses.replace(feature, name=f"mean_{feature.name}")
    for feature in dialect.features
  )
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


_output = functools.partial(configs.setting, group="Output")
_content = functools.partial(configs.setting, group="Content")
_size = functools.partial(configs.setting, group="Sizes")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OutputSettings:
  """What the program can be told beside what the shards hold."""

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

  def __post_init__(self):
    configs.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleConfig:
  """What the shards of one partition hold; equal configs give equal bytes.

  (With the same version of numpy, whose random streams may change.)

  Raises:
    UserError: a value is out of range.
  """

  prefix: str = _output(
    "train",
    "How the shards' names begin, and which partition they are: train, "
    "validate and test of one seed share what is to be learned but no video.",
  )
  num_shards: int | None = _output(
    None,
    "Number of files, each with a video at least. 4 when not given, or one for "
    "each video if there are fewer.",
  )
  dialect: str = _content(
    "v2_video",
    "Release of the data set and level to imitate: video is one vector a "
    "video; frame and audioset are one a second.",
    choices=DIALECTS,
  )
  num_videos: int = _content(1000, "Videos in all shards together.")
  labels: bool = _content(
    True, "Write the labels. --nolabels imitates the test partition."
  )
  seed: int = _content(
    0, "Seed; the same flags with the same seed give the same bytes."
  )
  num_classes: int | None = _size(
    None,
    "Number of classes; class 0 is the most frequent. The dialect's when not "
    "given: v0 4800, v1 4716, v2 3862, audioset 527.",
  )
  feature_sizes: Sequence[int] | None = _size(
    None,
    "Values of each feature, comma-separated, in the dialect's order. The "
    "dialect's when not given: 1024 (v0), 1024,128 (v1, v2), 128 (audioset).",
  )
  min_frames: int | None = _size(
    None,
    "Frames (seconds) of the shortest video possible; may be 0. Frame-level "
    "dialects only; when not given 120, for audioset 10.",
  )
  max_frames: int | None = _size(
    None,
    "Frames (seconds) of the longest video possible. Frame-level dialects "
    "only; when not given 300, for audioset 10.",
  )

  def __post_init__(self):
    if self.dialect not in DIALECTS:
      raise UserError(
        f"dialect: unknown {self.dialect!r}. Available: {', '.join(DIALECTS)}."
      )
    if not re.fullmatch(r"[A-Za-z]([\w-]*[A-Za-z_-])?", self.prefix, re.ASCII):
      raise UserError(
        "prefix must be letters, digits, _ and -, begin with a letter and not "
        f"end in a digit, after which the shards' numbers come. Received: "
        f"{self.prefix!r}."
      )
    for name in ("num_shards", "num_classes", "num_videos"):
      _check_at_least(name, getattr(self, name), 1)
    _check_at_least("seed", self.seed, 0)
    self._check_num_videos()
    self._check_feature_sizes()
    self._check_frames()

  def _check_num_videos(self):
    if self.num_videos < self.total_shards:
      raise UserError(
        f"num_videos ({self.num_videos}) is less than num_shards "
        f"({self.total_shards}): a shard would be empty, and refused as a "
        "failed download is."
      )
    _, num_ids = _id_region(self.prefix)
    if self.num_videos > num_ids:
      raise UserError(
        f"num_videos must be at most {num_ids} for prefix {self.prefix!r}: "
        f"there are no more ids. Received: {self.num_videos}."
      )

  def _check_feature_sizes(self):
    if self.feature_sizes is None:
      return
    names = [feature.name for feature in self.layout.features]
    if len(self.feature_sizes) != len(names):
      raise UserError(
        f"feature_sizes must give {len(names)} size(s), for "
        f"{', '.join(names)}. Received: {list(self.feature_sizes)}."
      )
    for size in self.feature_sizes:
      _check_at_least("feature_sizes", size, 1)

  def _check_frames(self):
    for name in ("min_frames", "max_frames"):
      if getattr(self, name) is not None and self.layout.frames is None:
        raise UserError(
          f"{name} has no meaning for dialect {self.dialect!r}, which is "
          "video level. Leave it out, or choose a frame-level dialect."
        )
      _check_at_least(name, getattr(self, name), 0)
    low, high = self.frame_range
    if low > high:
      raise UserError(f"min_frames ({low}) is more than max_frames ({high}).")

  @property
  def layout(self) -> Dialect:
    """The dialect's row of `DIALECTS`."""
    return DIALECTS[self.dialect]

  @property
  def total_shards(self) -> int:
    """The number of shards, also when it was not given."""
    return self.num_shards or min(_MOST_SHARDS, self.num_videos)

  @property
  def total_classes(self) -> int:
    """The number of classes, also when it is the dialect's."""
    return self.num_classes or self.layout.num_classes

  @property
  def features(self) -> tuple[Feature, ...]:
    """The features, with the sizes they have in the shards."""
    features = self.layout.features
    sizes = self.feature_sizes or [feature.size for feature in features]
    return tuple(map(_resized, features, sizes))

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


def _resized(feature: Feature, size: int) -> Feature:
  return dataclasses.replace(feature, size=size)


def _check_at_least(name: str, value: int | None, lowest: int):
  if value is not None and value < lowest:
    raise UserError(f"{name} must be at least {lowest}. Received: {value}.")


def write_shards(
  output_dir: str,
  dialect: str = SampleConfig.dialect,
  *,
  overwrite: bool = False,
  show_progress: bool = False,
  **options: Any,
) -> list[str]:
  """Writes the shards of one partition: `train0000.tfrecord` and so on.

  Args:
    output_dir: a folder, made when it does not exist.
    dialect: a key of `DIALECTS`.
    overwrite: replace shards of the same names.
    show_progress: show a progress bar if standard error is a terminal.
    **options: the other fields of `SampleConfig`, with its defaults.

  Returns:
    The shards' paths, in order.

  Raises:
    UserError: a value is out of range, a shard exists already, or the folder
      has other shards of this prefix, which a pattern such as
      `train*.tfrecord` would mix with the new ones.
    TypeError: `SampleConfig` has no such field.
  """
  config = SampleConfig(dialect=dialect, **options)
  output_dir = os.fspath(output_dir)
  digits = max(4, len(str(config.total_shards - 1)))
  names = [
    f"{config.prefix}{shard:0{digits}d}.tfrecord"
    for shard in range(config.total_shards)
  ]
  _check_no_other_shards(output_dir, config, names, overwrite)
  utils.make_folder(output_dir, "output_dir")
  sampler = _Sampler(config)
  paths = [os.path.join(output_dir, name) for name in names]
  with tqdm(
    total=config.num_videos,
    unit=" videos",
    disable=None if show_progress else True,  # None: only under a terminal.
  ) as progress:
    for shard, path in enumerate(paths):
      with utils.replacing(path, tf.io.TFRecordWriter) as writer:
        for record in sampler.shard_records(shard):
          writer.write(record)
          progress.update()
  return paths


def _check_no_other_shards(
  output_dir: str, config: SampleConfig, names: list[str], overwrite: bool
):
  """Refuses a folder that has shards of the prefix, unless all get replaced."""
  if not tf.io.gfile.isdir(output_dir):
    return
  pattern = re.compile(rf"{re.escape(config.prefix)}\d+\.tfrecord")
  existing = set(filter(pattern.fullmatch, tf.io.gfile.listdir(output_dir)))
  others = sorted(existing.difference(names))
  if existing and not overwrite:
    raise UserError(
      f"output_dir: {output_dir!r} has {min(existing)!r} already. Choose "
      "another folder or --prefix, or replace shards with --overwrite."
    )
  if others:
    raise UserError(
      f"output_dir: {output_dir!r} has {len(others)} other shard(s) of prefix "
      f"{config.prefix!r}, such as {others[0]!r}, which would mix with the "
      "new ones. Remove them, or choose another folder or --prefix."
    )


def _generator(seed: int, *purpose: str | int) -> np.random.Generator:
  """A random stream of its own for each purpose."""
  key = [zlib.crc32(str(part).encode()) for part in purpose]
  sequence = np.random.SeedSequence(seed, spawn_key=key)
  return np.random.Generator(np.random.PCG64(sequence))


def _label_shares(num_classes: int) -> np.ndarray:
  """[num_classes] float64: each class's share of all labels, falling."""
  rank = np.arange(1, num_classes + 1)
  shares = (rank + _SHARE_SHIFT) ** _SHARE_EXPONENT
  return shares / shares.sum()


def _id_region(prefix: str) -> tuple[int, int]:
  """First and number of the unique parts of a partition's ids."""
  first_letter, num_letters = _ID_REGIONS.get(prefix, _OTHER_ID_REGION)
  below = len(_ID_LETTERS) ** (_UNIQUE_LETTERS - 1)
  return first_letter * below, num_letters * below


class _Sampler:
  """Makes the records of shards from what all videos of one seed share.

  Of C classes, and D values of all features together, that is:
    cumulative_shares: [C] float64, of the classes among all labels.
    prototypes: [C, D] float32, what a class adds to a video's values.
    noise_spread: [D] float32, standard deviation of a video's own noise.
    frame_noise: [_NOISE_FRAMES + max_frames, D] int16, in codes; without rows
      at video level.
  """

  def __init__(self, config: SampleConfig):
    self._config, features = config, config.features
    self._cumulative_shares = np.cumsum(_label_shares(config.total_classes))
    self._prototypes = np.concatenate([*map(self._class_values, features)], 1)
    self._frame_noise = np.concatenate([*map(self._noise_of, features)], 1)
    sizes = [feature.size for feature in features]
    spreads = np.array([feature.spread for feature in features])
    noise_spreads = np.sqrt(1 - _CLASSES_VARIANCE) * spreads
    self._noise_spread = np.repeat(noise_spreads, sizes).astype(np.float32)
    ends = np.cumsum(sizes)
    columns = map(slice, ends - sizes, ends)
    self._columns = list(zip(features, columns, strict=True))

  def _class_values(self, feature: Feature) -> np.ndarray:
    """[C, feature.size] float32: the prototypes' part for one feature."""
    # The mean of a feature has its frames' prototypes.
    name = feature.name.removeprefix("mean_")
    rng = _generator(self._config.seed, "prototypes", name)
    shape = (self._config.total_classes, feature.size)
    # The classes of a mean video, each times its strength, add up to values of
    # variance _CLASSES_VARIANCE * spread ** 2 (hidden ones left aside).
    low = _LEAST_STRENGTH
    mean_square_strength = (1 + low + low**2) / 3
    variance = _CLASSES_VARIANCE / mean_square_strength
    labels_per_video = self._config.layout.labels_per_video
    scale = feature.spread * np.sqrt(variance / labels_per_video)
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)

  def _noise_of(self, feature: Feature) -> np.ndarray:
    """[_NOISE_FRAMES + max_frames, feature.size] int16, in codes."""
    num_frames = 0
    if self._config.layout.frames is not None:
      num_frames = _NOISE_FRAMES + self._config.frame_range[1]
    rng = _generator(self._config.seed, "frame noise", feature.name)
    noise = rng.standard_normal((num_frames, feature.size), dtype=np.float32)
    scale = np.float32(feature.frame_spread / utils.DEQUANTIZE_SCALE)
    return np.rint(noise * scale).astype(np.int16)

  def shard_records(self, shard: int) -> Iterator[bytes]:
    """One shard's serialised records."""
    config = self._config
    rng = _generator(config.seed, "videos", config.prefix, shard)
    first = config.num_videos * shard // config.total_shards
    end = config.num_videos * (shard + 1) // config.total_shards
    for start in range(first, end, _CHUNK_SIZE):
      videos = np.arange(start, min(start + _CHUNK_SIZE, end))
      ids = self._make_ids(rng, videos)
      labels, values = self._draw_videos(rng, len(videos))
      if config.layout.frames is None:
        yield from self._video_records(ids, labels, values)
      else:
        yield from self._frame_records(rng, ids, labels, values)

  def _make_ids(self, rng: np.random.Generator, videos: np.ndarray):
    """Ids of the partition's videos with these numbers.

    Distinct within a partition and among train, validate and test. Partitions
    of other prefixes may share ids with each other, not with these three.
    """
    config = self._config
    first, num_ids = _id_region(config.prefix)
    offset = zlib.crc32(f"{config.seed} {config.prefix}".encode())
    unique = first + (offset + videos.astype(np.int64) * _ID_STEP) % num_ids
    base = len(_ID_LETTERS)
    powers = base ** np.arange(_UNIQUE_LETTERS - 1, -1, -1)
    digits = unique[:, np.newaxis] // powers % base
    num_free = config.layout.id_length - _UNIQUE_LETTERS
    free = rng.integers(base, size=(len(videos), num_free))
    letters = _ID_LETTERS[np.concatenate([digits, free], axis=1)]
    return [row.tobytes() for row in letters]

  def _draw_videos(
    self, rng: np.random.Generator, count: int
  ) -> tuple[list[np.ndarray], np.ndarray]:
    """Labels of `count` videos, each sorted, and values [count, D] float32."""
    owners, classes = self._draw_classes(rng, count)
    starts = np.searchsorted(owners, np.arange(count))
    strength = rng.uniform(_LEAST_STRENGTH, 1, size=(len(classes), 1))
    values = np.add.reduceat(
      self._prototypes[classes] * strength.astype(np.float32), starts, axis=0
    )
    noise = rng.standard_normal(values.shape, dtype=np.float32)
    is_label = rng.random(len(classes)) >= _HIDDEN_SHARE
    is_label[starts] = True  # Every video has a label.
    ends_of_labels = np.cumsum(np.bincount(owners[is_label], minlength=count))
    labels = np.split(classes[is_label], ends_of_labels[:-1])
    return labels, values + noise * self._noise_spread

  def _draw_classes(
    self, rng: np.random.Generator, count: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a video, below `count`, and a class that it shows, sorted."""
    num_classes = self._config.total_classes
    # All but a video's first class may be hidden; so many remain as labels.
    more_labels = self._config.layout.labels_per_video - 1
    num_shown = 1 + rng.poisson(more_labels / (1 - _HIDDEN_SHARE), size=count)
    num_shown = np.minimum(num_shown, num_classes)
    # A pair in one number, so that one sort finds repeated draws.
    pairs = np.empty(0, np.int64)
    while len(pairs) < num_shown.sum():
      missing = num_shown - np.bincount(pairs // num_classes, minlength=count)
      owners = np.repeat(np.arange(count), missing)
      drawn = np.searchsorted(
        self._cumulative_shares[:-1], rng.random(len(owners)), side="right"
      )
      pairs = np.unique(np.concatenate([pairs, owners * num_classes + drawn]))
    return np.divmod(pairs, num_classes)

  def _fill_features(self, features: tf.train.Features, video_id, labels):
    """Adds what the records of all dialects have."""
    feature = features.feature
    feature[self._config.layout.id_key].bytes_list.value.append(video_id)
    if self._config.labels:
      feature["labels"].int64_list.value.extend(labels.tolist())

  def _video_records(self, ids, labels, values: np.ndarray) -> Iterator[bytes]:
    """Serialised tf.Examples."""
    values = np.clip(values, _LOWEST, _HIGHEST).astype("<f4")
    for video_id, video_labels, row in zip(ids, labels, values, strict=True):
      example = tf.train.Example()
      self._fill_features(example.features, video_id, video_labels)
      for feature, columns in self._columns:
        example.features.feature[feature.name].MergeFromString(
          _floats_header(feature.size) + row[columns].tobytes()
        )
      yield example.SerializeToString(deterministic=True)

  def _frame_records(
    self, rng: np.random.Generator, ids, labels, values: np.ndarray
  ) -> Iterator[bytes]:
    """Serialised tf.SequenceExamples."""
    codes = (values - utils.DEQUANTIZE_OFFSET) / utils.DEQUANTIZE_SCALE
    codes = np.rint(codes).astype(np.int16)
    low, high = self._config.frame_range
    num_frames = rng.beta(*_FRAMES_BETA, size=len(ids)) * (high - low) + low
    num_frames = np.rint(num_frames).astype(np.int64)
    noise_starts = rng.integers(_NOISE_FRAMES, size=len(ids))
    times = 10.0 * rng.integers(60, size=len(ids))
    for i, video_id in enumerate(ids):
      example = tf.train.SequenceExample()
      self._fill_features(example.context, video_id, labels[i])
      if self._config.layout.has_times:
        context = example.context.feature
        end_time = times[i] + num_frames[i]
        context["start_time_seconds"].float_list.value.append(times[i])
        context["end_time_seconds"].float_list.value.append(end_time)
      window = slice(noise_starts[i], noise_starts[i] + num_frames[i])
      frames = self._frame_noise[window] + codes[i]
      np.clip(frames, 0, 255, out=frames)
      for feature, columns in self._columns:
        example.feature_lists.feature_list[feature.name].MergeFromString(
          _encoded_frames(frames[:, columns])
        )
      yield example.SerializeToString(deterministic=True)


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


def _encoded_frames(frames: np.ndarray) -> bytes:
  """Frames, [T, size] integers from 0 to 255, as an encoded FeatureList."""
  num_frames, size = frames.shape
  header = np.frombuffer(_frame_header(size), np.uint8)
  encoded = np.empty((num_frames, len(header) + size), np.uint8)
  encoded[:, : len(header)] = header
  encoded[:, len(header) :] = frames
  return encoded.tobytes()


_VOCABULARY_HEADER = (
  "Index,TrainVideoCount,KnowledgeGraphId,Name,WikiUrl,Vertical1,Vertical2,"
  "Vertical3,WikiDescription\n"
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
  _check_at_least("num_classes", num_classes, 1)
  _check_may_write(path, overwrite)
  rng = _generator(seed, "vocabulary")
  # Class 0 goes last, so the order is never Index's.
  order = [*(rng.permutation(num_classes - 1) + 1), 0]
  num_unnamed = num_classes // _CLASSES_PER_UNNAMED or min(1, num_classes - 1)
  unnamed = set(rng.choice(num_classes, num_unnamed, replace=False))
  numbers = rng.permutation(num_classes)
  text = io.StringIO()
  text.write(_VOCABULARY_HEADER)
  writer = csv.writer(text, lineterminator="\n")
  counts = np.ceil(1e7 * _label_shares(num_classes)).astype(int)
  for index in order:
    name = "" if index in unnamed else _made_up_name(index, numbers[index])
    writer.writerow(_vocabulary_row(index, counts[index], name))
  with utils.replacing(path, follows_links=True) as file:
    file.write(text.getvalue().encode())


def _check_may_write(path: str, overwrite: bool):
  if tf.io.gfile.exists(path) and not overwrite:
    raise UserError(
      f"vocabulary_file: {path!r} exists already. Choose another name, or "
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
  """Defines the program's flags, those of `SampleConfig` and its own."""
  configs.define_flags(_OutputSettings)
  configs.define_flags(SampleConfig)


def _parse_sizes(text: str) -> list[int]:
  try:
    return [int(part) for part in text.split(",") if text]
  except ValueError as error:
    raise UserError(
      "feature_sizes must be whole numbers separated by commas. Received: "
      f"{text!r}."
    ) from error


def main():
  """Writes what the flags ask for."""
  values = configs.from_flags(_OutputSettings)
  options = configs.given_values(SampleConfig)
  if "feature_sizes" in options:
    options["feature_sizes"] = _parse_sizes(options["feature_sizes"])
  config = SampleConfig(**options)
  if values.vocabulary_file:
    _check_may_write(values.vocabulary_file, values.overwrite)
  write_shards(
    values.output_dir,
    overwrite=values.overwrite,
    show_progress=True,
    **options,
  )
  if values.vocabulary_file:
    write_vocabulary(
      values.vocabulary_file,
      config.total_classes,
      seed=config.seed,
      overwrite=values.overwrite,
    )
  pattern = os.path.join(values.output_dir, f"{config.prefix}*.tfrecord")
  print(
    f"Wrote {config.num_videos} {config.dialect} videos of "
    f"{config.total_classes} classes to {config.total_shards} shard(s): "
    f"{pattern}",
    file=sys.stderr if values.vocabulary_file == "-" else sys.stdout,
  )


def run():
  """Starts the program."""
  program.run(main, define_flags)


if __name__ == "__main__":
  run()
