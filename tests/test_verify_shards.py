# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of verify_shards.py: what it finds, counts, prints and exits with.

What is wrong is written down by hand here, and compared with what the readers
leave out of the same shards.
"""

import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

import bad_records
import devices
import experiment
import readers
from tools import sample_data, verify_shards

NUM_CLASSES = 5
CLASSES_FLAG = f"--num_classes={NUM_CLASSES}"
NO_EXAMPLE = "it is neither a tf.Example nor a tf.SequenceExample"
# Bytes of a record's framing: length, its checksum, checksum of the data.
HEADER, FOOTER = 12, 4


def feature(values) -> tf.train.Feature:
  """A feature of the type that the values have."""
  if not values:
    return tf.train.Feature()
  if isinstance(values[0], bytes):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
  if isinstance(values[0], int):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
  return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def context(video_id, changes, values):
  """Features of a record; those that are None are left out."""
  values = {"id": [video_id], "labels": [0, 2], **values, **changes}
  return tf.train.Features(
    feature={k: feature(v) for k, v in values.items() if v is not None}
  )


def video(video_id=b"v", /, **changes) -> bytes:
  """A video-level record; mean_rgb has 3 values, mean_audio 2."""
  values = {"mean_rgb": [0.5, 1.0, 2.0], "mean_audio": [1.0, -1.0]}
  features = context(video_id, changes, values)
  example = tf.train.Example(features=features)
  return example.SerializeToString(deterministic=True)


def frame_video(video_id=b"v", /, rgb=2, audio=2, **changes) -> bytes:
  """A frame-level record; lists of frames, or numbers of good ones."""
  good = {"rgb": b"ab\0", "audio": b"c\0"}
  lists = {}
  for name, frames in (("rgb", rgb), ("audio", audio)):
    if frames is not None:
      if isinstance(frames, int):
        frames = [[good[name]]] * frames
      lists[name] = tf.train.FeatureList(feature=map(feature, frames))
  example = tf.train.SequenceExample(
    context=context(video_id, changes, {}),
    feature_lists=tf.train.FeatureLists(feature_list=lists),
  )
  return example.SerializeToString(deterministic=True)


def write(path: pathlib.Path, *records: bytes) -> str:
  """Writes a shard; returns its path."""
  path.parent.mkdir(exist_ok=True)
  with tf.io.TFRecordWriter(str(path)) as writer:
    for record in records:
      writer.write(record)
  return str(path)


@pytest.fixture
def verify(fork_program, tmp_path):
  """Runs the program; gives the exit code, the JSON, stdout and stderr."""
  numbers = itertools.count()

  def run(*arguments, classes=CLASSES_FLAG):
    path = tmp_path / f"report{next(numbers)}.json"
    result = fork_program(
      *("tools.verify_shards", *map(str, arguments), classes),
      f"--output_json={path}",
      check=False,
    )
    assert "Traceback" not in result.stderr
    report = json.loads(path.read_text()) if path.exists() else None
    return result.returncode, report, result.stdout, result.stderr

  return run


def found_in(report) -> list[tuple]:
  """(shard, record, cause, detail) of all problems, in order."""
  return sorted(
    (item["shard"], item["record"], problem["cause"], item["detail"])
    for problem in report["problems"]
    for item in problem["listed"]
  )


def left_out_by_readers(
  shards, folder, num_classes=NUM_CLASSES, of_segments=False
) -> list[tuple]:
  """The same of what a reader leaves out with --on_bad_record=skip."""
  schema = readers.detect_schema(shards, skip_bad=True)
  reader = experiment.build_reader(
    experiment.ExperimentConfig(
      num_classes=num_classes,
      feature_names=schema.feature_names,
      feature_sizes=schema.feature_sizes,
      frame_features=schema.frame_features,
      max_frames=schema.max_frames,
    ),
    of_segments=of_segments,
  )
  path = folder / "left_out.json"
  with bad_records.BadRecords(str(path), max_fraction=1.0) as left_out:
    left_out.expect(shards, 1)
    for _ in reader.evaluation_batches(shards, 16, left_out=left_out):
      pass
  if not path.exists():
    return []
  return sorted(
    (item["shard"], item["record"], item["cause"], item["detail"])
    for item in json.loads(path.read_text())["left_out"]
  )


# Name -> record, and the cause and detail of its problem, if it has one.
VIDEO_RECORDS = {
  "no protobuf": (b"\xff\xff\xff", "no example", NO_EXAMPLE),
  "empty": (b"", "no example", NO_EXAMPLE),
  "no id": (
    video(id=None),
    "no id",
    "it has neither 'id' nor 'video_id'; it has labels, mean_audio, mean_rgb",
  ),
  "empty id": (video(b""), "no id", "its 'id' is not one string, or empty"),
  "id of another release": (video(id=None, video_id=[b"other"]), None, None),
  "missing feature": (
    video(mean_audio=None),
    "missing feature",
    "it has no feature 'mean_audio'; it has id, labels, mean_rgb",
  ),
  "frame level": (
    frame_video(),
    "missing feature",
    "it has no feature 'mean_rgb'; it has audio, id, labels, rgb",
  ),
  "feature of another size": (
    video(mean_rgb=[1.0] * 4),
    "wrong feature size",
    "its 'mean_rgb' has 4 floats, 3 were expected",
  ),
  "NaN": (
    video(mean_rgb=[1.0, np.nan, 1.0]),
    "feature not finite",
    "its 'mean_rgb' has values that are not finite",
  ),
  "infinity": (
    video(mean_audio=[-np.inf, 1.0]),
    "feature not finite",
    "its 'mean_audio' has values that are not finite",
  ),
  "label above": (
    video(labels=[1, 5]),
    "label out of range",
    "its label 5 is outside [0, 5); check --num_classes",
  ),
  "label below": (
    video(labels=[-1]),
    "label out of range",
    "its label -1 is outside [0, 5); check --num_classes",
  ),
  "labels of floats": (
    video(labels=[1.0]),
    "labels no integers",
    "its 'labels' are of type float_list; the numbers of its classes are "
    "expected, such as [0, 7] (int64_list)",
  ),
  # Looks as if it had labels.
  "no labels but in its id": (
    video(b"labels", labels=None),
    "no labels",
    "it has no 'labels'",
  ),
  "no labels": (video(labels=None), "no labels", "it has no 'labels'"),
  "labels without values": (video(labels=[]), None, None),
  "labels twice": (video(labels=[2, 2, 0]), None, None),
  "N-hot labels": (
    video(labels=[0, 1, 0, 1, 0]),
    "labels N-hot",
    "its 'labels' are 5 zeros and ones; the numbers of its classes are "
    "expected, such as [0, 7]",
  ),
  "strange id": (video('a,"b"\n\u00e9'.encode() + b"\xff"), None, None),
  "another key": (video(title=[b"words"]), None, None),
}
FRAME_RECORDS = {
  **{
    name: (frame_video(**changes), *VIDEO_RECORDS[name][1:])
    for name, changes in {
      "empty id": {"id": [b""]},
      "label above": {"labels": [1, 5]},
      "labels of floats": {"labels": [1.0]},
      "no labels": {"labels": None},
      "labels without values": {"labels": []},
    }.items()
  },
  "no protobuf": VIDEO_RECORDS["no protobuf"],
  "video level": (
    video(),
    "missing feature",
    "it has no frame feature 'rgb'; it has id, labels, mean_audio, mean_rgb",
  ),
  "missing feature": (
    frame_video(audio=None),
    "missing feature",
    "it has no frame feature 'audio'; it has id, labels, rgb",
  ),
  "frames of another size": (
    frame_video(rgb=[[b"abc"], [b"abcd"]]),
    "wrong feature size",
    "frame 1 of its 'rgb' has 4 bytes, 3 were expected",
  ),
  "frame of two strings": (
    frame_video(audio=[[b"ab", b"cd"], [b"ab"]]),
    "wrong frame",
    "frame 0 of its 'audio' is not one string",
  ),
  "lengths differ": (
    frame_video(rgb=3, audio=2),
    "numbers of frames differ",
    "its features differ in their number of frames: 3 of rgb, 2 of audio",
  ),
  "bad frame far behind": (
    frame_video(rgb=[[b"abc"]] * 400 + [[b"a"]], audio=401),
    "wrong feature size",
    "frame 400 of its 'rgb' has 1 bytes, 3 were expected",
  ),
  **{
    f"{count} frames": (frame_video(rgb=count, audio=count), None, None)
    for count in (0, 1, 300, 301, 10_000)
  },
}


def rated_video(video_id, classes, starts, scores, num_frames=20) -> bytes:
  """A frame-level record with ratings of segments."""
  return frame_video(
    video_id,
    rgb=num_frames,
    audio=num_frames,
    segment_labels=classes,
    segment_start_times=starts,
    segment_end_times=[start + 5 for start in starts],
    segment_scores=scores,
  )


def flip(data: bytes, position: int) -> bytes:
  """One byte changed."""
  changed = bytes([data[position] ^ 0xFF])
  return data[:position] + changed + data[position + 1 :]


@pytest.fixture
def damaged(tmp_path) -> dict[str, tuple]:
  """Shards with a problem of framing; name -> (record, cause, detail)."""
  records = [video(b"%d" % number) for number in range(4)]
  whole = pathlib.Path(write(tmp_path / "good.tfrecord", *records)).read_bytes()
  size = len(whole) // 4
  second = whole[size : 2 * size]
  crc = "match the checksum (CRC32C) stored with it"
  lost = f"its length does not {crc}, and so the next record cannot be found"
  data = (1, "damaged record", f"its data do not {crc}")
  length = (1, "damaged record", f"its length does not {crc}")
  shards = {
    "data flipped": (flip(second, size - FOOTER - 1), data),
    "data checksum flipped": (flip(second, size - 1), data),
    "length checksum flipped": (flip(second, 9), length),
    # Another length, so that the data do not match either.
    "length flipped": (flip(second, 0), (1, "damaged shard", lost)),
  }
  expected = {}
  for name, (changed, problem) in shards.items():
    (tmp_path / f"{name}.tfrecord").write_bytes(
      whole[:size] + changed + whole[2 * size :]
    )
    expected[name] = problem
  cuts = {
    "cut in data": (
      -FOOTER - 1,
      f"it should have {size - 16} bytes and a "
      f"checksum, but only {size - HEADER - 5} bytes are left in "
      "the file",
    ),
    "cut in header": (-size + 3, "the file ends in its header"),
  }
  for name, (end, detail) in cuts.items():
    (tmp_path / f"{name}.tfrecord").write_bytes(whole[:end])
    expected[name] = (3, "truncated shard", detail)
  contents = {
    "empty": (b"", "empty shard", "the file is empty"),
    "text": (
      b"VideoId,LabelConfidencePairs\n",
      "not a TFRecord file",
      "the file begins with the text b'VideoId,Labe'",
    ),
    "gzip": (
      b"\x1f\x8b\x08\x00" + bytes(100),
      "not a TFRecord file",
      "the file is compressed with gzip",
    ),
  }
  for name, (content, cause, detail) in contents.items():
    (tmp_path / f"{name}.tfrecord").write_bytes(content)
    expected[name] = (0, cause, detail)
  return expected


class TestProblems:
  def test_ratings_of_segments(self, verify, tmp_path):
    bad = [
      (([0, 1], [0], [1.0]), "2 segment_labels, 1 segment_start_times, 1 seg"),
      (([0, 1], [5, 0], [1.0, 0.0]), "[5, 0] should rise, from 0"),
      (([0], [-5], [1.0]), "[-5] should rise, from 0"),
      (([0], [20], [1.0]), "at 20 s begins behind the 20 frames"),
      # Readers cut longer videos to 300 frames.
      (([1], [300], [1.0], 301), "at 300 s begins behind the 300 frames"),
      (([0], [0], [1.5]), "score 1.5 is outside [0, 1]"),
      (([5], [0], [1.0]), "label 5 is outside [0, 5)"),
    ]
    path = write(
      tmp_path / "1.tfrecord",
      rated_video(b"a", [0, 1, 2], [0, 0, 15], [1.0, 0.0, 1.0]),
      rated_video(b"b", [], [], []),
      *(rated_video(b"%d" % i, *bad[i][0]) for i in range(len(bad))),
    )
    code, report, output, _ = verify(path)
    assert code == 1
    found = found_in(report)
    assert found == left_out_by_readers([path], tmp_path, of_segments=True)
    for item, (_, detail) in zip(found, bad, strict=True):
      assert detail in item[-1]
    assert report["totals"]["ratings"] == {
      "per_video": {"min": 0, "mean": 1.5, "max": 3},
      "num_positive": 2,
      "num_segments": 2,
    }
    line = "ratings                    per video min 0, mean 1.50, max 3, pos"
    assert line in output
    # Who trains on videos need not care.
    code, report, *_ = verify(path, "--nolabels")
    assert (code, report["totals"]["ratings"]) == (0, None)

  @pytest.mark.parametrize(
    ("records", "good"),
    [(VIDEO_RECORDS, video()), (FRAME_RECORDS, frame_video())],
    ids=["video", "frame"],
  )
  def test_every_kind_of_record(self, verify, tmp_path, records, good):
    first = write(tmp_path / "1.tfrecord", good)
    second = write(
      tmp_path / "2.tfrecord", *(record for record, _, _ in records.values())
    )
    code, report, _, _ = verify(first, second)
    expected = sorted(
      (second, number, cause, detail)
      for number, (_, cause, detail) in enumerate(records.values())
      if cause
    )
    assert code == 1
    assert found_in(report) == expected
    assert left_out_by_readers([first, second], tmp_path) == expected
    for problem in report["problems"]:
      numbers = [item["record"] for item in problem["listed"]]
      assert numbers == sorted(numbers)
      assert problem["num_records"] == len(numbers)
    totals = report["totals"]
    assert report["num_problems"] == len(expected)
    assert report["num_shards_with_problems"] == 1
    assert totals["num_records"] == 1 + len(records)
    assert totals["num_videos"] == 1 + len(records) - len(expected)

  def test_every_kind_of_damage(self, verify, damaged, tmp_path):
    code, report, _, _ = verify(tmp_path / "*.tfrecord")
    expected = sorted(
      (str(tmp_path / f"{name}.tfrecord"), *problem)
      for name, problem in damaged.items()
    )
    assert code == 1
    assert found_in(report) == expected
    shards = sorted(map(str, tmp_path.glob("*.tfrecord")))
    assert left_out_by_readers(shards, tmp_path) == expected
    size = (tmp_path / "good.tfrecord").stat().st_size // 4
    # Records that can be read: 4; 3 and 3 and 3; 1 before a lost length; 3 and
    # 3 before a cut.
    assert report["totals"]["num_records"] == 4 + 3 * 3 + 1 + 3 + 3
    assert report["totals"]["num_bytes"] == sum(
      path.stat().st_size for path in tmp_path.glob("*.tfrecord")
    )
    # Lost: one record each, all behind a lost length, what a cut left, files.
    lost = 3 * size + 3 * size + (size - 5) + 3 + 29 + 104
    assert report["totals"]["num_unreadable_bytes"] == lost
    ids = {
      (item["shard"], item["video_id"])
      for problem in report["problems"]
      for item in problem["listed"]
    }
    assert (str(tmp_path / "data flipped.tfrecord"), "1") in ids
    assert (str(tmp_path / "empty.tfrecord"), None) in ids

  def test_shard_that_is_not_there(self, tmp_path):
    good = write(tmp_path / "a.tfrecord", video())
    gone = str(tmp_path / "gone.tfrecord")
    report = check([good, gone])
    assert report.problems == {"missing shard": 1}
    assert gone in report.listed["missing shard"][0]["detail"]
    assert report.sums["num_shards_with_problems"] == 1
    assert report.sums["num_records"] == 1

  def test_one_byte_of_a_large_shard(self, tmp_path):
    rng = np.random.default_rng(0)
    records = [video(b"%04d" % number) for number in range(2000)]
    path = write(tmp_path / "a.tfrecord", *records)
    whole = pathlib.Path(path).read_bytes()
    size = len(whole) // 2000
    for number in rng.integers(2000, size=5):
      position = number * size + rng.integers(8, size)  # Behind the length.
      pathlib.Path(path).write_bytes(flip(whole, position))
      report = check([path])
      assert report.problems == {"damaged record": 1}
      assert numbers("damaged record", report) == [number]
      assert report.sums["num_records"] == 1999
      assert report.sums["num_unreadable_bytes"] == size

  @pytest.mark.parametrize("bad", [{0}, {999}, {255, 256}, {1, 40, 300, 301}])
  def test_bad_records_among_many(self, tmp_path, bad):
    # In blocks of 256: their neighbours are counted all the same, once.
    records = [
      video(b"%d" % n, labels=[9] if n in bad else [n % 5]) for n in range(1000)
    ]
    report = check([write(tmp_path / "a.tfrecord", *records)])
    assert report.problems == {"label out of range": len(bad)}
    assert numbers("label out of range", report) == sorted(bad)
    _, sound = np.concatenate(report.videos, axis=1)
    assert sound.tolist() == sorted(set(range(1000)) - bad)

  def test_all_records_are_bad(self, tmp_path, monkeypatch):
    monkeypatch.setattr(verify_shards, "MAX_LISTED", 30)
    shards = [
      write(tmp_path / f"{n}.tfrecord", *[video(labels=[9])] * 50)
      for n in range(2)
    ]
    report = check(shards)
    assert report.problems.total() == 100
    assert numbers("label out of range", report) == list(range(30))
    report.add(check(shards))
    assert report.problems.total() == 200
    assert numbers("label out of range", report) == list(range(30))

  def test_reader_with_a_mind_of_its_own(self, tmp_path, monkeypatch):
    # What `parse` refuses is a problem, whatever `describe_problem` thinks.
    monkeypatch.setattr(
      readers.BaseReader, "describe_problem", lambda *arguments: None
    )
    records = [video(b"%d" % n) for n in range(100)]
    records[70] = video(mean_rgb=[1.0])
    report = check([write(tmp_path / "a.tfrecord", *records)])
    assert report.problems == {"refused by the reader": 1}
    assert numbers("refused by the reader", report) == [70]

  def test_long_names_are_cut(self, tmp_path):
    long = "x" * 10_000
    record = video(mean_rgb=None, **{long: [1.0]})
    report = check([write(tmp_path / "a.tfrecord", video(), record)])
    assert len(report.listed["missing feature"][0]["detail"]) == 500


def numbers(cause, report) -> list[int]:
  """The listed records with a problem."""
  return [item["record"] for item in report.listed[cause]]


def check(shards) -> verify_shards.Report:
  """What is found in shards, in this process."""
  settings = verify_shards.VerifySettings(num_classes=NUM_CLASSES, labels=True)
  checker = verify_shards.make_checker(shards, settings)
  return verify_shards.check_shards(checker, shards)


class TestLayout:
  @pytest.mark.parametrize("name", sample_data.DIALECTS)
  @pytest.mark.parametrize("labels", [True, False])
  def test_dialects(self, verify, tmp_path, name, labels):
    dialect = sample_data.DIALECTS[name]
    sizes = [8 + index for index in range(len(dialect.features))]
    sample_data.write_shards(
      str(tmp_path),
      name,
      num_videos=20,
      num_shards=2,
      num_classes=30,
      feature_sizes=sizes,
      labels=labels,
    )
    code, report, _, _ = verify(
      tmp_path / "train*.tfrecord", classes="--num_classes=30"
    )
    assert (code, report["num_problems"]) == (0, 0)
    names = [feature.name for feature in dialect.features]
    assert report["dialects"] == [
      {
        "is_expected": True,
        "level": "frame" if dialect.frames else "video",
        "id_key": dialect.id_key,
        "features": dict(zip(names, sizes, strict=True)),
        "num_records": 20,
        "num_shards": 2,
        "first_shard": str(tmp_path / "train0000.tfrecord"),
      }
    ]
    totals = report["totals"]
    assert totals["num_videos"] == 20
    assert totals["num_videos_without_labels"] == (0 if labels else 20)
    assert report["labels_needed"] == labels
    assert (totals["labels_per_video"] is not None) == labels
    if dialect.frames:
      low, high = dialect.frames
      spread = totals["frames"]["per_video"]
      assert low <= spread["min"] <= spread["mean"] <= spread["max"] <= high
    else:
      assert totals["frames"] is None

  def test_records_of_another_dialect(self, verify, tmp_path):
    first = write(tmp_path / "1.tfrecord", video(b"a"), video(b"b"))
    # The key of its id tells a release, but every release's key is read.
    other = video(id=None, video_id=[b"c"])
    second = write(tmp_path / "2.tfrecord", other, video(b"d"))
    third = write(tmp_path / "3.tfrecord", frame_video(b"e", labels=[7]))
    code, report, output, _ = verify(first, second, third)
    assert code == 1
    features = {"mean_rgb": 3, "mean_audio": 2}
    assert [list(dialect.values()) for dialect in report["dialects"]] == [
      [True, "video", "id", features, 4, 2, first],
      [False, "frame", "id", {"rgb": 3, "audio": 2}, 1, 1, third],
    ]
    causes = {row["cause"]: row["num_records"] for row in report["problems"]}
    assert causes == {"missing feature": 1}
    assert "another layout" in output

  def test_asked_features(self, verify, tmp_path):
    records = video(), video(mean_rgb=None)
    shard = write(tmp_path / "1.tfrecord", *records)
    code, report, _, _ = verify(shard, "--feature_names=mean_audio")
    assert code == 0
    (dialect,) = report["dialects"]
    assert dialect["features"] == {"mean_audio": 2}
    code, report, _, _ = verify(shard, "--feature_names=mean_audio,mean_rgb")
    assert (code, report["num_problems"]) == (1, 1)
    code, report, output, error = verify(shard, "--feature_names=inc3")
    assert (code, report, output) == (1, None, "")
    assert "error: The model reads feature 'inc3' (--feature_names)" in error

  @pytest.mark.parametrize(
    ("record", "detail"),
    [
      (
        video(id=None),
        "it has neither 'id' nor 'video_id'; it has labels, "
        "mean_audio, mean_rgb",
      ),
      (b"\xff", f"{NO_EXAMPLE}"),
      (
        frame_video(rgb=0, audio=0),
        "no video has frames, which would show a frame's size",
      ),
    ],
    ids=["no id", "no example", "no frames"],
  )
  def test_layout_that_no_record_shows(self, verify, tmp_path, record, detail):
    shard = write(tmp_path / "1.tfrecord", record, record)
    code, report, _, _ = verify(shard)
    assert code == 1
    assert found_in(report) == [
      (shard, number, "unknown layout", detail) for number in range(2)
    ]
    assert report["dialects"] == []
    assert report["totals"]["num_videos"] == 0

  def test_no_shard_can_be_read(self, verify, tmp_path):
    (tmp_path / "a.csv").write_text("VideoId,LabelConfidencePairs\n")
    (tmp_path / "b.csv").touch()
    code, report, _, error = verify(tmp_path / "*.csv")
    assert code == 1
    causes = [cause for _, _, cause, _ in found_in(report)]
    assert causes == ["not a TFRecord file", "empty shard"]
    assert "error" not in error


class TestLabels:
  @pytest.fixture
  def mixed(self, tmp_path):
    """A video without labels, then one with."""
    return write(tmp_path / "m.tfrecord", video(b"a", labels=None), video(b"b"))

  def test_needed_if_any_record_has_them(self, verify, mixed):
    code, report, _, _ = verify(mixed)
    assert code == 1
    assert found_in(report) == [(mixed, 0, "no labels", "it has no 'labels'")]
    assert report["labels_needed"] is True
    assert report["totals"]["num_videos"] == 1
    assert report["totals"]["num_videos_without_labels"] == 0

  def test_needed_if_any_record_has_wrong_ones(self, verify, tmp_path):
    records = video(labels=None), video(labels=[9])
    code, report, _, _ = verify(write(tmp_path / "1.tfrecord", *records))
    assert [cause for _, _, cause, _ in found_in(report)] == [
      *("no labels", "label out of range")
    ]

  def test_not_needed_for_inference(self, verify, mixed, tmp_path):
    wrong = write(tmp_path / "w.tfrecord", video(b"c", labels=[9]))
    code, report, _, _ = verify(mixed, wrong, "--nolabels")
    assert (code, report["num_problems"]) == (0, 0)
    assert report["totals"]["num_videos"] == 3
    assert report["totals"]["num_videos_without_labels"] == 3

  def test_asked_for(self, verify, tmp_path):
    shard = write(tmp_path / "1.tfrecord", *[video(b"a", labels=None)] * 300)
    assert verify(shard)[0] == 0
    code, report, output, _ = verify(shard, "--labels")
    assert (code, report["num_problems"]) == (1, 300)
    words = " ".join(output.split())
    assert f"{shard!r}, record 0 (video 'a'): it has no 'labels'" in words


class TestTotals:
  def test_video_level(self, verify, tmp_path):
    labels = [[0], [1, 3], [], [3, 3, 1, 0], [4]]
    records = [video(b"%d" % index, labels=labels[index]) for index in range(5)]
    paths = [
      write(tmp_path / "1.tfrecord", *records[:3]),
      write(tmp_path / "2.tfrecord", *records[3:]),
    ]
    code, report, output, error = verify(*paths)
    assert code == 0
    num_bytes = sum(pathlib.Path(path).stat().st_size for path in paths)
    assert report == {
      "num_problems": 0,
      "num_shards_with_problems": 0,
      "num_classes": 5,
      "labels_needed": True,
      "max_listed": 1000,
      "totals": {
        "num_shards": 2,
        "num_bytes": num_bytes,
        "num_unreadable_bytes": 0,
        "num_records": 5,
        "num_videos": 5,
        "num_videos_without_labels": 1,
        # A label that is listed twice counts once: 1, 2, 0, 3 and 1.
        "labels_per_video": {"min": 0, "mean": 1.4, "max": 3},
        "labels": {"min": 0, "max": 4, "num_different": 4},
        "frames": None,
        "ratings": None,
        "repeated_ids": {"num_videos": 0, "first": None},
      },
      "dialects": report["dialects"],
      "problems": [],
    }
    assert output.splitlines() == [
      "layout                     video level, id, mean_rgb 3, mean_audio 2: "
      f"5 records in 2 shards, {paths[0]!r} first",
      "shards                     2",
      f"bytes                      {num_bytes}",
      "unreadable bytes           0",
      "records                    5",
      "videos without problem     5",
      "videos without labels      1",
      "labels per video           min 0, mean 1.40, max 3",
      "labels                     min 0, max 4, different 4",
      "frames                     -",
      "ratings                    -",
      "repeated ids               videos 0, first -",
      "",
      "Problems: 0, in 0 of 2 shards.",
    ]
    assert "shard 2 of 2 | 5 videos" in error
    assert re.search(r"Checked 5 videos, .* \([\d.]+ videos/s\)", error)

  def test_frame_level(self, verify, tmp_path):
    counts = [2, 0, 1, 300, 301, 10_000]
    records = [
      frame_video(b"%d" % count, rgb=count, audio=count) for count in counts
    ]
    code, report, output, _ = verify(write(tmp_path / "1.tfrecord", *records))
    assert code == 0
    assert report["totals"]["frames"] == {
      "per_video": {"min": 0, "mean": 10604 / 6, "max": 10_000},
      "num_videos_without": 1,
      "max_frames": 300,
      "num_longer_videos": 2,
    }
    assert (
      "frames                     per video min 0, mean 1767.33, max 10,000, "
      "videos without 1, max frames 300, longer videos 2\n"
    ) in output

  def test_frames_of_records_that_others_write(self):
    # The parts of a message may come in any order, and in several pieces.
    example = tf.train.SequenceExample.FromString(frame_video(rgb=3, audio=3))
    context = tf.train.SequenceExample(context=example.context)
    lists = tf.train.SequenceExample(feature_lists=example.feature_lists)
    record = lists.SerializeToString() + context.SerializeToString()
    reader = readers.YT8MFrameFeatureReader(
      NUM_CLASSES, (3, 2), ("rgb", "audio"), max_frames=1
    )
    batch, is_bad = reader.decode([record, frame_video(rgb=1, audio=2)])
    assert is_bad.tolist() == [False, True]
    assert batch["num_frames"][0] == 3

  def test_repeated_ids(self, verify, tmp_path):
    first = write(tmp_path / "1.tfrecord", video(b"a"), video(b"b"))
    second = write(
      tmp_path / "2.tfrecord",
      video(b"c"),
      video(b"a"),
      video(b"b", labels=[9]),  # A problem, and so not counted.
      video(b"a"),
      video(b"c"),
    )
    _, report, output, _ = verify(first, second)
    assert report["totals"]["repeated_ids"] == {
      "num_videos": 3,
      "first": [
        {"shard": second, "record": 1},
        {"shard": first, "record": 0},
      ],
    }
    places = f"shard {second!r}, record 1 and shard {first!r}, record 0"
    assert f"repeated ids               videos 3, first {places}\n" in output

  def test_first_of_many_repeated_ids(self, verify, tmp_path):
    records = [video(b"%d" % (number % 3)) for number in range(300)]
    shard = write(tmp_path / "1.tfrecord", *records)
    _, report, _, _ = verify(shard)
    assert report["totals"]["repeated_ids"] == {
      "num_videos": 297,
      "first": [{"shard": shard, "record": n} for n in (3, 0)],
    }

  def test_many_problems_are_shown_by_their_number(self, verify, tmp_path):
    bad = video(b"b", labels=[9])
    first = write(tmp_path / "1.tfrecord", video(b"a"), bad, video(b""))
    second = write(tmp_path / "2.tfrecord", bad)
    _, _, output, _ = verify(first, second)
    assert output.split("\n\n", 1)[1].splitlines() == [
      "label out of range: 2 records in 2 shards; the first:",
      f"  {first!r}, record 1 (video 'b'): its label 9 is outside [0, 5); "
      "check --num_classes",
      "",
      "no id: 1 record in 1 shard; the first:",
      f"  {first!r}, record 2: its 'id' is not one string, or empty",
      "",
      "Problems: 3, in 2 of 2 shards.",
    ]

  def test_names_do_not_reach_the_terminal_as_they_are(self, verify, tmp_path):
    record = video(mean_rgb=None, **{"\x1b[2J\n\x9b": [1.0]})
    _, _, output, _ = verify(write(tmp_path / "1.tfrecord", video(), record))
    assert "\\x1b[2J" in output
    assert all(line.isprintable() for line in output.splitlines())


class TestArguments:
  def test_patterns_and_files(self, verify, tmp_path):
    names = ("a1", "a2", "b1", "c[1]", "d*")
    for name in names:
      write(tmp_path / f"{name}.tfrecord", video(name.encode()))
    for arguments, count in (
      (["a*.tfrecord"], 2),
      (["a*.tfrecord", "b*.tfrecord", "a1.tfrecord"], 3),
      (["a1.tfrecord"], 1),
      (["c[1].tfrecord", "d*.tfrecord"], 2),
    ):
      paths = [str(tmp_path / argument) for argument in arguments]
      code, report, _, _ = verify(*paths)
      assert (code, report["totals"]["num_shards"]) == (0, count)
    commas = f"{tmp_path}/a*.tfrecord,{tmp_path}/b1.tfrecord"
    assert verify(commas)[1]["totals"]["num_shards"] == 3

  def test_flags_come_anywhere(self, fork_program, tmp_path):
    shard = write(tmp_path / "1.tfrecord", video(labels=[7]))
    for arguments in (
      [shard, "--num_classes=8"],
      ["--num_classes=8", shard],
      ["--num_classes", "8", "--", shard],
    ):
      fork_program("tools.verify_shards", *arguments)
    assert (
      fork_program(
        "tools.verify_shards", shard, CLASSES_FLAG, check=False
      ).returncode
      == 1
    )

  @pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
      ([], 2, "PATTERN is missing. See --help."),
      (["x", "--nun_classes=3"], 2, "Unknown command line flag 'nun_classes'"),
      (["x", "--num_classes=0"], 2, "flag --num_classes=0"),
      (["x", "--num_workers=0"], 2, "flag --num_workers=0"),
      (["/none/x*"], 1, "PATTERN: no file matches '/none/x*'. Check the path"),
      ([""], 1, "PATTERN is empty. Give the shards' path, for instance '/path"),
      (["/"], 1, "PATTERN: '/' is a directory. Name the files in it, for"),
      (["{shard}", "/none/x"], 1, "PATTERN: no file matches '/none/x'."),
      (["{shard}", "--output_json=/none/x.json"], 1, "'/none/x.json' cannot"),
      (["{shard}", "--num_classes=99999999"], 2, "flag --num_classes=99999999"),
    ],
  )
  def test_mistake_gets_one_line(
    self, fork_program, tmp_path, arguments, code, error
  ):
    shard = write(tmp_path / "1.tfrecord", video())
    arguments = [text.replace("{shard}", shard) for text in arguments]
    result = fork_program("tools.verify_shards", *arguments, check=False)
    assert (result.returncode, result.stdout) == (code, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("verify_shards.py: error: ")
    assert error in line


def test_output_does_not_replace_a_shard(fork_program, tmp_path):
  path = write(tmp_path / "shard", video())
  content = pathlib.Path(path).read_bytes()
  result = fork_program(
    "tools.verify_shards", path, f"--output_json={path}", check=False
  )
  assert result.returncode == 1
  assert f"--output_json={path!r} is one of the shards" in result.stderr
  assert pathlib.Path(path).read_bytes() == content


class TestProcesses:
  def test_number_depends_on_machine_and_shards(self, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "available_cpus", lambda: 4)
    shards = [str(tmp_path / f"{n}") for n in range(10)]
    for shard, size in zip(shards, itertools.cycle([0, 2**30]), strict=False):
      with open(shard, "wb") as file:
        file.truncate(size)
    # 5 GB are worth 11 processes, 1 GB is worth 3, and nothing is worth 1.
    assert verify_shards.choose_num_workers(shards) == 4
    assert verify_shards.choose_num_workers(shards[:2]) == 3
    assert verify_shards.choose_num_workers(shards[:1]) == 1
    assert verify_shards.choose_num_workers([str(tmp_path / "gone")]) == 1

  def test_results_do_not_depend_on_them(
    self, verify, damaged, tmp_path, monkeypatch
  ):
    # In three groups of shards; two of them in different processes.
    for number in range(400):
      name = f"many{number:03}.tfrecord"
      write(tmp_path / name, video(b"%d" % number, labels=[number % 7]))
    pattern = tmp_path / "*.tfrecord"
    alone = verify(pattern, "--num_workers=1")
    assert alone[0] == 1
    assert verify(pattern, "--num_workers=1")[:3] == alone[:3]
    assert verify(pattern, "--num_workers=2")[:3] == alone[:3]
    texts = {path.read_text() for path in tmp_path.glob("report*.json")}
    assert len(texts) == 1


@pytest.fixture(scope="module")
def endless(video_shards, tmp_path_factory) -> str:
  """A pattern of shards that take a minute or so to check."""
  folder = tmp_path_factory.mktemp("endless")
  (shard, *_) = video_shards.folder.glob("train*.tfrecord")
  large = folder / "large"
  large.write_bytes(shard.read_bytes() * 200)
  for number in range(5000):
    (folder / f"{number:04}.tfrecord").symlink_to(large)
  return f"{folder}/*.tfrecord"


def group_members(group: int) -> dict[int, bytes]:
  """Processes of a group that have not ended, with their command lines."""
  members = {}
  for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
      stat = (folder / "stat").read_text().rpartition(")")[2].split()
      if int(stat[2]) == group and stat[0] != "Z":
        members[int(folder.name)] = (folder / "cmdline").read_bytes()
    except OSError:
      continue
  return members


def find_workers(group: int) -> list[int]:
  return [
    pid for pid, line in group_members(group).items() if b"spawn_main" in line
  ]


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
  ("how", "moment"),
  [
    *itertools.product(
      ["Ctrl-C", "SIGTERM", "SIGKILL", "worker"], ["start", "middle"]
    ),
    ("Ctrl-C", "stuck"),
    ("SIGTERM", "stuck"),
  ],
)
def test_end_of_processes(checkout, endless, tmp_path, how, moment):
  errors = tmp_path / "stderr"
  with errors.open("w") as file:
    process = subprocess.Popen(
      [
        *(sys.executable, "-m", "tools.verify_shards", endless),
        *("--num_workers=2", f"--output_json={tmp_path}/report.json"),
      ],
      stderr=file,
      cwd=checkout,
      stdout=subprocess.DEVNULL,
      start_new_session=True,
    )
  wait_until(lambda: len(find_workers(process.pid)) == 2)
  worker = find_workers(process.pid)[0]
  if moment == "middle":
    wait_until(lambda: "shard " in errors.read_text())
  if moment == "stuck":  # As one that waits for a slow disk.
    os.kill(worker, signal.SIGSTOP)
  if how == "Ctrl-C":
    os.killpg(process.pid, signal.SIGINT)
  elif how == "worker":
    os.kill(worker, signal.SIGKILL)
  else:
    process.send_signal(getattr(signal, how))
  codes = {"Ctrl-C": 130, "SIGTERM": 143, "SIGKILL": -9, "worker": 1}
  assert process.wait(30) == codes[how]
  wait_until(lambda: not group_members(process.pid))
  log = errors.read_text()
  assert "Traceback" not in log
  if how != "SIGKILL":
    lines = [line for line in log.splitlines() if "INFO" not in line]
    last = {
      "Ctrl-C": "stopped by signal 2.",
      "SIGTERM": "stopped by signal 15.",
      "worker": "error: A worker process was killed while ",
    }[how]
    assert len(lines) == 1
    assert lines[0].startswith(f"verify_shards.py: {last}")
    assert [path.name for path in tmp_path.iterdir()] == ["stderr"]


def wait_until(condition, timeout=60):
  deadline = time.monotonic() + timeout
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.05)


def test_a_signal_ends_it_without_workers_too(start_program, endless):
  process = start_program("tools.verify_shards", endless, "--num_workers=1")
  process.wait_for_line(r"shard \d+ of 5000")
  process.signal(signal.SIGINT)
  result = process.wait()
  assert result.returncode == 130
  assert result.stdout == ""
  assert result.stderr.splitlines()[-1] == (
    "verify_shards.py: stopped by signal 2."
  )
