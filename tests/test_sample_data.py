# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of the made-up shards: format, statistics, and what can be learned."""

import csv
import math
import os
import pathlib

from program import UserError

import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score

from tools import sample_data

# Written down a second time, from the data sets' published descriptions: id
# key, id length, features of a video or frame, classes, mean labels.
_MEANS = {"mean_rgb": 1024, "mean_audio": 128}
_FRAMES = {"rgb": 1024, "audio": 128}
DIALECTS = {
  "v0_video": ("video_id", 11, {"mean_inc3": 1024}, 4800, 1.8),
  "v1_video": ("video_id", 11, _MEANS, 4716, 3.4),
  "v2_video": ("id", 4, _MEANS, 3862, 3.0),
  "v0_frame": ("video_id", 11, {"inc3": 1024}, 4800, 1.8),
  "v1_frame": ("video_id", 11, _FRAMES, 4716, 3.4),
  "v2_frame": ("id", 4, _FRAMES, 3862, 3.0),
  "audioset": ("video_id", 11, {"audio_embedding": 128}, 527, 2.4),
}
FRAMES = {"dialect": "v2_frame"}
TIMES = ("start_time_seconds", "end_time_seconds")
SEGMENT_KEYS = (
  *("segment_labels", "segment_start_times", "segment_end_times"),
  "segment_scores",
)


def _write(folder, dialect="v2_video", size=2, **options):
  """Shards with small features, for tests of everything else."""
  sizes = [size] * len(DIALECTS[dialect][2])
  return sample_data.write_shards(
    folder, dialect, feature_sizes=sizes, **options
  )


def _bytes(paths):
  return [pathlib.Path(path).read_bytes() for path in paths]


def _records(paths):
  return list(tf.data.TFRecordDataset(paths).as_numpy_iterator())


def _context_lists(paths, name, kind):
  """One list a video; an Example is a SequenceExample's context on its own."""
  return [
    list(getattr(example.features.feature[name], kind).value)
    for example in map(tf.train.Example.FromString, _records(paths))
  ]


def _labels(paths):
  return _context_lists(paths, "labels", "int64_list")


def _values(paths, name):
  """[N, size] float32 of a video-level feature."""
  return np.array(_context_lists(paths, name, "float_list"), np.float32)


def _codes(paths, name):
  """One [T, size] uint8 array a video."""
  videos = []
  for sequence in map(tf.train.SequenceExample.FromString, _records(paths)):
    frames = sequence.feature_lists.feature_list[name].feature
    frames = [frame.bytes_list.value[0] for frame in frames]
    videos.append(
      np.array([np.frombuffer(frame, np.uint8) for frame in frames])
    )
  return videos


@pytest.mark.parametrize("dialect", sample_data.DIALECTS)
def test_records(tmp_path, dialect):
  id_key, id_length, sizes, num_classes, _ = DIALECTS[dialect]
  is_video, is_audioset = dialect.endswith("video"), dialect == "audioset"
  kinds = {id_key: "bytes_list", "labels": "int64_list"}
  kinds.update(dict.fromkeys(sizes if is_video else (), "float_list"))
  kinds.update(dict.fromkeys(TIMES if is_audioset else (), "float_list"))
  message = tf.train.Example if is_video else tf.train.SequenceExample
  records = _records(sample_data.write_shards(tmp_path, dialect, num_videos=9))
  assert len(records) == 9
  for record in records:
    parsed = message.FromString(record)
    # Parts of the records are merged from bytes that were encoded elsewhere.
    assert parsed.SerializeToString(deterministic=True) == record
    context = (parsed.features if is_video else parsed.context).feature
    assert {key: context[key].WhichOneof("kind") for key in context} == kinds
    (video_id,) = context[id_key].bytes_list.value
    assert len(video_id) == id_length
    assert video_id.isalnum()
    labels = list(context["labels"].int64_list.value)
    assert labels == sorted(set(labels))
    assert 0 <= labels[0] <= labels[-1] < num_classes
    if is_video:
      for name, size in sizes.items():
        values = context[name].float_list.value
        assert len(values) == size
        # What codes 0 and 255 stand for, and the span of real v2 shards.
        assert -1.9921875 <= min(values) <= max(values) <= 2.0078125
    else:
      lists = parsed.feature_lists.feature_list
      assert set(lists) == set(sizes)
      (num_frames,) = {len(lists[name].feature) for name in sizes}
      low, high = (10, 10) if is_audioset else (120, 300)
      assert low <= num_frames <= high
      for name, size in sizes.items():
        frames = [frame.bytes_list.value for frame in lists[name].feature]
        assert {tuple(map(len, frame)) for frame in frames} == {(size,)}


def test_equal_arguments_give_equal_bytes(tmp_path):

  def contents(folder, **changes):
    options = {"num_videos": 20, "num_classes": 10, **changes}
    return _bytes(_write(tmp_path / folder, "v2_frame", **options))

  first = contents("first")
  assert len(set(first)) == 4
  assert contents("again") == first
  assert not set(contents("seed", seed=1)) & set(first)
  assert not set(contents("prefix", prefix="validate")) & set(first)


# Mean, standard deviation and extremes of 3,567 real v2 videos: 0.001, 0.462
# (mean_rgb), 0.003, 0.686 (mean_audio), -1.9921875, 2.0078125. Of 27,199 real
# AudioSet clips: mean code 126.5, standard deviation 77.6, 9% are 0, 9% 255.
@pytest.mark.parametrize(
  ("dialect", "name", "mean", "spread", "ends"),
  [
    ("v2_video", "mean_rgb", (0, 0.03), 0.462, (-1.9921875, 2.0078125)),
    ("v2_video", "mean_audio", (0, 0.03), 0.686, (-1.9921875, 2.0078125)),
    ("audioset", "audio_embedding", (127, 4), 77.6, (0, 255)),
  ],
)
def test_values_have_the_real_spread(
  tmp_path, dialect, name, mean, spread, ends
):
  paths = sample_data.write_shards(tmp_path, dialect, num_videos=600)
  read = _values if dialect == "v2_video" else _codes
  values = np.concatenate(read(paths, name))
  assert values.mean() == pytest.approx(mean[0], abs=mean[1])
  assert values.std() == pytest.approx(spread, rel=0.1)
  if name != "mean_rgb":  # Whose ends are rare.
    assert (values.min(), values.max()) == ends
  if name == "audio_embedding":
    assert 0.03 < (values == 0).mean() < 0.12
    assert 0.03 < (values == 255).mean() < 0.12


def test_frames_are_codes_around_the_videos_own_mean(tmp_path):
  # With one seed, both levels describe the same videos.
  options = {"size": 64, "num_videos": 20, "num_shards": 1}
  videos = _write(tmp_path / "v", "v2_video", **options)
  frames = _write(tmp_path / "f", "v2_frame", **options)
  assert _labels(videos) == _labels(frames)
  values, codes = _values(videos, "mean_rgb"), _codes(frames, "rgb")
  # The quantisation of the data set's paper, inverted.
  means = [(c * (4 / 255) + 4 / 512 - 2).mean(axis=0) for c in codes]
  # 0.6 is the frames' spread; 120 the fewest frames; 5 standard errors, and
  # what clipping at the span's ends takes off.
  np.testing.assert_allclose(means, values, atol=5 * 0.6 / 120**0.5 + 0.05)
  # Half a code, 0.008, would be seen in the mean of 1280 such differences.
  assert np.mean(means - values) == pytest.approx(0, abs=0.004)
  assert codes[0].std(axis=0).min() > 10


def test_label_frequencies_are_those_of_the_vocabulary(tmp_path):
  num_videos = 20_000
  paths = _write(tmp_path, num_videos=num_videos)
  labels = np.concatenate(_labels(paths))
  share = np.bincount(labels, minlength=3862) / num_videos
  # TrainVideoCount in v2's vocabulary.csv, over 3.89M videos: 788,288 for the
  # most frequent class, 144,667 at rank 10, 14,920 at 100, 1,147 at 1000.
  assert share[0] == pytest.approx(0.203, rel=0.25)
  assert share[8:13].mean() == pytest.approx(0.0372, rel=0.25)
  assert share[90:111].mean() == pytest.approx(0.00384, rel=0.25)
  assert share[900:1101].mean() == pytest.approx(0.000295, rel=0.4)
  assert (share > 0).mean() > 0.8


@pytest.mark.parametrize("dialect", ["v0_video", "v1_video", "audioset"])
def test_mean_number_of_labels(tmp_path, dialect):
  counts = [*map(len, _labels(_write(tmp_path, dialect, num_videos=4000)))]
  assert min(counts) == 1
  assert np.mean(counts) == pytest.approx(DIALECTS[dialect][4], abs=0.1)


@pytest.mark.parametrize("num_classes", [1, 2, 5])
def test_labels_stay_within_few_classes(tmp_path, num_classes):
  labels = _labels(_write(tmp_path, num_videos=200, num_classes=num_classes))
  assert {label for row in labels for label in row} == set(range(num_classes))
  assert all(row == sorted(set(row)) for row in labels)


def test_frame_counts_are_realistic(tmp_path):
  paths = _write(tmp_path, "v2_frame", num_videos=2000)
  counts = np.array([len(codes) for codes in _codes(paths, "audio")])
  assert counts.mean() == pytest.approx(225, abs=5)
  assert 120 <= counts.min() <= counts.max() <= 300
  assert len(np.unique(counts)) > 150


@pytest.mark.parametrize(
  ("given", "low", "high"),
  [
    ({"min_frames": 0, "max_frames": 0}, 0, 0),
    ({"min_frames": 0, "max_frames": 2}, 0, 2),
    ({"max_frames": 1}, 1, 1),
    ({"min_frames": 302, "max_frames": 305}, 302, 305),
    ({"min_frames": 400}, 400, 400),
  ],
)
def test_frame_limits(tmp_path, given, low, high):
  paths = _write(tmp_path, "v2_frame", num_videos=300, **given)
  counts = {len(codes) for codes in _codes(paths, "rgb")}
  assert counts == {len(codes) for codes in _codes(paths, "audio")}
  assert counts == set(range(low, high + 1))


def test_audioset_clips_end_with_their_frames(tmp_path):
  paths = _write(tmp_path, "audioset", num_videos=10, min_frames=0)
  starts, ends = (_values(paths, name)[:, 0] for name in TIMES)
  assert list(ends - starts) == [*map(len, _codes(paths, "audio_embedding"))]
  assert 0 <= min(starts) < max(starts) <= 590


@pytest.mark.parametrize("dialect", ["v1_video", "v2_video"])
def test_no_id_and_no_video_is_written_twice(tmp_path, dialect):
  ids, rows, options = [], [], {"num_videos": 1500, "num_shards": 2}
  assert 1500 / 2 > 2 * sample_data._CHUNK_SIZE
  for prefix in ("train", "validate", "test", "mine"):
    paths = _write(tmp_path, dialect, size=8, prefix=prefix, **options)
    ids += sum(_context_lists(paths, DIALECTS[dialect][0], "bytes_list"), [])
    rows += _context_lists(paths, "mean_rgb", "float_list")
  assert len(set(ids)) == len(set(map(tuple, rows))) == len(ids) == 6000


def test_there_are_ids_for_partitions_of_the_real_size():
  end = 0
  # The largest such partition of any release; any other name has ids, too.
  largest = {"train": 5_790_000, "validate": 1_650_000, "test": 1_133_323}
  for prefix, num_videos in {**largest, "mine": 1}.items():
    options = {"output_dir": "unused", "prefix": prefix}
    sample_data.SampleConfig(num_videos=num_videos, **options)
    other = sample_data._OTHER_ID_REGION
    first, num_ids = sample_data._ID_REGIONS.get(prefix, other)
    assert first == end  # The regions do not overlap.
    end += num_ids
    # Then multiples of the step meet every id of the region once.
    assert math.gcd(sample_data._ID_STEP, num_ids) == 1
    with pytest.raises(UserError, match=f"should be from 4 .* to {num_ids:,}"):
      sample_data.SampleConfig(num_videos=num_ids + 1, **options)
  assert end == 62**4  # Four letters or digits.


@pytest.mark.parametrize(
  "options",
  [{}, {"dialect": "audioset"}, {"dialect": "v2_frame", "segments": True}],
)
def test_unlabelled_shards_differ_in_nothing_else(tmp_path, options):
  options = {"num_videos": 7, **options}
  labelled = _write(tmp_path / "a", **options)
  unlabelled = _write(tmp_path / "b", labels=False, **options)
  without = [*map(tf.train.SequenceExample.FromString, _records(labelled))]
  for example in without:
    for key in ("labels", *SEGMENT_KEYS):
      example.context.feature.pop(key, None)
  assert without == [
    *map(tf.train.SequenceExample.FromString, _records(unlabelled))
  ]


@pytest.mark.parametrize(
  ("videos", "num_shards", "expected"),
  # The readers take an empty shard for a download that failed.
  [
    (5, 5, [1, 1, 1, 1, 1]),
    (7, 3, [2, 2, 3]),
    (1, None, [1]),
    (3, None, [1, 1, 1]),
    (9, None, [2, 2, 2, 3]),
  ],
)
def test_numbers_of_videos_and_shards(tmp_path, videos, num_shards, expected):
  options = {"num_videos": videos, "num_shards": num_shards}
  paths = _write(tmp_path, prefix="validate", **options)
  names = [f"validate{shard:04d}.tfrecord" for shard in range(len(expected))]
  assert paths == [os.path.join(tmp_path, name) for name in names]
  assert sorted(os.listdir(tmp_path)) == names
  assert [len(_records([path])) for path in paths] == expected


def test_train_teaches_validate(tmp_path):

  def read(prefix, num_videos, seed=0):
    options = {"prefix": prefix, "num_videos": num_videos, "seed": seed}
    folder = tmp_path / f"{prefix}{seed}"
    paths = sample_data.write_shards(folder, num_classes=100, **options)
    inputs = np.concatenate([_values(paths, name) for name in _MEANS], axis=1)
    inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
    multi_hot = [np.isin(np.arange(100), labels) for labels in _labels(paths)]
    return inputs, np.array(multi_hot, np.float32)

  model = Ridge(alpha=1.0).fit(*read("train", 2000))

  def gap(inputs, labels):  # Without its cut at 20 predictions a video.
    scores = model.predict(inputs)
    return average_precision_score(labels, scores, average="micro")

  assert 0.6 < gap(*read("validate", 500)) < 0.97
  # Another seed has other prototypes: there is nothing to transfer.
  assert gap(*read("validate", 500, seed=1)) < 0.3


def _ratings(paths):
  """[4, R] int64 a video: classes, first seconds, ends, scores of ratings."""
  *integers, scores = SEGMENT_KEYS
  columns = [_context_lists(paths, key, "int64_list") for key in integers]
  columns.append(_context_lists(paths, scores, "float_list"))
  return [np.array(video, np.int64) for video in zip(*columns, strict=True)]


def test_ratings_are_as_in_the_shards_of_2019(tmp_path):
  paths = _write(tmp_path, **FRAMES, segments=True, num_videos=400)
  rated_classes = sample_data.rated_classes(3862)
  # The real ones are from 3 to 1805.
  assert (len(set(rated_classes)), rated_classes[-1]) == (1000, 1804)
  ratings = _ratings(paths)
  lengths = map(len, _codes(paths, "rgb"))
  for video, labels, length in zip(
    ratings, _labels(paths), lengths, strict=True
  ):
    classes, starts, ends, _ = video
    assert set(classes) <= set(labels) & set(rated_classes)
    assert (np.diff(starts) > 0).all()
    assert (starts % 5 == 0).all()
    assert (ends == starts + 5).all()
    # Neither the first six nor the last two segments.
    assert ((starts >= 30) & (ends + 2 * 5 <= length)).all()
  sizes = np.array([video.shape[1] for video in ratings])
  # 237,788 ratings of about 47,000 videos, of which 132,442 are positive; their
  # standard deviations here are 0.12 and 0.013.
  assert 4.6 < sizes[sizes > 0].mean() < 5.4
  _, _, _, scores = np.concatenate(ratings, axis=1)
  assert set(scores) == {0, 1}
  assert 0.51 < scores.mean() < 0.61


def _small_frames(folder, prefix, **options):
  """Paths, frames [T, 80] of each video, and labels [N, 12]."""
  paths = sample_data.write_shards(
    folder,
    **FRAMES,
    prefix=prefix,
    num_videos=500,
    num_classes=12,
    feature_sizes=(64, 16),
    min_frames=50,
    max_frames=75,
    **options,
  )
  frames = [
    np.concatenate(pair, axis=1, dtype=float)
    for pair in zip(_codes(paths, "rgb"), _codes(paths, "audio"), strict=True)
  ]
  labels = [np.isin(np.arange(12), labels) for labels in _labels(paths)]
  return paths, frames, np.array(labels, float)


def _means(frames):
  return np.array([video.mean(axis=0) for video in frames])


def test_what_was_rated_shows_in_five_seconds_alone(tmp_path):

  def read(prefix):
    """Classes, scores and mean frames of rated segments; means and labels."""
    paths, frames, labels = _small_frames(tmp_path, prefix, segments=True)
    classes, starts, _, scores = np.concatenate(_ratings(paths), axis=1)
    counts = [video.shape[1] for video in _ratings(paths)]
    owners = np.repeat(np.arange(len(frames)), counts)
    inputs = _means(
      frames[owner][start : start + 5]
      for owner, start in zip(owners, starts, strict=True)
    )
    return classes, scores, inputs, _means(frames), labels

  classes, scores, inputs, means, labels = read("train")
  of_videos = Ridge().fit(means, labels)
  other_classes, other_scores, other_inputs, *_ = read("validate")
  assert set(classes) == {0, 2, 5}
  by_segments, by_videos = [], []
  for index in (0, 2, 5):
    own, others = classes == index, other_classes == index
    of_segments = Ridge().fit(inputs[own], scores[own])
    for model, column, precisions in (
      (of_segments, ..., by_segments),
      (of_videos, (..., index), by_videos),
    ):
      predicted = model.predict(other_inputs[others])[column]
      precisions.append(
        average_precision_score(other_scores[others], predicted)
      )
  assert np.mean(by_segments) > 0.95
  # Who knows nothing has the share of positives, about 0.56.
  assert np.mean(by_videos) < 0.7


def test_order_alone_tells_classes_apart(tmp_path):

  def read(prefix):
    """Mean frames of videos, those of both halves, and labels."""
    _, frames, labels = _small_frames(tmp_path, prefix, order=True)
    halves = [len(video) // 2 for video in frames]
    first = _means(v[:half] for v, half in zip(frames, halves, strict=True))
    second = _means(v[-half:] for v, half in zip(frames, halves, strict=True))
    return _means(frames), np.hstack([first, second]), labels

  means, halves, labels = read("train")
  other_means, other_halves, other_labels = read("validate")
  # Videos with one class of the first pair, of two that are frequent.
  which = other_labels[:, 0] != other_labels[:, 1]
  is_first = other_labels[which, 0]

  def precision(inputs, other_inputs):
    scores = Ridge().fit(inputs, labels).predict(other_inputs[which])
    return average_precision_score(is_first, scores[:, 0] - scores[:, 1])

  assert precision(halves, other_halves) > 0.95
  assert precision(means, other_means) < is_first.mean() + 0.1


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"dialect": "v3_video"}, "--dialect='v3_video' should be.*v2_video"),
    ({"num_videos": 0}, "--num_videos=0 should be from 1 to 10,000,000"),
    (
      {"num_videos": 2, "num_shards": 3},
      "should be from 3 .no shard may be em",
    ),
    ({"num_shards": 0}, "--num_shards=0 should be from 1"),
    ({"num_classes": 0}, "--num_classes=0 should be from 1"),
    ({"seed": -1}, "--seed=-1 should be from 0"),
    (
      {"feature_sizes": [1024]},
      r"=1024 should be 2 .* of mean_rgb, mean_audio",
    ),
    ({"feature_sizes": [1024, 0]}, "--feature_sizes=0 should be from 1"),
    ({"min_frames": 1}, "--min_frames.* no meaning for --dialect=v2_video"),
    ({"max_frames": 0}, "--max_frames has no meaning for --dialect=v2_video"),
    ({**FRAMES, "min_frames": -1}, "--min_frames=-1 should be"),
    ({**FRAMES, "max_frames": -1}, "--max_frames=-1 should be"),
    ({**FRAMES, "min_frames": 3, "max_frames": 2}, "=3 is more than --max_fr"),
    ({"segments": True}, "--segments has no meaning for --dialect=v2_video"),
    (
      {**FRAMES, "segments": True, "max_frames": 44},
      "--max_frames=44: with --segments it should be at least 45",
    ),
    ({"prefix": ""}, "--prefix='' should be"),
    ({"prefix": "a/b"}, "--prefix='a/b' should be"),
    ({"prefix": "train1"}, "--prefix='train1' should.*not end in a digit"),
  ],
)
def test_wrong_arguments_are_named(tmp_path, options, message):
  with pytest.raises(UserError, match=message):
    sample_data.write_shards(tmp_path, **options)
  assert not os.listdir(tmp_path)


def test_existing_shards_are_kept_unless_all_are_replaced(tmp_path):
  folder, options = tmp_path / "a[1]*", {"num_videos": 4, "num_shards": 3}
  paths = _write(folder, **options)
  old = _bytes(paths)
  with pytest.raises(UserError, match=r"train0000.tfrecord.*--overwrite"):
    _write(folder, seed=1, **options)
  with pytest.raises(UserError, match=r"train0002.tfrecord.*remove the old"):
    _write(folder, seed=1, num_videos=4, num_shards=2, overwrite=True)
  # Other partitions, and names that only look alike, are nobody's business.
  (folder / "trains0000.tfrecord").touch()
  _write(folder, prefix="validate", **options)
  assert _bytes(paths) == old
  new = _bytes(_write(folder, seed=1, overwrite=True, **options))
  assert not set(new) & set(old)


def test_a_stopped_run_leaves_no_half_shard(tmp_path, monkeypatch):

  def stopping(sampler, shard):
    yield b"record"
    if shard == 1:
      raise KeyboardInterrupt

  monkeypatch.setattr(sample_data._Sampler, "shard_records", stopping)
  with pytest.raises(KeyboardInterrupt):
    _write(tmp_path, num_videos=8)
  assert os.listdir(tmp_path) == ["train0000.tfrecord"]


def _vocabulary(path):
  with open(path, newline="", encoding="utf-8") as file:
    return list(csv.DictReader(file))


@pytest.mark.parametrize("num_classes", [1, 2, 20, 3862])
def test_vocabulary_looks_like_the_real_one(tmp_path, num_classes):
  path = str(tmp_path / "vocabulary.csv")
  sample_data.write_vocabulary(path, num_classes)
  rows = _vocabulary(path)
  assert ",".join(rows[0]) == (
    "Index,TrainVideoCount,KnowledgeGraphId,Name,WikiUrl,Vertical1,Vertical2,"
    "Vertical3,WikiDescription"
  )
  assert not any(None in row or None in row.values() for row in rows)
  counts = {int(row["Index"]): int(row["TrainVideoCount"]) for row in rows}
  by_index = sorted(counts)
  assert by_index == list(range(num_classes))
  assert len(rows) == num_classes
  ordered = [counts[index] for index in by_index]
  assert ordered == sorted(ordered, reverse=True)
  names = [row["Name"] for row in rows if row["Name"]]
  assert len(set(names)) == len(names)
  assert len({row["KnowledgeGraphId"] for row in rows}) == num_classes
  if num_classes > 1:
    assert list(counts) != by_index
    assert len(names) < num_classes
  if num_classes == 3862:
    # The real one has 56 classes without a name.
    assert num_classes - len(names) == 55
    assert any("," in name for name in names)


def test_vocabulary_is_reproducible_and_kept(tmp_path):
  first, second = str(tmp_path / "a.csv"), str(tmp_path / "b.csv")
  sample_data.write_vocabulary(first, 30)
  sample_data.write_vocabulary(second, 30)
  assert _bytes([first]) == _bytes([second])
  with pytest.raises(UserError, match=r"vocabulary_file.*--overwrite"):
    sample_data.write_vocabulary(second, 30, seed=1)
  sample_data.write_vocabulary(second, 30, seed=1, overwrite=True)
  assert _bytes([first]) != _bytes([second])


def test_program_writes_what_the_library_writes(tmp_path, run_program):
  frames = {"min_frames": 2, "max_frames": 5}
  sizes = {"num_videos": 6, "num_shards": 2, "num_classes": 40, **frames}
  options = {"dialect": "v2_frame", "seed": 7, "prefix": "test", **sizes}
  program = tmp_path / "program"
  flags = [f"--{name}={value}" for name, value in options.items()]
  flags += ["--feature_sizes=8, 4", "--nolabels"]
  flags += [f"--vocabulary_file={program / 'vocabulary.csv'}"]
  result = run_program("tools.sample_data", f"--output_dir={program}", *flags)
  assert "6 v2_frame videos of 40 classes" in result.stdout
  assert "%|" not in result.stderr  # No progress bar outside a terminal.
  expected = sample_data.write_shards(
    str(tmp_path / "library"), feature_sizes=[8, 4], labels=False, **options
  )
  written = [program / f"test000{i}.tfrecord" for i in (0, 1)]
  assert _bytes(written) == _bytes(expected)
  assert len(_vocabulary(program / "vocabulary.csv")) == 40
  # What would be overwritten is found before anything is written.
  other = tmp_path / "other"
  flags += [f"--output_dir={other}"]
  again = run_program("tools.sample_data", *flags, check=False)
  assert again.returncode == 1
  assert "vocabulary_file" in again.stderr
  assert not list(other.iterdir())
