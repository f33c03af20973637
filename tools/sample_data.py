# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Writes made-up TFRecord shards that look like YouTube-8M's or AudioSet's.

For tests, for benchmarks, and for trying the suite without a download. Keys,
types, sizes, ids, label frequencies and value ranges are those of real shards;
the contents are random, but can be learned: a video is the sum of a random
direction for each of its classes, and noise. Partitions of one seed (train,
validate, test) share these directions and no video.

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
from collections.abc import Iterator
from typing import NamedTuple

import program
from program import UserError

import numpy as np
import tensorflow as tf
from tqdm import tqdm

import config as configs
import utils
from records import SEGMENT_SECS
from segment_reader import ENDS_KEY, LABELS_KEY, SCORES_KEY, STARTS_KEY


class Feature(NamedTuple):
  """A feature's key, its size, and standard deviations.

  `spread`: of videos' values, about as in real v2 shards. `frame_spread`: of
  frames around their video's mean; 1.0 is that of AudioSet, others are a guess.
  """

  name: str
  size: int
  spread: float
  frame_spread: float


class Dialect(NamedTuple):
  """How one release of the data sets writes its records.

  `labels_per_video` is their mean number. `frames` has the least and most of a
  video, one a second and one byte a value; None stands for tf.Examples with one
  float vector per video and feature instead of SequenceExamples. `has_times`:
  records say where in its video the clip starts and ends.
  """

  num_classes: int
  labels_per_video: float
  features: tuple[Feature, ...]
  id_key: str = "video_id"
  id_length: int = 11
  frames: tuple[int, int] | None = (120, 300)
  has_times: bool = False

  def at_video_level(self) -> "Dialect":
    """The same release with a mean instead of frames."""
    features = [f._replace(name=f"mean_{f.name}") for f in self.features]
    return self._replace(features=tuple(features), frames=None)


_INC3, _RGB = (Feature(name, 1024, 0.46, 0.6) for name in ("inc3", "rgb"))
_AUDIO = Feature("audio", 128, 0.69, 1.0)
_EMBEDDING = _AUDIO._replace(name="audio_embedding")
_RELEASES = {
  "v0": Dialect(4800, 1.8, (_INC3,)),
  "v1": Dialect(4716, 3.4, (_RGB, _AUDIO)),
  "v2": Dialect(3862, 3.0, (_RGB, _AUDIO), id_key="id", id_length=4),
}
DIALECTS = {
  **{f"{name}_video": it.at_video_level() for name, it in _RELEASES.items()},
  **{f"{name}_frame": it for name, it in _RELEASES.items()},
  "audioset": Dialect(527, 2.4, (_EMBEDDING,), frames=(10, 10), has_times=True),
}

# As in the real data, labels are incomplete: a class that a video shows is left
# out with this probability, so no model can reach a perfect score.
_HIDDEN_SHARE = 0.1
# A class shows in a video with a strength between this and 1.
_LEAST_STRENGTH = 0.3
# Of the variance of a video's values, about the part its classes explain.
_CLASSES_VARIANCE = 0.8
# Of rated segments, as in the shards of 2019: classes per class of the data
# set, all of them in its more frequent part; the share of positives; the number
# in a video; and the segments at its beginning and end that nobody rated.
_RATED_CLASSES, _FREQUENT_PART = 1000 / 3862, 1805 / 3862
_POSITIVE_SHARE, _RATINGS_PER_VIDEO = 132_442 / 237_788, 5
_UNRATED_START, _UNRATED_END = 6, 2
_SHORTEST_RATED = (_UNRATED_START + 1 + _UNRATED_END) * SEGMENT_SECS
# Frames of noise made once. A video takes a run of them at a random place,
# which is about fifty times faster than noise of its own.
_NOISE_FRAMES = 2048
# Videos made at a time; bounds the memory and stays in the CPU's cache.
_CHUNK_SIZE = 256

_ID_LETTERS = np.frombuffer(
  b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", np.uint8
)
# Four letters tell the videos of a dialect apart, as v2's ids have no more.
_UNIQUE_POWERS = (62**3, 62**2, 62, 1)
# First and number of a partition's ids: a range of first letters, with room for
# its real size (5.8M, 1.7M and 1.1M videos at most).
_ID_REGIONS = {
  "train": (0, 31 * 62**3),
  "validate": (31 * 62**3, 11 * 62**3),
  "test": (42 * 62**3, 11 * 62**3),
}
_OTHER_ID_REGION = (53 * 62**3, 9 * 62**3)
# Successive ids are this far apart, so that they look random. A prime that
# divides no region's size visits every id of the region once.
_ID_STEP = 1_000_003

_output = functools.partial(configs.setting, group="Output")
_content = functools.partial(configs.setting, group="Content")
_size = functools.partial(configs.setting, group="Sizes")
_COUNT, _FRAMES = (1, 10_000_000), (0, 10_000_000)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleConfig:
  """One partition; equal values give equal bytes (with one version of numpy).

  Raises:
    UserError: a value is of the wrong type or out of range.
  """

  output_dir: str = _output(
    dataclasses.MISSING, "Folder for the shards; local or gs://.", is_path=True
  )
  vocabulary_file: str | None = _output(
    None, "CSV file for made-up class names, as vocabulary.csv.", is_path=True
  )
  overwrite: bool = _output(False, "Replace files of the same names.")
  prefix: str = _output(
    "train",
    "How the shards' names begin, and which partition they are: train, "
    "validate and test of one seed share what is to be learned but no video.",
  )
  num_shards: int | None = _output(
    None, "Number of files. When not given 4, but at most one a video.", _COUNT
  )
  dialect: str = _content(
    "v2_video",
    "Release to imitate; video is one vector a video, the others one a second.",
    choices=DIALECTS,
  )
  num_videos: int = _content(1000, "Videos in all shards together.", _COUNT)
  labels: bool = _content(True, "Write labels; the test partition has none.")
  segments: bool = _content(
    False,
    "Write ratings of segments, as the shards of 2019 have; what was rated "
    "shows in a segment's five frames alone.",
  )
  order: bool = _content(
    False,
    "The order of frames alone tells two classes apart: what the one begins "
    "with, the other ends with.",
  )
  seed: int = _content(0, "The same seed gives the same bytes.", (0, 2**62))
  num_classes: int | None = _size(
    None, "Classes, the most frequent first; by default the dialect's.", _COUNT
  )
  feature_sizes: tuple[int, ...] | None = _size(
    None, "Sizes of the features, as 8,4; by default the dialect's.", _COUNT
  )
  min_frames: int | None = _size(
    None, "Least frames of a video; by default 120, audioset 10.", _FRAMES
  )
  max_frames: int | None = _size(
    None, "Most frames of a video; by default 300, audioset 10.", _FRAMES
  )

  def __post_init__(self):
    sizes = self.feature_sizes and tuple(self.feature_sizes)
    object.__setattr__(self, "feature_sizes", sizes)
    configs.check(self)
    if not re.fullmatch(r"[A-Za-z]([\w-]*[A-Za-z_-])?", self.prefix, re.ASCII):
      raise UserError(
        f"--prefix={self.prefix!r} should be letters, digits, _ and -, begin "
        "with a letter and not end in a digit: the shards' numbers come next."
      )
    num_shards = self.num_shards or min(4, self.num_videos)
    object.__setattr__(self, "num_shards", num_shards)
    _, num_ids = _ID_REGIONS.get(self.prefix, _OTHER_ID_REGION)
    if not num_shards <= self.num_videos <= num_ids:
      raise UserError(
        f"--num_videos={self.num_videos} should be from {num_shards} (no shard "
        f"may be empty) to {num_ids:,} (the ids of --prefix={self.prefix})."
      )
    names = [feature.name for feature in DIALECTS[self.dialect].features]
    if len(sizes or names) != len(names):
      raise UserError(
        f"--feature_sizes={configs.shown(sizes)} should be "
        f"{len(names)} size(s), of {', '.join(names)}."
      )
    self._check_frames()

  def _check_frames(self):
    names = ("min_frames", "max_frames", "segments", "order")
    given = [n for n in names if getattr(self, n) != getattr(type(self), n)]
    if given and self.layout.frames is None:
      raise UserError(
        f"--{given[0]} has no meaning for --dialect={self.dialect}, which is "
        "video level."
      )
    low, high = self.layout.frames or (0, 0)
    if low > high:
      raise UserError(f"--min_frames={low} is more than --max_frames={high}.")
    if self.segments and high < _SHORTEST_RATED:
      raise UserError(
        f"--max_frames={high}: with --segments it should be at least "
        f"{_SHORTEST_RATED}: the first {_UNRATED_START} segments of five "
        f"frames and the last {_UNRATED_END} are never rated."
      )

  @property
  def layout(self) -> Dialect:
    """The dialect, with the sizes that were given in place of its own."""
    dialect = DIALECTS[self.dialect]
    sizes = self.feature_sizes or [feature.size for feature in dialect.features]
    pairs = zip(dialect.features, sizes, strict=True)
    frames, low, high = dialect.frames, self.min_frames, self.max_frames
    if frames is not None:
      if low is None:
        low = frames[0] if high is None else min(frames[0], high)
      frames = low, max(frames[1], low) if high is None else high
    return dialect._replace(
      num_classes=self.num_classes or dialect.num_classes,
      features=tuple(feature._replace(size=size) for feature, size in pairs),
      frames=frames,
    )


def write_shards(
  output_dir: str, dialect: str = SampleConfig.dialect, **options
) -> list[str]:
  """Writes a partition, `train0000.tfrecord` and so on; returns the paths.

  `options` are the other fields of `SampleConfig`, with its defaults.

  Raises:
    UserError: a value is out of range, a file exists already, or the folder has
      other shards of this prefix, which `train*.tfrecord` would match, too.
  """
  folder = os.fspath(output_dir)
  config = SampleConfig(output_dir=folder, dialect=dialect, **options)
  folder, prefix = config.output_dir, config.prefix
  names = [f"{prefix}{i:04d}.tfrecord" for i in range(config.num_shards)]
  pattern = re.compile(rf"{prefix}\d+\.tfrecord")
  existing = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
  others, remedy = set(filter(pattern.fullmatch, existing)), "use --overwrite"
  if config.overwrite:
    others, remedy = others.difference(names), "remove the old shards"
  if others:
    raise UserError(
      f"--output_dir={folder!r} has {min(others)!r} already. Choose another "
      f"folder or --prefix, or {remedy}."
    )
  utils.make_folder(folder, "output_dir")
  if config.vocabulary_file:
    write_vocabulary(
      config.vocabulary_file,
      config.layout.num_classes,
      seed=config.seed,
      overwrite=config.overwrite,
    )
  sampler = _Sampler(config)
  paths = [os.path.join(folder, name) for name in names]
  with tqdm(total=config.num_videos, unit=" videos", disable=None) as progress:
    for shard, path in enumerate(paths):
      with utils.replacing(path, tf.io.TFRecordWriter) as writer:
        for record in sampler.shard_records(shard):
          writer.write(record)
          progress.update()
  return paths


def rated_classes(num_classes: int) -> np.ndarray:
  """[S] int64: the classes of rated segments, rising."""
  count = max(1, round(num_classes * _RATED_CLASSES))
  last = (num_classes - 1) * _FREQUENT_PART
  return np.linspace(0, last, count).astype(np.int64)


def _generator(seed: int, *purpose: str | int) -> np.random.Generator:
  """A random stream of its own for each purpose."""
  key = [zlib.crc32(str(part).encode()) for part in purpose]
  sequence = np.random.SeedSequence(seed, spawn_key=key)
  return np.random.Generator(np.random.PCG64(sequence))


def _label_shares(num_classes: int) -> np.ndarray:
  """[num_classes] float64: shares of all labels, as TrainVideoCount in v2."""
  shares = (np.arange(1, num_classes + 1) + 1.5) ** -1.05
  return shares / shares.sum()


class _Sampler:
  """Makes shards' records; C are their classes, D all features' values."""

  def __init__(self, config: SampleConfig):
    self._config, self._layout = config, config.layout
    self._names, sizes, *spreads = zip(*self._layout.features, strict=True)
    spreads, frame_spreads = map(np.array, spreads)
    shares = _label_shares(self._layout.num_classes)
    self._class_starts = np.cumsum(shares)[:-1]
    # The classes of a mean video, each times its strength, add up to values of
    # variance _CLASSES_VARIANCE * spread ** 2 (hidden ones left aside).
    strength = (1 + _LEAST_STRENGTH + _LEAST_STRENGTH**2) / 3  # Mean square.
    variance = _CLASSES_VARIANCE / strength
    scales = spreads * np.sqrt(variance / self._layout.labels_per_video)
    # [C, D], what a class adds to a video's values.
    self._prototypes = self._normal("prototypes", len(shares), scales)
    # [C], what classes are rated in proportion to, so that rare ones are, too.
    self._rating_weights = np.zeros(len(shares))
    if config.segments:
      rated = rated_classes(len(shares))
      self._rating_weights[rated] = 1 / shares[rated]
      # [C, D]: the codes that each class adds to the frames of a segment.
      shown = self._normal("segments", len(shares), scales)
      self._segment_codes = np.rint(shown / utils.DEQUANTIZE_SCALE).astype(
        np.int16
      )
    noise_spreads = np.sqrt(1 - _CLASSES_VARIANCE) * spreads
    self._noise_spread = np.repeat(noise_spreads, sizes).astype(np.float32)
    frames = self._layout.frames
    num_frames = _NOISE_FRAMES + frames[1] if frames else 0
    scales = frame_spreads / utils.DEQUANTIZE_SCALE
    noise = self._normal("frame noise", num_frames, scales)
    self._frame_noise = np.rint(noise).astype(np.int16)
    ends = np.cumsum(sizes)
    self._columns = list(map(slice, ends - sizes, ends))
    self._headers = [_header(size, frames is None) for size in sizes]

  def _normal(self, purpose: str, num_rows: int, scales) -> np.ndarray:
    """[num_rows, D] float32, with a standard deviation for each feature."""
    parts = []
    for feature, scale in zip(self._layout.features, scales, strict=True):
      # The mean of a feature has its frames' prototypes.
      name = feature.name.removeprefix("mean_")
      rng = _generator(self._config.seed, purpose, name)
      values = rng.standard_normal((num_rows, feature.size), dtype=np.float32)
      parts.append(values * np.float32(scale))
    return np.concatenate(parts, axis=1)

  def shard_records(self, shard: int) -> Iterator[bytes]:
    """One shard's serialised records."""
    config = self._config
    rng = _generator(config.seed, "videos", config.prefix, shard)
    first = config.num_videos * shard // config.num_shards
    end = config.num_videos * (shard + 1) // config.num_shards
    for start in range(first, end, _CHUNK_SIZE):
      videos = np.arange(start, min(start + _CHUNK_SIZE, end))
      ids = self._make_ids(rng, videos)
      labels, values, later = self._draw_videos(rng, len(videos))
      contents = self._contents(rng, labels, values, later)
      yield from map(self._record, ids, labels, contents)

  def _make_ids(self, rng: np.random.Generator, videos: np.ndarray):
    """Ids of videos; only two partitions of other prefixes may share some."""
    config, base = self._config, len(_ID_LETTERS)
    first, num_ids = _ID_REGIONS.get(config.prefix, _OTHER_ID_REGION)
    offset = zlib.crc32(f"{config.seed} {config.prefix}".encode())
    unique = first + (offset + videos.astype(np.int64) * _ID_STEP) % num_ids
    digits = unique[:, np.newaxis] // _UNIQUE_POWERS % base
    num_free = self._layout.id_length - len(_UNIQUE_POWERS)
    free = rng.integers(base, size=(len(videos), num_free))
    letters = _ID_LETTERS[np.concatenate([digits, free], axis=1)]
    return [row.tobytes() for row in letters]

  def _draw_videos(self, rng: np.random.Generator, count: int):
    """Labels of `count` videos, each sorted, and values [count, D] float32.

    The values come twice: for the first half of the frames, and for the other.
    """
    owners, classes = self._draw_classes(rng, count)
    starts = np.searchsorted(owners, np.arange(count))
    strength = rng.uniform(_LEAST_STRENGTH, 1, size=(len(classes), 1))
    strength = strength.astype(np.float32)

    def values_of(classes):
      return np.add.reduceat(self._prototypes[classes] * strength, starts)

    size = count, self._prototypes.shape[1]
    noise = rng.standard_normal(size, dtype=np.float32) * self._noise_spread
    values = later = values_of(classes) + noise
    if self._config.order:
      # Of classes 2k and 2k + 1 each begins with what the other ends with.
      others = np.minimum(classes ^ 1, self._layout.num_classes - 1)
      later = values_of(others) + noise
    is_label = rng.random(len(classes)) >= _HIDDEN_SHARE
    is_label[starts] = True  # Every video has a label.
    ends_of_labels = np.cumsum(np.bincount(owners[is_label], minlength=count))
    labels = np.split(classes[is_label], ends_of_labels[:-1])
    return labels, values, later

  def _draw_classes(self, rng: np.random.Generator, count: int):
    """Pairs of a video, below `count`, and a class that it shows, sorted."""
    num_classes = self._layout.num_classes
    # All but a video's first class may be hidden; so many remain as labels.
    more_labels = self._layout.labels_per_video - 1
    num_shown = 1 + rng.poisson(more_labels / (1 - _HIDDEN_SHARE), size=count)
    num_shown = np.minimum(num_shown, num_classes)
    # A pair in one number, so that one sort finds repeated draws.
    pairs = np.empty(0, np.int64)
    while len(pairs) < num_shown.sum():
      missing = num_shown - np.bincount(pairs // num_classes, minlength=count)
      owners = np.repeat(np.arange(count), missing)
      random = rng.random(len(owners))
      drawn = np.searchsorted(self._class_starts, random, side="right")
      pairs = np.unique(np.concatenate([pairs, owners * num_classes + drawn]))
    return np.divmod(pairs, num_classes)

  def _contents(self, rng: np.random.Generator, labels, values, later):
    """For each video its features' bytes, the second it starts, its ratings."""
    count = len(values)
    if not self._layout.frames:
      # What codes 0 and 255 stand for; real values never leave this span.
      lowest, scale = utils.DEQUANTIZE_OFFSET, utils.DEQUANTIZE_SCALE
      values = np.clip(values, lowest, 255 * scale + lowest).astype("<f4")
      for features in zip(*self._encode(values), strict=True):
        yield features, 0.0, None
      return
    codes, later_codes = map(_codes, (values, later))
    least, most = self._layout.frames
    # Of 120 to 300, the mean is then the data set's 225.
    num_frames = rng.beta(2.1, 1.5, size=count) * (most - least) + least
    starts = rng.integers(_NOISE_FRAMES, size=count)
    ends = starts + np.rint(num_frames).astype(np.int64)
    times = 10.0 * rng.integers(60, size=count)
    for video in range(count):
      frames = self._frame_noise[starts[video] : ends[video]] + codes[video]
      if self._config.order:
        _show_later(frames, later_codes[video] - codes[video])
      ratings = self._draw_ratings(rng, labels[video], len(frames))
      self._show_positives(rng, frames, ratings)
      frames = np.clip(frames, 0, 255).astype(np.uint8)
      yield self._encode(frames), times[video], ratings

  def _show_positives(self, rng: np.random.Generator, frames, ratings):
    """Adds to [T, D] frames what rated segments show.

    The opposite is added to segments at the beginning, so that the mean of the
    frames does not tell what was rated.
    """
    for index, start, score in zip(*ratings, strict=True):
      if score:
        opposite = rng.integers(_UNRATED_START) * SEGMENT_SECS
        shown = self._segment_codes[index]
        frames[start : start + SEGMENT_SECS] += shown
        frames[opposite : opposite + SEGMENT_SECS] -= shown

  def _draw_ratings(
    self, rng: np.random.Generator, labels: np.ndarray, num_frames: int
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes, seconds and scores of the rated segments, which may be none."""
    weights = self._rating_weights[labels]
    last = num_frames // SEGMENT_SECS - _UNRATED_END
    segments = np.arange(_UNRATED_START, last)
    if not weights.any() or not segments.size:
      return labels[:0], segments[:0], weights[:0]
    count = min(1 + rng.poisson(_RATINGS_PER_VIDEO - 1), segments.size)
    segments = np.sort(rng.choice(segments, count, replace=False))
    classes = rng.choice(labels, count, p=weights / weights.sum())
    scores = (rng.random(count) < _POSITIVE_SHARE).astype(np.float64)
    return classes, segments * SEGMENT_SECS, scores

  def _encode(self, rows: np.ndarray) -> list[np.ndarray]:
    """Of each feature [T, bytes] uint8: the rows, [T, D], behind its header."""
    # Ten times as fast as assigning each value or frame to a message.
    encoded = []
    for columns, header in zip(self._columns, self._headers, strict=True):
      headers = np.repeat(header, len(rows), axis=0)
      payload = rows[:, columns].view(np.uint8)
      encoded.append(np.concatenate([headers, payload], axis=1))
    return encoded

  def _record(self, video_id: bytes, labels: np.ndarray, contents) -> bytes:
    """A serialised tf.SequenceExample, or tf.Example at video level."""
    # Without feature lists, its bytes are those of an Example.
    record = tf.train.SequenceExample()
    features, start_time, ratings = contents
    context, layout = record.context.feature, self._layout
    context[layout.id_key].bytes_list.value.append(video_id)
    if self._config.labels:
      context["labels"].int64_list.value.extend(labels.tolist())
    if self._config.segments and self._config.labels:
      classes, starts, scores = (column.tolist() for column in ratings)
      ends = [start + SEGMENT_SECS for start in starts]
      context[LABELS_KEY].int64_list.value.extend(classes)
      context[STARTS_KEY].int64_list.value.extend(starts)
      context[ENDS_KEY].int64_list.value.extend(ends)
      context[SCORES_KEY].float_list.value.extend(scores)
    if layout.has_times:
      context["start_time_seconds"].float_list.value.append(start_time)
      end_time = start_time + len(features[0])
      context["end_time_seconds"].float_list.value.append(end_time)
    lists = record.feature_lists.feature_list if layout.frames else context
    for name, encoded in zip(self._names, features, strict=True):
      lists[name].MergeFromString(encoded.tobytes())
    return record.SerializeToString(deterministic=True)


def _codes(values: np.ndarray) -> np.ndarray:
  """Int16: the codes of values, of which some are out of range."""
  codes = (values - utils.DEQUANTIZE_OFFSET) / utils.DEQUANTIZE_SCALE
  return np.rint(codes).astype(np.int16)


def _show_later(frames: np.ndarray, change: np.ndarray):
  """Changes the second half of [T, D] frames, and half of one in the middle.

  So the mean of the frames does not tell in which half they were changed.
  """
  half = len(frames) // 2
  frames[len(frames) - half :] += change
  if len(frames) % 2:
    frames[half] += change // 2


def _header(size: int, is_video_level: bool) -> np.ndarray:
  """[1, bytes]: what precedes a video's `size` floats, or each frame."""
  if is_video_level:
    values = tf.train.FloatList(value=[0.0] * size)
    message, num_bytes = tf.train.Feature(float_list=values), 4 * size
  else:
    frame = tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(size)]))
    message, num_bytes = tf.train.FeatureList(feature=[frame]), size
  encoded = message.SerializeToString()
  return np.frombuffer(encoded[:-num_bytes], np.uint8)[np.newaxis]


_VOCABULARY_HEADER = (
  "Index,TrainVideoCount,KnowledgeGraphId,Name,WikiUrl,Vertical1,Vertical2,"
  "Vertical3,WikiDescription\n"
)
_VERTICALS = ("Games", "Music", "Sports", "Travel", "Food & Drink", "(Unknown)")
_SYLLABLES = "ba de fi go hu ka le mi no pu ra se ti vo zu la".split()


def write_vocabulary(
  path: str, num_classes: int, *, seed: int = 0, overwrite: bool = False
):
  """Writes made-up class names in the format of the data set's vocabulary.csv.

  As in the real file, rows are not in the order of Index, some classes have
  no name, and fields may hold commas, quotes and line breaks.

  Raises:
    UserError: the file exists already or cannot be written.
  """
  if tf.io.gfile.exists(path) and not overwrite:
    raise UserError(
      f"--vocabulary_file={path!r} exists already; --overwrite replaces it."
    )
  rng = _generator(seed, "vocabulary")
  # Class 0 goes last, so the order is never Index's.
  order = [*(rng.permutation(num_classes - 1) + 1), 0]
  # About one class in 69 has no name, as in v2's vocabulary.
  num_unnamed = num_classes // 69 or min(1, num_classes - 1)
  unnamed = set(rng.choice(num_classes, num_unnamed, replace=False))
  # In base 16 at least three digits, each a syllable of a name of its own.
  numbers = rng.permutation(num_classes) + len(_SYLLABLES) ** 2
  counts = np.ceil(1e7 * _label_shares(num_classes)).astype(int)
  text = io.StringIO()
  text.write(_VOCABULARY_HEADER)
  writer = csv.writer(text, lineterminator="\n")
  for index in order:
    name = url = description = ""
    vertical = _VERTICALS[index % len(_VERTICALS)]
    if index not in unnamed:
      number = numbers[index]
      while number:
        number, digit = divmod(number, len(_SYLLABLES))
        name += _SYLLABLES[digit]
      kind = vertical.strip("()")
      endings = {3: f", {kind}", 7: f" ({kind})"}
      name = name.capitalize() + endings.get(index % 10, "")
      url = f"https://example.org/wiki/{name.replace(' ', '_')}"
      description = f'{name} is made up.\nNothing is called "{name}".'
    row = [index, counts[index], f"/m/0{index:05x}", name, url, vertical]
    writer.writerow([*row, "", "", description])
  with utils.replacing(path, follows_links=True) as file:
    file.write(text.getvalue().encode())


def main():
  """Writes what the flags ask for."""
  config = configs.from_flags(SampleConfig)
  write_shards(**dataclasses.asdict(config))
  print(
    f"Wrote {config.num_videos} {config.dialect} videos of "
    f"{config.layout.num_classes} classes to {config.num_shards} shard(s): "
    f"{os.path.join(config.output_dir, config.prefix)}*.tfrecord",
    file=sys.stderr if config.vocabulary_file == "-" else sys.stdout,
  )


def run():
  """Starts the program."""
  program.run(main, functools.partial(configs.define_flags, SampleConfig))


if __name__ == "__main__":
  run()
