# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Every kind of bad data, through the readers and through the programs.

By default the first bad place stops a program with one line that names it; with
--on_bad_record=skip exactly the other videos arrive, and a report lists what
did not. Data that only look odd are read as they are.
"""

import csv
import gzip
import io
import itertools
import json
import math
import os
import pathlib
import re
import shutil
from collections.abc import Callable
from typing import NamedTuple

from program import UserError

import fuzz_records
import numpy as np
import pytest
import tensorflow as tf

import prediction_files
import readers
from bad_records import BadRecords
from shard_files import read_shard

NUM_CLASSES = 5
MAX_FRAMES = 300
FRAMING_BYTES, HEADER_BYTES = 16, 12

FETCH_AGAIN = (
  ". Shards are uncompressed TFRecord files; fetch this one again, or give "
  "--on_bad_record=skip to leave out what cannot be read."
)
SKIP_HINT = ". --on_bad_record=skip leaves such records out."


def feature(values):
  kind = type(values[0]) if values else int
  if kind is bytes:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
  if kind is int:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
  return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def serialize(context, frames=None) -> bytes:
  """A tf.Example, or a tf.SequenceExample; None as a value leaves a key out."""
  context = tf.train.Features(
    feature={
      key: feature(values)
      for key, values in context.items()
      if values is not None
    }
  )
  if frames is None:
    example = tf.train.Example(features=context)
  else:
    lists = {
      name: tf.train.FeatureList(feature=[feature([row]) for row in rows])
      for name, rows in frames.items()
    }
    example = tf.train.SequenceExample(
      context=context, feature_lists=tf.train.FeatureLists(feature_list=lists)
    )
  return example.SerializeToString(deterministic=True)


def labels_of(number: int) -> list[int]:
  return [number % NUM_CLASSES, (number + 2) % NUM_CLASSES]


def id_of(number: int) -> bytes:
  return b"v%03d" % number


class Level:
  """How the records of the video or of the frame level look."""

  def __init__(self, is_frame_level: bool):
    self.is_frame_level = is_frame_level

  def __str__(self):
    return "frame" if self.is_frame_level else "video"

  def record(self, number: int, **changes) -> bytes:
    """A video's record; all differ in everything. Changes are by key."""
    rng = np.random.default_rng(number)
    context = {"id": [id_of(number)], "labels": labels_of(number)}
    frames = None
    if self.is_frame_level:
      count = number % 4 + 1
      frames = {
        "rgb": [rng.bytes(3) for _ in range(count)],
        "audio": [rng.bytes(2) for _ in range(count)],
      }
      for name in frames.keys() & changes.keys():
        frames[name] = changes.pop(name)
    else:
      context["mean_rgb"] = rng.normal(size=3).astype(np.float32).tolist()
      context["mean_audio"] = rng.normal(size=2).astype(np.float32).tolist()
    return serialize({**context, **changes}, frames)

  def reader(self) -> readers.BaseReader:
    if self.is_frame_level:
      return readers.YT8MFrameFeatureReader(
        NUM_CLASSES, (3, 2), ("rgb", "audio"), max_frames=MAX_FRAMES
      )
    return readers.YT8MAggregatedFeatureReader(
      NUM_CLASSES, (3, 2), ("mean_rgb", "mean_audio")
    )


VIDEO, FRAME = Level(False), Level(True)
LEVELS = pytest.mark.parametrize("level", [VIDEO, FRAME], ids=str)


def rows_of(batches) -> list[tuple]:
  """The videos as they came: id and all that belongs to it, byte by byte."""
  return [row for batch in batches for row in fuzz_records.rows_of(batch)]


def write_shard(path, records) -> str:
  with tf.io.TFRecordWriter(str(path)) as writer:
    for record in records:
      writer.write(record)
  return str(path)


class Stopping:
  """A pipeline over a good shard and one that each test writes anew.

  So it looks again: as eval.py does for every checkpoint.
  """

  def __init__(self, folder):
    self._times = itertools.count()
    good = write_shard(folder / "good", map(VIDEO.record, range(100, 107)))
    self.path = folder / "shard"
    self._pipeline = VIDEO.reader().evaluation_batches(
      [good, str(self.path)], 4
    )

  def rows(self) -> list[tuple]:
    """The videos of the shard that a test has written."""
    if self.path.exists():
      # What has been read a moment ago is not looked at again.
      time = next(self._times)
      os.utime(self.path, (time, time))
    rows = rows_of(self._pipeline)
    assert [row[0] for row in rows[:7]] == [id_of(n) for n in range(100, 107)]
    return rows[7:]

  def message(self) -> str:
    """What a program would stop with."""
    with pytest.raises(UserError) as caught:
      self.rows()
    return str(caught.value)


@pytest.fixture(scope="module")
def stopping(tmp_path_factory):
  return Stopping(tmp_path_factory.mktemp("stopping"))


def skip(level: Level, paths, folder, batch_size=4, max_fraction=1.0):
  """The videos that arrive, and what the report lists; None without one."""
  report_path = folder / "report.json"
  with BadRecords(str(report_path), max_fraction) as left_out:
    left_out.expect(paths, len(level.record(0)))
    rows = rows_of(
      level.reader().evaluation_batches(paths, batch_size, left_out=left_out)
    )
  if not report_path.exists():
    return rows, None
  report = json.loads(report_path.read_text())
  entries = report["left_out"]
  total = sum(entry["num_records"] for entry in entries)
  assert report["num_left_out"] == total == sum(report["causes"].values())
  report_path.unlink()
  return rows, entries


def where(path, number, video_id) -> str:
  """How a message begins."""
  video = f" (video {video_id!r})" if video_id else ""
  return f"{path!r}, record {number}{video}: "


# Shards. Each has five videos; what is damaged is the third one.

SHARD_VIDEOS, NUMBER = 5, 2


class Damage(NamedTuple):
  """What is done to a shard, and what is said of it.

  Attributes:
    change: takes the bytes and where the third record begins and ends; gives
      other bytes, or None for no file.
    cause: as in the report.
    detail: as in message and report; {size} is the record's length, {left} what
      is behind its header.
    number: of the record that is named.
    has_id: whether the video can be named.
    lost: which of the five videos cannot be read.
  """

  change: Callable[[bytes, int, int], bytes | None]
  cause: str
  detail: str
  number: int = NUMBER
  has_id: bool = True
  lost: tuple[int, ...] = (2, 3, 4)


def flip(data: bytes, place: int) -> bytes:
  return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


CHECKSUM = "not match the checksum (CRC32C) stored with it"
WHOLE = {"number": 0, "has_id": False, "lost": (0, 1, 2, 3, 4)}
# Every cut and every flip, and absurd lengths, are in test_shard_files.py.
SHARD_CASES = {
  "cut in data": Damage(
    lambda data, start, end: data[: end - 9],
    "truncated shard",
    "it should have {size} bytes and a checksum, but only {left} bytes are "
    "left in the file",
  ),
  "cut after the length": Damage(
    lambda data, start, end: data[: start + 8],
    "truncated shard",
    "the file ends in its header",
    has_id=False,
  ),
  "flip in data": Damage(
    lambda data, start, end: flip(data, end - 5),
    "damaged record",
    f"its data do {CHECKSUM}",
    lost=(NUMBER,),
  ),
  "flip in checksum of length": Damage(
    lambda data, start, end: flip(data, start + 9),
    "damaged record",
    f"its length does {CHECKSUM}",
    lost=(NUMBER,),
  ),
  "flip in length": Damage(
    lambda data, start, end: flip(data, start + 7),
    "damaged shard",
    f"its length does {CHECKSUM}, and so the next record cannot be found",
  ),
  "empty": Damage(lambda *_: b"", "empty shard", "the file is empty", **WHOLE),
  "gzip": Damage(
    lambda data, *_: gzip.compress(data).ljust(len(data))[: len(data)],
    "not a TFRecord file",
    "the file is compressed with gzip",
    **WHOLE,
  ),
  "missing": Damage(
    lambda *_: None,
    "missing shard",
    "the file cannot be read: {path}; No such file or directory",
    **WHOLE,
  ),
}


def write_damaged(path, level, case, first_video) -> str:
  """Writes a shard with one place damaged; returns what is said of it."""
  records = [level.record(first_video + n) for n in range(SHARD_VIDEOS)]
  write_shard(path, records)
  sizes = [len(record) + FRAMING_BYTES for record in records]
  start, end = sum(sizes[:NUMBER]), sum(sizes[: NUMBER + 1])
  content = case.change(path.read_bytes(), start, end)
  path.unlink()
  if content is not None:
    path.write_bytes(content)
  left = len(content or b"") - start - HEADER_BYTES
  return case.detail.format(size=len(records[NUMBER]), left=left, path=path)


@pytest.mark.parametrize("name", SHARD_CASES)
def test_a_bad_shard_stops(stopping, name):
  case, path = SHARD_CASES[name], stopping.path
  detail = write_damaged(path, VIDEO, case, 10)
  place = where(str(path), case.number, "v012" if case.has_id else None)
  assert stopping.message() == place + detail + FETCH_AGAIN


@LEVELS
def test_bad_shards_are_left_out(tmp_path, level):
  # One shard of each kind and a good one; fewer than are read in turn, so that
  # one comes after the other.
  good = write_shard(tmp_path / "a", map(level.record, range(900, 905)))
  expected, paths, videos = [], [good], list(range(900, 905))
  for number, case in enumerate(SHARD_CASES.values(), start=1):
    first, path = 10 * number, tmp_path / f"shard{10 * number:03d}"
    detail = write_damaged(path, level, case, first)
    paths.append(str(path))
    videos += [first + n for n in range(SHARD_VIDEOS) if n not in case.lost]
    expected.append(
      {
        "shard": str(path),
        "record": case.number,
        "video_id": f"v{first + NUMBER:03d}" if case.has_id else None,
        "cause": case.cause,
        "detail": detail,
      }
    )
  sound = write_shard(tmp_path / "sound", map(level.record, videos))
  rows, left_out = skip(level, paths, tmp_path)
  # Once each, in the same order, and bit by bit what they should be.
  assert rows == rows_of(level.reader().evaluation_batches([sound], 64))
  for entry in left_out:
    assert 1 <= entry.pop("num_records") <= 2 * SHARD_VIDEOS
  left_out.sort(key=lambda entry: entry["shard"])
  assert left_out == expected


def test_no_cut_is_taken_for_the_end(stopping):
  # But where a record ends, which nothing shows: in the checksum of the second
  # record and in the header of the third.
  path = stopping.path
  write_shard(path, map(VIDEO.record, range(3)))
  content = path.read_bytes()
  size = len(content) // 3
  for place in (-5, -4, -1, 0, 1, 7, 8, 11, 12, 13):
    cut = 2 * size + place
    path.write_bytes(content[:cut])
    if place == 0:
      assert len(stopping.rows()) == 2
    else:
      place = f"{str(path)!r}, record {cut // size}"
      assert stopping.message().startswith(place)


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_a_shard_that_changes_while_training(tmp_path, policy):
  # All is read once, and then an upload, of which half has come, overwrites it.
  paths = [
    write_shard(tmp_path / name, map(VIDEO.record, range(first, first + 5)))
    for name, first in (("a", 0), ("b", 5), ("c", 10))
  ]
  half = tmp_path / "half"
  content = pathlib.Path(paths[1]).read_bytes()
  half.write_bytes(content[: len(content) // 2])
  left_out = noted(tmp_path, paths) if policy == "skip" else None
  passes = VIDEO.reader().training_passes(paths, 15, 3, 1000, left_out=left_out)
  found, message = [], ""
  try:
    for number in range(2):
      for batch in passes.batches(number):
        if not found:
          os.replace(half, paths[1])
        found.append(sorted(row[0] for row in rows_of([batch])))
  except UserError as error:
    message = str(error)
  everything = [id_of(number) for number in range(15)]
  if policy == "stop":
    assert found == [everything]
    assert message.startswith(where(paths[1], 2, "v007") + "it should have ")
    return
  assert not message
  assert found == [everything, everything[:7] + everything[10:]]
  assert "3 truncated shard" in left_out.summary()


# Records. Every kind of bad one is in test_readers.py and in
# test_verify_shards.py; some of the causes are here.

NO_EXAMPLE = "it is neither a tf.Example nor a tf.SequenceExample"
ANY_LEVEL = [
  (b"\xff\0\xff", "no example", NO_EXAMPLE),
  ({"id": [7]}, "no id", "its 'id' is not one string, or empty"),
  ({"labels": None}, "no labels", "it has no 'labels'"),
  (
    {"labels": [2, 5]},
    "label out of range",
    "its label 5 is outside [0, 5); check --num_classes",
  ),
]
# What is changed in a good record of each level, as `Level.record` takes it, or
# what replaces it; and cause and detail, as in the report.
BAD_RECORDS = {
  VIDEO: [
    *ANY_LEVEL,
    (
      {"mean_audio": [1.5]},
      "wrong feature size",
      "its 'mean_audio' has 1 floats, 2 were expected",
    ),
    (
      {"mean_audio": [-math.inf, 0.5]},
      "feature not finite",
      "its 'mean_audio' has values that are not finite",
    ),
  ],
  FRAME: [
    *ANY_LEVEL,
    (
      {"rgb": [b"abc", b"ab"], "audio": [b"ab"] * 2},
      "wrong feature size",
      "frame 1 of its 'rgb' has 2 bytes, 3 were expected",
    ),
    (
      # Behind the last frame that is read.
      {"rgb": [b"abc"] * 300, "audio": [b"ab"] * 301},
      "numbers of frames differ",
      "its features differ in their number of frames: 300 of rgb, 301 of audio",
    ),
  ],
}


def bad_records(level):
  """(record, its video's id where it can be told, cause, detail)."""
  for changes, cause, detail in BAD_RECORDS[level]:
    is_whole = isinstance(changes, bytes)
    record = changes if is_whole else level.record(12, **changes)
    has_id = cause not in ("no example", "no id")
    yield record, "v012" if has_id else None, cause, detail


@LEVELS
def test_a_bad_record_stops(tmp_path, level):
  path = tmp_path / "shard"
  batches = level.reader().evaluation_batches([str(path)], 4)
  for time, (record, video_id, _, detail) in enumerate(bad_records(level)):
    write_shard(path, [level.record(10), record, level.record(11)])
    os.utime(path, (time, time))
    with pytest.raises(UserError) as caught:
      list(batches)
    place = where(str(path), 1, video_id)
    assert str(caught.value) == place + detail + SKIP_HINT


@pytest.mark.parametrize(("level", "batch_size"), [(VIDEO, 1), (FRAME, 3)])
def test_bad_records_are_left_out(tmp_path, level, batch_size):
  # Each kind once, between good ones; some batches hold only them.
  records, expected = [], []
  path = str(tmp_path / "a")
  for record, video_id, cause, detail in bad_records(level):
    expected.append(
      {
        "shard": path,
        "record": len(records),
        "video_id": video_id,
        "cause": cause,
        "detail": detail,
        "num_records": 1,
      }
    )
    records += [record, level.record(len(records))]
  write_shard(path, records)
  good = write_shard(tmp_path / "b", map(level.record, range(300, 309)))
  rows, left_out = skip(level, [path, good], tmp_path, batch_size)
  videos = [*range(0, len(records), 2), *range(300, 309)]
  sound = write_shard(tmp_path / "sound", map(level.record, videos))
  expected_rows = rows_of(level.reader().evaluation_batches([sound], 64))
  # The two shards are read in turn, eight records of each.
  assert sorted(rows) == sorted(expected_rows)
  assert [row for row in rows if row[0] < b"v300"] == expected_rows[:-9]
  assert sorted(left_out, key=lambda entry: entry["record"]) == expected


# An unknown key that is no UTF-8: protobuf refuses it, TensorFlow would not.
ODD_KEY = b"\x0a\x07\x0a\x05\x0a\x01\xff\x12\x00"


@pytest.mark.parametrize("batch_size", [1, 5])
def test_what_else_is_in_a_batch_does_not_matter(tmp_path, batch_size):
  records = [*map(VIDEO.record, range(3)), VIDEO.record(3) + ODD_KEY]
  path = write_shard(
    tmp_path / "shard", [*records, VIDEO.record(4, mean_rgb=[math.nan] * 3)]
  )
  rows, entries = skip(VIDEO, [path], tmp_path, batch_size)
  assert [row[0] for row in rows] == list(map(id_of, range(3)))
  causes = sorted(entry["cause"] for entry in entries)
  assert causes == ["feature not finite", "no example"]


def test_a_first_record_without_labels_is_one_of_many(tmp_path):
  records = [VIDEO.record(0, labels=None), *map(VIDEO.record, range(1, 5))]
  path = write_shard(tmp_path / "shard", records)
  assert not readers.detect_schema([path], None, True).has_labels
  assert readers.detect_schema([path], None, True, True).has_labels
  # A set of which none has labels is what it is.
  path = write_shard(tmp_path / "test", records[:1])
  assert not readers.detect_schema([path], None, True, True).has_labels


def test_a_network_that_is_down_loses_no_shard(tmp_path, monkeypatch):
  path = write_shard(tmp_path / "shard", map(VIDEO.record, range(5)))

  def fail(path):
    raise tf.errors.UnavailableError(None, None, "not now")

  batches = VIDEO.reader().evaluation_batches(
    [path], 4, left_out=BadRecords(str(tmp_path / "report.json"), 1.0)
  )
  monkeypatch.setattr(tf.io.gfile, "stat", fail)
  with pytest.raises(UserError, match="cannot be read at present: not now"):
    list(batches)


def test_the_policy_does_not_change_what_is_good(tmp_path):
  # Shards longer than a run of records, and more than are read in turn.
  paths = [
    write_shard(
      tmp_path / f"s{first:03d}",
      map(VIDEO.record, range(first, first + first % 13 + 1)),
    )
    for first in range(0, 340, 17)
  ]
  rows = rows_of(VIDEO.reader().evaluation_batches(paths, 6))
  assert len(rows) == sum(first % 13 + 1 for first in range(0, 340, 17))
  assert skip(VIDEO, paths, tmp_path, 6, max_fraction=0.0) == (rows, None)


def test_labels_are_not_looked_at_where_they_are_not_needed(tmp_path):
  changes = ({"labels": None}, {"labels": [-1]}, {"labels": [b"1"]})
  records = [VIDEO.record(n, **change) for n, change in enumerate(changes)]
  path = write_shard(tmp_path / "a", records)
  for left_out in (None, BadRecords(str(tmp_path / "report"), 0.0)):
    batches = VIDEO.reader().evaluation_batches(
      [path], 2, with_labels=False, left_out=left_out
    )
    assert [row[0] for row in rows_of(batches)] == [id_of(n) for n in range(3)]


# What is odd, and right


def multi_hot(labels) -> bytes:
  return np.isin(np.arange(NUM_CLASSES), labels).astype(np.float32).tobytes()


# Commas, quotes and line breaks must be quoted in a CSV file; the last ones are
# no UTF-8, and what C takes for the end of a string.
ODD_IDS = [
  b"a,b",
  b'say "hi"',
  b'"',
  b"two\nlines",
  b"\r",
  b"mac\rlines",
  b"dos\r\nlines",
  b" spaces ",
  "naïve-日本-🎬".encode(),
  "\u2028\ufeff\x85".encode(),
  b"=1+1",
  b"failure@0",
  b"x" * 3000,
  b"nul\0id",
  b"\xff\xfe\x80",
]


@LEVELS
def test_odd_records_are_read_as_they_are(tmp_path, level):
  odd_labels = [([3, 3, 0, 3], [0, 3]), ([], []), ([4] * 900, [4])]
  numbers = range(len(ODD_IDS) + len(odd_labels))
  sound = write_shard(tmp_path / "sound", map(level.record, numbers))
  rows = rows_of(level.reader().evaluation_batches([sound], 5))
  records = []
  for number, video_id in enumerate(ODD_IDS):
    records.append(level.record(number, id=[video_id]))
    rows[number] = (video_id, *rows[number][1:])
  for number, (labels, present) in enumerate(odd_labels, len(records)):
    records.append(level.record(number, labels=labels))
    rows[number] = (*rows[number][:2], multi_hot(present), *rows[number][3:])
  path = write_shard(tmp_path / "odd", records)
  assert rows_of(level.reader().evaluation_batches([path], 5)) == rows
  assert skip(level, [path], tmp_path, 5, max_fraction=0.0) == (rows, None)


def test_numbers_of_frames(tmp_path):
  records, rows = [], []
  for number, num_frames in enumerate([0, 1, 299, 300, 301, 10_000]):
    rng = np.random.default_rng(num_frames)
    codes = {
      name: rng.integers(256, size=(num_frames, size), dtype=np.uint8)
      for name, size in (("rgb", 3), ("audio", 2))
    }
    frames = {
      name: [row.tobytes() for row in values] for name, values in codes.items()
    }
    records.append(FRAME.record(number, **frames))
    padded = [
      values[:MAX_FRAMES].tobytes().ljust(MAX_FRAMES * values.shape[1], b"\0")
      for values in codes.values()
    ]
    labels = multi_hot(labels_of(number))
    rows.append((id_of(number), min(num_frames, MAX_FRAMES), labels, *padded))
  path = write_shard(tmp_path / "a", records)
  assert rows_of(FRAME.reader().evaluation_batches([path], 4)) == rows
  assert skip(FRAME, [path], tmp_path, 4, max_fraction=0.0) == (rows, None)


# Training: the order of what is good, and going on where a run stopped.

BATCH, NUM_EPOCHS = 7, 2
RECORD_BYTES = 2**26  # The shuffle buffer is one for four records.


def train_on(paths, left_out=None, done=(0, 0)):
  """Rows of each batch, by (pass, batch of it); and the error, if any.

  Args:
    paths: the shards.
    left_out: as of the reader.
    done: passes that were read before, and batches of the next one.
  """
  batches = {}
  passes = VIDEO.reader().training_passes(
    paths, BATCH, 6, RECORD_BYTES, left_out=left_out
  )
  try:
    for number in range(done[0], NUM_EPOCHS):
      first = done[1] if number == done[0] else 0
      for step, batch in enumerate(passes.batches(number, first), first):
        batches[number, step] = rows_of([batch])
  except UserError as error:
    return batches, str(error)
  return batches, None


def position_after(batches) -> tuple[int, int]:
  """Passes done, and batches of the next one."""
  number, step = max(batches)
  return number, step + 1


def check_passes(batches, videos):
  """Each pass has each video once."""
  expected = [id_of(number) for number in videos]
  for number in range(NUM_EPOCHS):
    ids = [
      row[0]
      for key, rows in batches.items()
      if key[0] == number
      for row in rows
    ]
    assert sorted(ids) == expected


SIZES = [20, 9, 31, *[2] * 15]  # More shards than are read in turn.
BAD = (2, 25, 44, 59)


def write_training(folder, bad=()) -> list[str]:
  """Shards of `SIZES` videos; the bad ones have no labels."""
  folder.mkdir(exist_ok=True)
  ends = list(itertools.accumulate(SIZES, initial=0))
  return [
    write_shard(
      folder / f"t{shard:02d}",
      [
        VIDEO.record(n, **({"labels": None} if n in bad else {}))
        for n in range(start, end)
      ],
    )
    for shard, (start, end) in enumerate(itertools.pairwise(ends))
  ]


def noted(folder, paths) -> BadRecords:
  left_out = BadRecords(str(folder / "report"), 1.0)
  left_out.expect(paths, 100)
  return left_out


def test_left_out_records_do_not_move_the_others(tmp_path):
  sound = write_training(tmp_path / "sound")
  expected, _ = train_on(sound)
  check_passes(expected, range(sum(SIZES)))
  bad = write_training(tmp_path / "bad", BAD)
  left_out = noted(tmp_path, bad)
  batches, message = train_on(bad, left_out)
  assert message is None
  bad_ids = {id_of(number) for number in BAD}

  def good_rows(batches):
    return [
      row for rows in batches.values() for row in rows if row[0] not in bad_ids
    ]

  assert good_rows(batches) == good_rows(expected)
  # What was left out leaves no gaps.
  assert {len(rows) for key, rows in batches.items() if key[1] < 8} == {BATCH}
  # Met in each pass, and counted once.
  assert left_out.summary() == (
    f"{len(BAD)} of about {sum(SIZES)} records ({len(BAD) / sum(SIZES):.2%}), "
    f"{len(BAD)} no labels"
  )


def test_a_run_that_stopped_goes_on_without_bad_records(tmp_path):
  paths = write_training(tmp_path, BAD)
  before, message = train_on(paths)
  assert "it has no 'labels'" in message
  assert before  # Or this would not test much.
  left_out = noted(tmp_path, paths)
  position = position_after(before)
  after, message = train_on(paths, left_out, position)
  assert message is None
  good = [number for number in range(sum(SIZES)) if number not in BAD]
  check_passes({**before, **after}, good)
  # As if it had left them out from the start.
  assert {**before, **after} == train_on(paths, left_out)[0]


def test_a_run_that_a_missing_shard_stopped_goes_on(tmp_path):
  paths = write_training(tmp_path)
  os.remove(paths[-1])  # The last one: it shows when it is opened.
  before, message = train_on(paths)
  assert repr(paths[-1]) in message
  left_out = noted(tmp_path, paths)
  after, message = train_on(paths, left_out, position_after(before))
  assert message is None
  check_passes({**before, **after}, range(sum(SIZES) - SIZES[-1]))


# The programs


class BadShards(NamedTuple):
  """Copies of a partition's shards with something wrong in the second one.

  Attributes:
    pattern: matches them.
    bad_path: the shard with something wrong.
    bad_id: the id of its third video.
  """

  pattern: str
  bad_path: str
  bad_id: str


def make_bad_shards(shards, prefix, folder, **changes) -> BadShards:
  """Changes the context of one record as `Level.record` would."""
  folder.mkdir()
  for path in shards.folder.glob(f"{prefix}*.tfrecord"):
    shutil.copy(path, folder)
  path = str(folder / f"{prefix}0001.tfrecord")
  records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
  example = tf.train.Example.FromString(records[NUMBER])
  features = example.features.feature
  for key, values in changes.items():
    del features[key]
    if values is not None:
      features[key].MergeFrom(feature(values))
  records[NUMBER] = example.SerializeToString()
  write_shard(path, records)
  video_id = features["id"].bytes_list.value[0].decode()
  return BadShards(f"{folder}/{prefix}*.tfrecord", path, video_id)


def copy_model(trained, folder) -> pathlib.Path:
  """A train dir of its own: programs write into it."""
  ignored = shutil.ignore_patterns("eval", "events*", "*.lock")
  return shutil.copytree(trained.train_dir, folder / "model", ignore=ignored)


def only_error(result, program) -> str:
  """The one line of a program that failed, apart from its log."""
  assert result.returncode == 1, result.output
  lines = result.stderr.splitlines()
  start = f"{program}.py: error: "
  (line,) = [line for line in lines if line.startswith(start)]
  assert "Traceback" not in result.output
  return line.removeprefix(start)


def test_training_stops_and_goes_on(video_shards, fork_program, tmp_path):
  bad = make_bad_shards(video_shards, "train", tmp_path / "data", labels=None)
  train_dir = tmp_path / "model"
  flags = [
    f"--train_data_pattern={bad.pattern}",
    f"--train_dir={train_dir}",
    "--num_classes=25",
    "--batch_size=4",
    "--num_epochs=2",
    "--seed=3",  # Not one that has the bad record in the first batch.
  ]
  result = fork_program("train", *flags, "--log_every_steps=1", check=False)
  detail = "it has no 'labels'"
  assert only_error(result, "train") == (
    where(bad.bad_path, 2, bad.bad_id) + detail + SKIP_HINT
  )
  # What was trained so far is saved.
  steps = re.findall(r"training step (\d+) ", result.stderr)
  checkpoint = tf.train.latest_checkpoint(train_dir)
  assert checkpoint.endswith(f"model.ckpt-{steps[-1]}")
  assert 1 <= int(steps[-1]) <= 30
  assert not (train_dir / "bad_records.json").exists()

  result = fork_program("train", *flags, "--on_bad_record=skip")
  assert f"Resuming from {checkpoint}" in result.stderr
  place = where(bad.bad_path, 2, bad.bad_id)
  for line in (
    f"Left out: {place}{detail}. So far: 1 of",
    "Left out: 1 of about 121 records (0.83%), 1 no labels. See "
    f"{train_dir}/bad_records.json.",
  ):
    assert line in result.stderr
  assert result.stderr.count("Left out: ") == 2
  # Twice 120 videos in batches of 4.
  assert "Finished training at step 60." in result.stderr
  results = json.loads((train_dir / "train_results.json").read_text())
  assert results["num_examples"] == 240
  report = json.loads((train_dir / "bad_records.json").read_text())
  assert (report["num_records"], report["causes"]) == (121, {"no labels": 1})
  assert [entry["video_id"] for entry in report["left_out"]] == [bad.bad_id]


def test_evaluation_without_a_shard_that_cannot_be_read(
  video_shards, trained_video, fork_program, tmp_path
):
  bad = make_bad_shards(video_shards, "validate", tmp_path / "data")
  os.truncate(bad.bad_path, os.path.getsize(bad.bad_path) // 2)
  *good, _ = read_shard(bad.bad_path)
  assert 5 < len(good) < 15  # Of 20.
  train_dir = copy_model(trained_video, tmp_path)
  fork_program(
    "eval",
    f"--eval_data_pattern={bad.pattern}",
    f"--train_dir={train_dir}",
    "--run_once",
    "--on_bad_record=skip",
    "--max_bad_fraction=0.3",
  )
  results = json.loads((train_dir / "eval" / "eval_results.json").read_text())
  assert results["num_videos"] == 61 - 20 + len(good)
  report = json.loads((train_dir / "eval" / "bad_records.json").read_text())
  assert report["causes"].keys() == {"truncated shard"}
  assert not (train_dir / "bad_records.json").exists()


def read_csv(path) -> dict[bytes, str]:
  """Id -> the rest of its row, with Python's csv module.

  Python's csv did not take NUL before 3.11.
  """
  text = path.read_bytes().decode("latin-1").replace("\0", "\ufdd0")
  header, *rows = csv.reader(io.StringIO(text, newline=""))
  assert header == ["VideoId", "LabelConfidencePairs"]
  ids = [row[0].replace("\ufdd0", "\0").encode("latin-1") for row in rows]
  assert len(set(ids)) == len(ids)
  return dict(zip(ids, (row[1] for row in rows), strict=True))


def scores(row: str) -> dict[str, float]:
  """Class -> score of the pairs in a row."""
  words = row.split()
  return dict(zip(words[::2], map(float, words[1::2]), strict=True))


def test_inference(video_shards, trained_video, fork_program, tmp_path):
  # A video whose feature is not finite cannot be predicted for.
  bad = make_bad_shards(
    video_shards,
    "validate",
    tmp_path / "data",
    mean_audio=[1.0] * 7 + [math.nan],
  )
  output = tmp_path / "out" / "predictions.csv"
  output.parent.mkdir()
  flags = [f"--train_dir={trained_video.train_dir}", "--batch_size=16"]
  everything = [*flags, f"--input_data_pattern={video_shards.validate}"]
  fork_program("inference", *everything, f"--output_file={output}")
  expected = read_csv(output)
  output.unlink()

  flags += [
    f"--input_data_pattern={bad.pattern}",
    f"--output_file={output}",
    "--on_bad_record=skip",
  ]
  report_path = output.parent / "predictions.bad_records.json"
  result = fork_program("inference", *flags, check=False)
  # How many records there are is an estimate until all have been read.
  assert re.fullmatch(
    r"More cannot be used than --max_bad_fraction=0\.01 allows: 1 of about 6\d "
    r"records \(1\.\d\d%\), 1 feature not finite\. They are listed in "
    rf"{re.escape(repr(str(report_path)))}\.",
    only_error(result, "inference"),
  )
  assert list(output.parent.iterdir()) == [report_path]

  fork_program("inference", *flags, "--max_bad_fraction=0.02")
  rows = read_csv(output)
  del expected[bad.bad_id.encode()]
  assert list(rows) == list(expected)
  for video_id, row in rows.items():
    # The rows of a batch differ in rounding, and what follows moved up by one.
    assert scores(row) == pytest.approx(scores(expected[video_id]), abs=2.1e-6)
  report = json.loads(report_path.read_text())
  assert [entry["video_id"] for entry in report["left_out"]] == [bad.bad_id]


def test_odd_ids_come_back_from_the_csv_file(tmp_path):
  size = len(ODD_IDS), 2
  scores, classes = np.full(size, 0.5), np.ones(size, int)
  path = tmp_path / "predictions.csv"
  path.write_bytes(
    b"VideoId,LabelConfidencePairs\n"
    + prediction_files.format_rows(ODD_IDS, scores, classes)
  )
  pairs = "1 0.500000 1 0.500000"
  assert read_csv(path) == dict.fromkeys(ODD_IDS, pairs)
