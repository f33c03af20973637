# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Frames of serialized records: protobuf is the oracle."""

import program  # noqa: F401 Before TensorFlow.

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import frame_records

SIZES = {"rgb": 3, "audio": 2}
MAX_FRAMES = 4

quick = settings(max_examples=300, deadline=None, derandomize=True)


def frame(*values: bytes) -> tf.train.Feature:
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def make_record(lists, context=None) -> bytes:
  """A record whose frames are byte strings, or Features taken as they are."""
  return tf.train.SequenceExample(
    context=tf.train.Features(
      feature={"id": frame(b"vid0")} if context is None else context
    ),
    feature_lists=tf.train.FeatureLists(
      feature_list={
        name: tf.train.FeatureList(
          feature=[
            value if isinstance(value, tf.train.Feature) else frame(value)
            for value in values
          ]
        )
        for name, values in lists.items()
      }
    ),
  ).SerializeToString()


def make_frames(num_frames, sizes=SIZES, seed=0):
  """Random frames; bytes of the protobuf format itself are among them."""
  rng = np.random.default_rng(seed)
  return {
    name: [rng.bytes(size) for _ in range(num_frames)]
    for name, size in sizes.items()
  }


def expected(frames, max_frames=MAX_FRAMES, sizes=SIZES):
  """[max_frames, size] of each feature, and the number of frames."""
  codes = []
  for name, size in sizes.items():
    rows = np.zeros((max_frames, size), np.uint8)
    for row, value in zip(rows, frames[name], strict=False):
      row[:] = list(value)
    codes.append(rows)
  return codes, min(len(frames["rgb"]), max_frames)


def decode(*records):
  decoder = frame_records.FrameDecoder(SIZES, MAX_FRAMES)
  *codes, num_frames, is_bad, _ = decoder.decode(records)
  return codes, num_frames, is_bad


def check(record, frames):
  codes, num_frames, is_bad = decode(record)
  wanted, count = expected(frames)
  assert not is_bad[0]
  assert num_frames[0] == count
  for actual, values in zip(codes, wanted, strict=True):
    np.testing.assert_array_equal(actual[0], values)


@pytest.mark.parametrize("num_frames", [0, 1, 3, 4, 5, 300])
def test_frames_are_cut_and_padded(num_frames):
  frames = make_frames(num_frames)
  check(make_record(frames), frames)


def test_records_of_a_batch_do_not_mix():
  lengths = (4, 0, 2, 9)
  videos = [make_frames(n, seed=n) for n in lengths]
  codes, num_frames, is_bad = decode(*map(make_record, videos))
  assert num_frames.tolist() == [4, 0, 2, 4]
  assert not is_bad.any()
  for row, frames in enumerate(videos):
    for actual, values in zip(codes, expected(frames)[0], strict=True):
      np.testing.assert_array_equal(actual[row], values)


def test_types_and_shapes():
  codes, num_frames, is_bad = decode(*[make_record(make_frames(2))] * 5)
  assert [values.shape for values in codes] == [(5, 4, 3), (5, 4, 2)]
  assert {values.dtype.name for values in codes} == {"uint8"}
  assert num_frames.dtype == np.int32
  assert is_bad.dtype == bool
  codes, num_frames, is_bad = decode()
  assert [values.shape for values in codes] == [(0, 4, 3), (0, 4, 2)]
  assert num_frames.shape == is_bad.shape == (0,)


@pytest.mark.parametrize("size", [1, 127, 128, 1024, 16_384])
def test_sizes_whose_lengths_take_more_bytes(size):
  frames = make_frames(3, {"rgb": size})
  decoder = frame_records.FrameDecoder({"rgb": size}, 3)
  *codes, num_frames, is_bad, _ = decoder.decode([make_record(frames)])
  assert codes[0].tobytes() == b"".join(frames["rgb"])
  assert num_frames[0] == 3
  assert not is_bad[0]


def test_arrays_need_no_copy():
  # As TensorFlow takes over only aligned ones.
  codes, _, _ = decode(*[make_record(make_frames(2))] * 3)
  for values in codes:
    assert values.ctypes.data % 64 == 0
    assert values.flags.c_contiguous


def test_views_are_taken_where_protobuf_is_not_needed(monkeypatch):
  def refuse(record, sizes):
    raise AssertionError("parsed with protobuf")

  monkeypatch.setattr(frame_records, "_parse_frames", refuse)
  frames = {**make_frames(3), "other": [b"12345", b"1"]}
  check(make_record(frames), frames)


def twice(record: bytes) -> bytes:
  """A field that comes again: protobuf takes the lists' last values."""
  return record + make_record(make_frames(2, seed=9), context={})


def with_unknown_field(record: bytes) -> bytes:
  return record + bytes([0x7A, 1, 7])  # Field 15, one byte long.


def with_long_length(record: bytes) -> bytes:
  """The length of the context in more bytes than it needs."""
  assert record[0] == 0x0A
  assert record[1] < 0x80
  return bytes([0x0A, record[1] | 0x80, 0x00]) + record[2:]


@pytest.mark.parametrize("change", [with_unknown_field, with_long_length])
def test_unusual_records_are_read_as_well(change):
  frames = make_frames(3)
  check(change(make_record(frames)), frames)


def test_the_last_of_two_lists_counts():
  check(twice(make_record(make_frames(3))), make_frames(2, seed=9))


def field(number: int, *payload: bytes) -> bytes:
  """A serialized field that holds bytes or a message, up to 127 bytes."""
  joined = b"".join(payload)
  assert len(joined) < 128
  return bytes([number << 3 | 2, len(joined)]) + joined


def serialized(frames, make_frame, make_entry) -> bytes:
  """A record by hand, as another writer might do it."""
  entries = [
    field(
      1, *make_entry(field(1, name.encode()), field(2, *map(make_frame, v)))
    )
    for name, v in frames.items()
  ]
  return field(2, *entries)


@pytest.mark.parametrize(
  ("make_frame", "make_entry"),
  [
    pytest.param(
      lambda value: field(1, field(1, field(1, value))),
      lambda name, frames: (name, frames),
      id="as usual",
    ),
    pytest.param(
      # Feature is a oneof: an empty float_list, and then what replaces it.
      lambda value: field(1, field(2), field(1, field(1, value))),
      lambda name, frames: (name, frames),
      id="two kinds",
    ),
    pytest.param(
      lambda value: field(1, field(1, field(1, value))),
      lambda name, frames: (frames, name),
      id="name last",
    ),
  ],
)
def test_other_writers_records_are_read_as_well(make_frame, make_entry):
  frames = make_frames(3)
  check(serialized(frames, make_frame, make_entry), frames)


@pytest.mark.parametrize(
  "lists",
  [
    {"rgb": [b"abc"]},
    {"rgb": [b"abc"], "audio": []},
    {"rgb": [b"abc"], "audio": [b"ab", b"cd"]},
    {"rgb": [b"abc", b"ab"], "audio": [b"ab", b"cd"]},
    {"rgb": [b"abcd"], "audio": [b"ab"]},
    {"rgb": [b""], "audio": [b"ab"]},
    {"rgb": [frame(b"abc", b"def")], "audio": [b"ab"]},
    {"rgb": [frame()], "audio": [b"ab"]},
    {"rgb": [tf.train.Feature()], "audio": [b"ab"]},
    # Frame after the last one that is kept.
    {"rgb": [b"abc"] * 5 + [b"ab"], "audio": [b"ab"] * 6},
  ],
)
def test_bad_frames_are_marked_and_harm_no_other_record(lists):
  good = make_frames(3)
  codes, num_frames, is_bad = decode(make_record(lists), make_record(good))
  assert is_bad.tolist() == [True, False]
  assert num_frames.tolist() == [0, 3]
  assert not any(values[0].any() for values in codes)
  for actual, values in zip(codes, expected(good)[0], strict=True):
    np.testing.assert_array_equal(actual[1], values)


@quick
@given(
  st.integers(0, 6),
  st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), max_size=3),
  st.one_of(st.just(0), st.integers(0, 200)),
)
def test_damaged_records_are_read_as_protobuf_reads_them(
  num_frames, changes, cut
):
  # The pipeline parses the context by itself.
  record = bytearray(make_record(make_frames(num_frames), context={}))
  for place, value in changes:
    record[place % len(record)] = value
  record = bytes(record[: max(0, len(record) - cut)])
  decoder = frame_records.FrameDecoder(SIZES, MAX_FRAMES)
  frames = frame_records._parse_frames(record, SIZES)
  if frames is not None and len(set(map(len, frames.values()))) > 1:
    frames = None
  *codes, num_decoded, is_bad, _ = decoder.decode([record])
  assert is_bad[0] == (frames is None)
  if frames is not None:
    wanted, count = expected(
      {name: list(map(bytes, rows)) for name, rows in frames.items()}
    )
    assert num_decoded[0] == count
    for actual, values in zip(codes, wanted, strict=True):
      np.testing.assert_array_equal(actual[0], values)


@quick
@given(st.binary(max_size=60))
def test_any_bytes_are_found_wrong_or_laid_out_as_found(record):
  layout = frame_records.find_layout(record)
  if layout:
    for start, end in (layout.context, *layout.feature_lists.values()):
      assert 0 <= start <= end <= len(record)


class CountedBytes(bytes):
  """Counts how often a single byte is looked at."""

  reads = 0

  def __getitem__(self, place):
    self.reads += 1
    return super().__getitem__(place)


@pytest.mark.parametrize("length", [b"\xff" * 300_000, b"\x80" * 9 + b"\x01"])
def test_lengths_no_record_has_are_not_read_to_their_end(length):
  # A hostile record's number of 300,000 bytes would take seconds.
  record = CountedBytes(b"\x12" + length)
  assert frame_records.find_layout(record) is None
  assert 0 < record.reads < 10


def test_feature_lists_are_found():
  record = make_record({"rgb": [b"abc"], "audio": [b"ab"] * 2})
  context, places = frame_records.find_layout(record)
  features = tf.train.Example.FromString(record[slice(*context)]).features
  assert features == tf.train.SequenceExample.FromString(record).context
  assert features.feature
  assert set(places) == {b"rgb", b"audio"}
  for name, values in {b"rgb": [b"abc"], b"audio": [b"ab"] * 2}.items():
    found = tf.train.FeatureList.FromString(record[slice(*places[name])])
    assert [f.bytes_list.value[0] for f in found.feature] == values
  example = tf.train.Example(features=tf.train.Features(feature={}))
  layout = frame_records.find_layout(example.SerializeToString())
  assert layout.feature_lists == {}
