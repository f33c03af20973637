# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Floods the readers with damaged records, and says what went wrong.

  python fuzz_records.py NUM_RECORDS SEED FOLDER

Random ones first, then a quarter as many that hypothesis chooses. Every record
either arrives exactly as a slow decoder of its own sees it (protobuf's Python
classes and numpy), or is named as bad; by the reader that leaves bad records
out and by its decoder alone. A program of its own, since what is looked for
is also a crash of the interpreter.

Prints what it did, and ends with exit code 1 at the first wrong record, which
it prints.
"""

import dataclasses
import itertools
import pathlib
import random
import struct
import sys
from collections.abc import Callable, Iterator

import program  # Sets up the environment; before TensorFlow.

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import readers
from bad_records import BadRecords

NUM_CLASSES = 6
MAX_FRAMES = 5
# Lengths of one take a byte, those of the other two.
VIDEO_SIZES = {"mean_rgb": 40, "mean_audio": 2}
CHUNK = 250  # Records of a shard.
HYPOTHESIS_CHUNK = 20

Record = bytes
Row = tuple[bytes, int, bytes, bytes, bytes]


# The slow decoder


def decode_video(record: Record) -> Row | None:
  """What a video-level record holds; None where it cannot be used."""
  try:
    features = tf.train.Example.FromString(record).features.feature
  except DecodeError:
    return None
  row = decode_context(features)
  if row is None:
    return None
  values = []
  for name, size in VIDEO_SIZES.items():
    if name not in features:
      return None
    floats = np.array(features[name].float_list.value, np.float32)
    if len(floats) != size or not np.isfinite(floats).all():
      return None
    values.append(floats.tobytes())
  return row[0], 1, row[1], *values


def decode_frames(record: Record) -> Row | None:
  """What a frame-level record holds; None where it cannot be used.

  Damage inside frames that are not read does not count.
  """
  parse = tf.train.SequenceExample.FromString
  try:
    example = parse(record)
  except DecodeError:
    try:
      example = parse(without_unread(record))
    except (DecodeError, ValueError):
      return None
  row = decode_context(example.context.feature)
  lists = example.feature_lists.feature_list
  if row is None or not {"rgb", "audio"} <= set(lists):
    return None
  values = []
  for name, size in (("rgb", 3), ("audio", 2)):
    frames = [list(frame.bytes_list.value) for frame in lists[name].feature]
    if any(len(frame) != 1 or len(frame[0]) != size for frame in frames):
      return None
    values.append([frame[0] for frame in frames])
  rgb, audio = values
  if len(rgb) != len(audio):
    return None
  codes = [
    b"".join(frames[:MAX_FRAMES]).ljust(MAX_FRAMES * size, b"\0")
    for frames, size in ((rgb, 3), (audio, 2))
  ]
  return row[0], min(len(rgb), MAX_FRAMES), row[1], *codes


def without_unread(record: Record) -> Record:
  """A frame-level record without frames of other features than rgb and audio.

  Raises:
    ValueError: it, or its frames' features, cannot be told apart.
  """
  fields = split(record)
  for index, (number, wire_type, payload) in enumerate(fields):
    if (number, wire_type) == (2, BYTES):
      read = [part for part in split(payload) if not is_unread(part)]
      fields[index] = number, wire_type, join(read)
  return join(fields)


def is_unread(part: tuple[int, int, bytes]) -> bool:
  """Whether a field of the frames' features is an entry that is not read."""
  number, wire_type, payload = part
  if (number, wire_type) != (1, BYTES):
    return False
  keys = [key for *tag, key in split(payload) if tag == [1, BYTES]]
  return not keys or keys[-1] not in (b"rgb", b"audio")


def decode_context(features) -> tuple[bytes, bytes] | None:
  """Id and labels, [NUM_CLASSES] float32."""
  if "id" not in features or "labels" not in features:
    return None
  ids = features["id"].bytes_list.value
  if len(ids) != 1 or not ids[0]:
    return None
  if features["labels"].WhichOneof("kind") not in (None, "int64_list"):
    return None
  labels = np.zeros(NUM_CLASSES, np.float32)
  for label in features["labels"].int64_list.value:
    if not 0 <= label < NUM_CLASSES:
      return None
    labels[label] = 1
  return ids[0], labels.tobytes()


@dataclasses.dataclass(frozen=True)
class Level:
  """One of the two readers, and the decoder to compare it with."""

  name: str
  reader: readers.BaseReader
  decode: Callable[[Record], Row | None]


def make_levels() -> list[Level]:
  video = readers.YT8MAggregatedFeatureReader(
    NUM_CLASSES, tuple(VIDEO_SIZES.values()), tuple(VIDEO_SIZES)
  )
  frame = readers.YT8MFrameFeatureReader(
    NUM_CLASSES, (3, 2), ("rgb", "audio"), max_frames=MAX_FRAMES
  )
  return [
    Level("video", video, decode_video),
    Level("frame", frame, decode_frames),
  ]


# Protobuf messages as lists of fields, so that they can be damaged in ways in
# which protobuf's own classes would not write them.

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)


def varint(value: int, padding: int = 0) -> bytes:
  """A number; with padding, in more bytes than it needs."""
  encoded = bytearray()
  while value > 0x7F:
    encoded.append(value & 0x7F | 0x80)
    value >>= 7
  encoded.append(value)
  if padding:
    encoded[-1] |= 0x80
    encoded += b"\x80" * (padding - 1) + b"\0"
  return bytes(encoded)


def field(number: int, wire_type: int, payload: bytes) -> bytes:
  """A field with its tag; and its length, where the type has one."""
  length = varint(len(payload)) if wire_type == BYTES else b""
  return varint(number << 3 | wire_type) + length + payload


def read_varint(data: bytes, start: int) -> tuple[int, int]:
  value = shift = 0
  while True:
    byte = data[start]
    value |= (byte & 0x7F) << shift
    start, shift = start + 1, shift + 7
    if byte < 0x80:
      return value, start


def split(message: bytes) -> list[tuple[int, int, bytes]]:
  """(number, wire type, payload) of the fields; ValueError if it has none."""
  fields, start = [], 0
  try:
    while start < len(message):
      tag, start = read_varint(message, start)
      number, wire_type = tag >> 3, tag & 7
      if wire_type == VARINT:
        _, end = read_varint(message, start)
      elif wire_type == BYTES:
        size, start = read_varint(message, start)
        end = start + size
      elif wire_type in (FIXED32, FIXED64):
        end = start + (4 if wire_type == FIXED32 else 8)
      else:
        raise ValueError("groups are not looked into")
      if end > len(message) or not number:
        raise ValueError("it ends in a field")
      fields.append((number, wire_type, message[start:end]))
      start = end
  except IndexError as error:
    raise ValueError("it ends in a number") from error
  return fields


def join(fields) -> bytes:
  return b"".join(field(*part) for part in fields)


# How records are damaged


class Damage:
  """Random changes of records, as `random` has it."""

  def __init__(self, random: random.Random):
    self.random = random

  def records(self, sound: list[Record]) -> Iterator[Record]:
    """Endless damaged records, and a sound one now and then."""
    changes = [self.in_bytes, self.in_fields, self.of_lists, self.splice]
    while True:
      record = self.random.choice(sound)
      for _ in range(self.random.choice([0, 1, 1, 1, 2, 3])):
        change = self.random.choice(changes)
        record = change(record, sound)
      yield record

  def place(self, data: bytes) -> int:
    return self.random.randrange(len(data) + 1)

  def some_bytes(self) -> bytes:
    return self.random.choice(
      [
        b"",
        b"\0",
        b"\xff" * self.random.randrange(1, 12),
        b"\x80" * self.random.randrange(1, 12),
        self.random.randbytes(self.random.randrange(1, 20)),
        # Numbers at the limits of 32 and 64 bits, as lengths or as labels.
        varint(self.random.choice([2**31, 2**32 - 1, 2**63, 2**64 - 1, 2**70])),
        varint(self.random.randrange(200), self.random.randrange(12)),
        struct.pack(
          "<f", self.random.choice([float("nan"), float("inf"), 3e38])
        ),
        self.deep_nesting(),
      ]
    )

  def deep_nesting(self) -> bytes:
    depth = self.random.choice([3, 99, 101, 500])
    if self.random.random() < 0.5:
      return field(15, GROUP, b"") * depth + field(15, END_GROUP, b"") * depth
    message = b""
    for _ in range(depth):
      message = field(1, BYTES, message)
    return message

  def in_bytes(self, record, sound) -> Record:
    """Changes that know nothing of protobuf."""
    del sound
    place = self.place(record)
    kind = self.random.randrange(5)
    if kind == 0 and record:
      place %= len(record)
      flipped = record[place] ^ 1 << self.random.randrange(8)
      return record[:place] + bytes([flipped]) + record[place + 1 :]
    # Something else, in the place of some bytes, of all the others or of none;
    # or between some bytes that are then there twice.
    end = len(record) if kind == 1 else self.place(record)
    data = self.random.choice([b"", self.some_bytes()])
    return record[:place] + data + record[end:]

  def splice(self, record, sound) -> Record:
    """The begin of one and the end of another one."""
    other = self.random.choice(sound)
    if self.random.random() < 0.3:
      return record + other  # Protobuf merges the two.
    return record[: self.place(record)] + other[self.place(other) :]

  def in_fields(self, record, sound) -> Record:
    """Changes one message's fields, at any depth; lengths are kept right."""
    del sound
    return self.change_message(record, depth=0)

  def change_message(self, message: bytes, depth: int) -> bytes:
    try:
      fields = split(message)
    except ValueError:
      return self.some_bytes()
    inner = [n for n, part in enumerate(fields) if part[1] == BYTES and part[2]]
    if inner and self.random.random() < 0.75 and depth < 8:
      chosen = self.random.choice(inner)
      number, wire_type, payload = fields[chosen]
      payload = self.change_message(payload, depth + 1)
      fields[chosen] = number, wire_type, payload
      return join(fields)
    return self.change_fields(fields)

  def change_fields(self, fields) -> bytes:
    chosen = self.random.randrange(len(fields)) if fields else 0
    kind = self.random.randrange(9)
    if not fields or kind == 0:  # A field nobody knows.
      number = self.random.choice([1, 2, 3, 4, 15, 1000, 2**29 - 1])
      payload = self.random.choice([b"", b"\1", b"ab", self.some_bytes()])
      fields.insert(chosen, (number, BYTES, payload))
      return join(fields)
    number, wire_type, payload = fields[chosen]
    if kind == 1:
      del fields[chosen]
    elif kind == 2:
      fields.insert(self.random.randrange(len(fields) + 1), fields[chosen])
    elif kind == 3:
      self.random.shuffle(fields)
    elif kind == 4:
      fields[chosen] = self.random.randrange(5), wire_type, payload
    elif kind == 5:  # The payload stays, and means something else.
      fields[chosen] = number, self.random.randrange(8), payload
    elif kind == 6:
      fields[chosen] = number, wire_type, self.some_bytes()
    elif kind == 7:  # Its length takes more bytes than it needs, or is wrong.
      encoded = varint(number << 3 | wire_type)
      if wire_type == BYTES:
        encoded += self.random.choice(
          [
            varint(len(payload), self.random.randrange(1, 6)),
            varint(self.random.choice([2**20, 2**31 - 1, 2**32, 2**63])),
          ]
        )
      whole = join(fields[:chosen]) + encoded + payload
      return whole + join(fields[chosen + 1 :])
    else:
      fields[chosen] = number, wire_type, payload + self.some_bytes()
    return join(fields)

  def of_lists(self, record, sound) -> Record:
    """A feature written in ways that are unusual, and most of them right."""
    del sound
    key = self.random.choice(["id", "labels", "mean_rgb", "mean_audio", "x"])
    entry = field(1, BYTES, key.encode()) + field(2, BYTES, self.a_feature())
    if self.random.random() < 0.2:
      parts = split(entry)
      self.random.shuffle(parts)
      entry = join(parts[: self.random.randrange(1, 3)])
    # A map's last entry of a key is the one that counts.
    return record + field(1, BYTES, field(1, BYTES, entry))

  def a_feature(self) -> bytes:
    parts = []
    for _ in range(self.random.choice([0, 1, 1, 1, 2])):
      kind = self.random.choice([1, 2, 3])
      count = self.random.randrange(5)
      if kind == 1:
        values = [field(1, BYTES, self.random.randbytes(3))] * count
      elif kind == 2:
        floats = [struct.pack("<f", n / 4) for n in range(count)]
        values = [field(1, FIXED32, value) for value in floats]
        if self.random.random() < 0.5:
          values = [field(1, BYTES, b"".join(floats))]
      else:
        numbers = [varint(self.random.randrange(8)) for _ in range(count)]
        values = [field(1, VARINT, value) for value in numbers]
        if self.random.random() < 0.5:
          values = [field(1, BYTES, b"".join(numbers))]
      parts.append(field(kind, BYTES, b"".join(values)))
    return b"".join(parts)


def sound_records() -> dict[str, list[Record]]:
  """Records as they should be, of both levels."""
  rng = np.random.default_rng(0)
  records = {"video": [], "frame": []}
  for number in range(12):
    context = tf.train.Features()
    context.feature["id"].bytes_list.value.append(b"v%d" % number)
    labels = rng.integers(NUM_CLASSES, size=number % 4)
    context.feature["labels"].int64_list.value.extend(labels.tolist())
    sequence = tf.train.SequenceExample(context=context)
    for name, size in (("rgb", 3), ("audio", 2)):
      frames = sequence.feature_lists.feature_list[name]
      for _ in range(number % 7):
        frames.feature.add().bytes_list.value.append(rng.bytes(size))
    for name, size in {**VIDEO_SIZES, "unread": 4}.items():
      values = rng.normal(size=size).astype(np.float32).tolist()
      context.feature[name].float_list.value.extend(values)
    example = tf.train.Example(features=context)
    for level, message in (("video", example), ("frame", sequence)):
      records[level].append(message.SerializeToString(deterministic=True))
  return records


# The comparison


class WrongError(Exception):
  """A record is not read as it should be."""


class Comparison:
  """Reads shards of records with one reader, in both ways."""

  def __init__(self, level: Level, folder: pathlib.Path):
    self.level = level
    self.path = str(folder / f"{level.name}.tfrecord")
    self.report_path = str(folder / f"{level.name}.json")
    self.num_good = self.num_bad = self.num_refused_sound = 0

  def compare(self, records: list[Record], batch_size: int):
    """Raises a WrongError, or what a reader should not have raised."""
    expected = [self.level.decode(record) for record in records]
    with tf.io.TFRecordWriter(self.path) as writer:
      for record in records:
        writer.write(record)
    rows, bad = self.skip(records, batch_size)
    good = [n for n in range(len(records)) if n not in bad]
    if len(rows) != len(good):
      raise WrongError(
        f"{len(rows)} rows and {len(bad)} bad ones of {len(records)} records"
      )
    for number, row in zip(good, rows, strict=True):
      if row != expected[number]:
        raise WrongError(
          f"{records[number]!r} arrived as {row}, and is {expected[number]}"
        )
    self.check_stopping(records, expected, bad)
    self.num_good += len(good)
    self.num_bad += len(bad)

  def skip(self, records, batch_size) -> tuple[list[Row], dict[int, str]]:
    """The rows that arrive, and number -> cause of the others."""
    left_out = BadRecords(self.report_path, 1.0)
    left_out.expect([self.path], 100)
    batches = self.level.reader.evaluation_batches(
      [self.path], batch_size, left_out=left_out
    )
    rows = list(itertools.chain.from_iterable(map(rows_of, batches)))
    bad = {number: cause for _, number, cause in left_out._left_out}
    return rows, bad

  def check_stopping(self, records, expected, bad):
    """Each record by itself, as it is met where a bad one stops a program."""
    for number, record in enumerate(records):
      batch, is_bad = self.level.reader.decode([record])
      if is_bad[0] != (number in bad):
        raise WrongError(f"{record!r} is refused in one way of reading only")
      if is_bad[0]:
        self.num_refused_sound += expected[number] is not None
        continue
      np.minimum(batch["num_frames"], MAX_FRAMES, out=batch["num_frames"])
      (row,) = rows_of({**batch, "weights": np.ones(1)})
      if row != expected[number]:
        raise WrongError(f"{record!r} is {expected[number]}, not {row}")


def rows_of(batch) -> list[Row]:
  values = tf.nest.map_structure(np.asarray, batch)
  return [
    (
      values["video_ids"][row],
      int(values["num_frames"][row]),
      values["labels"][row].tobytes(),
      *(part[row].tobytes() for part in values["features"].values()),
    )
    for row in np.flatnonzero(values["weights"])
  ]


def compare_made_by_hypothesis(comparison, sound, num_records: int):
  """As `main` does, with few records each that hypothesis chooses."""

  @settings(
    max_examples=num_records // HYPOTHESIS_CHUNK,
    database=None,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
  )
  @given(random=st.randoms(use_true_random=False))
  def compare(random):
    flood = Damage(random).records(sound)
    comparison.compare(list(itertools.islice(flood, HYPOTHESIS_CHUNK)), 7)

  compare()


def main(num_records: int, seed: int, folder: pathlib.Path) -> int:
  sound = sound_records()
  for level in make_levels():
    comparison = Comparison(level, folder)
    comparison.compare(sound[level.name], 5)
    if comparison.num_bad:
      raise WrongError("sound records are left out")
    # Mostly of its own level.
    models = 2 * sound[level.name] + sound["video"][:3] + sound["frame"][:3]
    damage = Damage(random.Random(seed))  # noqa: S311 Not for secrets.
    flood = damage.records(models)
    for first in range(0, num_records, CHUNK):
      chunk = list(itertools.islice(flood, min(CHUNK, num_records - first)))
      comparison.compare(chunk, damage.random.choice([1, 7, 64, 300]))
    compare_made_by_hypothesis(comparison, models, num_records // 4)
    print(
      f"{level.name}: {comparison.num_good} records arrived, "
      f"{comparison.num_bad} were named as bad, "
      f"{comparison.num_refused_sound} of them could have been read"
    )
  return 0


if __name__ == "__main__":
  program  # noqa: B018 Imported for what it sets up.
  sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])))
