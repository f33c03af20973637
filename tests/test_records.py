# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Serialized records of every form: protobuf is the oracle.

The bytes of messages are written by hand where protobuf would not write them;
https://protobuf.dev/programming-guides/encoding/ has their form.
"""

import struct

import program  # noqa: F401 Before TensorFlow.

import numpy as np
import pytest
import tensorflow as tf
from fuzz_records import BYTES, field
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

import records
from records import Decoder, Form

NUM_CLASSES, MAX_FRAMES = 5, 4
SIZES = {"rgb": 3, "audio": 2}

quick = settings(max_examples=200, deadline=None, derandomize=True)


def message(*parts: tuple[int, bytes]) -> bytes:
  return b"".join(field(number, BYTES, data) for number, data in parts)


def entry(key: bytes, feature: bytes) -> bytes:
  return message((1, message((1, key), (2, feature))))


def example(*entries: bytes) -> bytes:
  return message((1, b"".join(entries)))


ID = entry(b"id", message((1, message((1, b"vid0")))))
LABELS = entry(b"labels", message((3, message((1, bytes([3, 1]))))))
FLOATS = np.array([0.5, -2.0], "<f4").tobytes()
RGB = entry(b"rgb", message((2, message((1, FLOATS)))))
TEXT = entry(b"text", message((1, message((1, b"words")))))
AUDIO = entry(b"audio", message((2, message((1, FLOATS)))))
USUAL = example(ID, LABELS, RGB)

# Each with the labels that protobuf reads; None where it reads nothing.
FORMS = {
  "as written": (USUAL, [1, 3]),
  "another order": (example(RGB, ID, LABELS), [1, 3]),
  # So is every record of YouTube-8M's video-level shards.
  "no feature lists": (USUAL + b"\x12\0", [1, 3]),
  "a string beside": (example(TEXT, ID, LABELS, RGB), [1, 3]),
  "floats beside": (example(ID, AUDIO, LABELS, RGB), [1, 3]),
  "feature lists": (
    USUAL + message((2, message((1, message((1, b"rgb"), (2, b"")))))),
    [1, 3],
  ),
  "labels in two parts": (
    example(
      ID, entry(b"labels", message((3, message((1, b"\3"), (1, b"\1"))))), RGB
    ),
    [1, 3],
  ),
  "two lists of labels": (
    example(
      ID,
      entry(
        b"labels", message((3, message((1, b"\3"))), (3, message((1, b"\1"))))
      ),
      RGB,
    ),
    [1, 3],
  ),
  "labels that are not packed": (
    example(ID, entry(b"labels", message((3, b"\x08\3\x08\1"))), RGB),
    [1, 3],
  ),
  "labels in more bytes": (
    example(ID, entry(b"labels", message((3, message((1, b"\x83\0"))))), RGB),
    [3],
  ),
  "labels that end early": (
    example(ID, entry(b"labels", message((3, message((1, b"\3\x81"))))), RGB),
    None,
  ),
  "labels of too many bytes": (
    example(
      ID,
      entry(b"labels", message((3, message((1, b"\x81" * 12 + b"\0"))))),
      RGB,
    ),
    None,
  ),
  "labels twice": (
    example(ID, entry(b"labels", message((3, b"\x08\4"))), LABELS, RGB),
    [1, 3],
  ),
  "rgb twice": (
    example(
      ID, LABELS, entry(b"rgb", message((2, message((1, FLOATS[:4]))))), RGB
    ),
    [1, 3],
  ),
  "an empty list of labels": (
    example(ID, entry(b"labels", message((3, b""))), RGB),
    [],
  ),
  "labels of no bytes": (
    example(ID, entry(b"labels", message((3, message((1, b""))))), RGB),
    [],
  ),
  "two sets of features": (example(ID, LABELS) + example(RGB), [1, 3]),
  "an unknown field": (USUAL + message((9, b"?")), [1, 3]),
  "a value before its key": (
    example(
      ID,
      RGB,
      message(
        (1, message((2, message((3, message((1, b"\3"))))), (1, b"labels")))
      ),
    ),
    [3],
  ),
  "a key in more bytes": (
    example(ID, RGB, message((1, b"\x0a\x86\0labels\x12\5\x1a\3\x0a\1\3"))),
    [3],
  ),
  "two bytes too many": (
    example(
      ID, LABELS, entry(b"rgb", message((2, message((1, FLOATS + b"ab")))))
    ),
    None,
  ),
  "two bytes too many in floats beside": (
    example(
      ID,
      LABELS,
      RGB,
      entry(b"audio", message((2, message((1, FLOATS + b"ab"))))),
    ),
    None,
  ),
  "a last list that ends early": (
    # Four labels, of which two have come; all that follows is as it should be.
    example(ID, RGB, b"\x0a\x10\x0a\6labels\x12\6\x1a\6\x0a\4\3\1"),
    None,
  ),
  "a length beyond the end": (b"\x0a\x60" + USUAL[2:], None),
  "a length of 300,000 bytes": (b"\x0a" + b"\xff" * 300_000, None),
  "a key that is no text": (
    example(ID, LABELS, RGB, entry(b"\xff", message((1, message((1, b"a")))))),
    None,
  ),
  "floats that are not packed, and too many": (
    # TensorFlow's parser would write them beyond the end of its memory.
    example(
      ID,
      LABELS,
      entry(
        b"rgb",
        message(
          (2, b"".join(b"\x0d" + struct.pack("<f", n) for n in range(20)))
        ),
      ),
    ),
    None,
  ),
}


def video_decoder(**sizes) -> Decoder:
  sizes = sizes or {"rgb": 2}
  forms = {name: Form(records.VECTOR, size) for name, size in sizes.items()}
  return Decoder(NUM_CLASSES, forms)


def frame_decoder(sizes=SIZES) -> Decoder:
  forms = {name: Form(records.CODES, size) for name, size in sizes.items()}
  return Decoder(NUM_CLASSES, forms, MAX_FRAMES)


def is_bad(decoder, *block, **kwargs) -> list[bool]:
  return decoder.decode(block, **kwargs)[1].tolist()


@pytest.fixture
def without_protobuf(monkeypatch):
  def refuse(record):
    raise AssertionError(f"parsed with protobuf: {record!r}")

  monkeypatch.setattr(records, "parse", refuse)


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_a_record(name):
  record, labels = FORMS[name]
  decoder = video_decoder()
  for _ in range(2):  # The second time, it knows features that are not read.
    batch, bad = decoder.decode([USUAL, record, USUAL])
    assert bad.tolist() == [False, labels is None, False]
    assert (decoder.describe(record) is None) == (labels is not None)
    rows = [0, 2] if labels is None else [0, 1, 2]
    assert batch["video_ids"][rows].tolist() == [b"vid0"] * len(rows)
    assert batch["features"]["rgb"][rows].tolist() == [[0.5, -2.0]] * len(rows)
    found = [np.flatnonzero(batch["labels"][row]).tolist() for row in rows]
    assert found == (
      [[1, 3]] * 2 if labels is None else [[1, 3], labels, [1, 3]]
    )
    assert batch["num_frames"].tolist() == [1, 1, 1]


def test_tensorflow_reads_some_of_them_wrong():
  # If it did not, all of this would not be needed.
  def reads_wrong(record, labels):
    spec = {
      "labels": tf.io.VarLenFeature(tf.int64),
      "rgb": tf.io.FixedLenFeature([2], tf.float32),
    }
    try:
      parsed = tf.io.parse_single_example(record, spec)
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
      return False
    return sorted(parsed["labels"].values.numpy().tolist()) != labels

  forms = {
    name: form for name, form in FORMS.items() if "not packed" not in name
  }
  assert {name for name, form in forms.items() if reads_wrong(*form)} >= {
    "labels in two parts",
    "two bytes too many",
    "a last list that ends early",
    "a length beyond the end",
  }


def test_what_protobuf_is_not_needed_for(without_protobuf):
  usual = ("as written", "another order", "no feature lists")
  assert not any(is_bad(video_decoder(), *(FORMS[name][0] for name in usual)))
  frames = make_frames(3)
  check_frames([make_record(frames)], [frames])


def test_features_that_are_not_read_are_learnt(monkeypatch):
  decoder = video_decoder()
  block = [example(ID, LABELS, RGB, AUDIO, TEXT)]
  frames = frame_decoder({"rgb": 3})
  videos = [make_record(make_frames(3))]
  for parse in (records.parse, None):
    monkeypatch.setattr(records, "parse", parse)
    assert not any(is_bad(decoder, *block))
    assert not any(is_bad(frames, *videos, with_labels=False))


@pytest.mark.parametrize("num_others", [0, 31, 32, 33, 100])
def test_many_other_features(num_others):
  features = tf.train.Example.FromString(USUAL).features
  for n in range(num_others):
    features.feature[f"other {n}"].float_list.value.extend([1.0] * n)
  record = tf.train.Example(features=features).SerializeToString()
  decoder = video_decoder()
  for _ in range(2):
    batch, bad = decoder.decode([record, USUAL])
    assert not bad.any()
    assert batch["features"]["rgb"].tolist() == [[0.5, -2.0]] * 2
  assert len(decoder._features._unread) <= 32


@pytest.mark.parametrize("length", [30, 54, 55, 127, 128, 300])
def test_long_keys(length):
  features = tf.train.Example.FromString(USUAL).features
  features.feature["k" * length].CopyFrom(features.feature["rgb"])
  record = tf.train.Example(features=features).SerializeToString()
  for decoder in (video_decoder(**{"k" * length: 2}), video_decoder()):
    for _ in range(2):
      batch, bad = decoder.decode([record])
      assert not bad[0]
      (values,) = batch["features"].values()
      assert values.tolist() == [[0.5, -2.0]]


@quick
@given(
  video_id=st.binary(min_size=1, max_size=400),
  labels=st.lists(
    st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9), max_size=40
  ),
  size=st.integers(1, 40_000),
)
def test_what_protobuf_writes_arrives(video_id, labels, size):
  # Lengths are around 128, too, from where they take two bytes.
  made = tf.train.Example()
  feature = made.features.feature
  feature["id"].bytes_list.value.append(video_id)
  feature["labels"].int64_list.value.extend(labels)
  feature["rgb"].float_list.value.extend(np.arange(size).tolist())
  decoder = video_decoder(rgb=size)
  batch, bad = decoder.decode([made.SerializeToString(), USUAL])
  is_n_hot = len(labels) > 2 and {*labels} <= {0, 1}
  is_wrong = is_n_hot or not all(0 <= label < NUM_CLASSES for label in labels)
  assert bad.tolist() == [is_wrong, size != 2]
  assert batch["video_ids"][0] == video_id or is_wrong
  if not is_wrong:
    assert np.flatnonzero(batch["labels"][0]).tolist() == sorted({*labels})
    assert batch["features"]["rgb"][0].tolist() == list(range(size))


@quick
@given(
  data=st.binary(max_size=40), place=st.integers(0, 60), cut=st.integers(0, 3)
)
def test_what_is_usual_is_what_protobuf_reads(data, place, cut):
  record = USUAL[:place] + data + USUAL[place + len(data) + cut :]
  decoder = video_decoder()
  batch, bad = decoder.decode([record])
  assert bad[0] == (decoder.describe(record) is not None)
  try:
    context = tf.train.SequenceExample.FromString(record).context
  except DecodeError:
    assert bad[0]
    return
  if not bad[0]:
    feature = context.feature
    labels = feature["labels"].int64_list.value
    assert np.flatnonzero(batch["labels"][0]).tolist() == sorted({*labels})
    rgb = np.array(feature["rgb"].float_list.value, np.float32)
    assert batch["features"]["rgb"][0].tobytes() == rgb.tobytes()
    assert [batch["video_ids"][0]] == list(feature["id"].bytes_list.value)


# Frames


def frame(*values: bytes) -> tf.train.Feature:
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def make_record(lists, context=None) -> bytes:
  """A record whose frames are byte strings, or Features taken as they are."""
  features = {"id": frame(b"vid0")} if context is None else context
  feature_list = {
    name: tf.train.FeatureList(
      feature=[
        value if isinstance(value, tf.train.Feature) else frame(value)
        for value in values
      ]
    )
    for name, values in lists.items()
  }
  return tf.train.SequenceExample(
    context=tf.train.Features(feature=features),
    feature_lists=tf.train.FeatureLists(feature_list=feature_list),
  ).SerializeToString()


def make_frames(num_frames, sizes=SIZES, seed=0):
  """Random frames; bytes of the protobuf format itself are among them."""
  rng = np.random.default_rng(seed)
  return {
    name: [rng.bytes(size) for _ in range(num_frames)]
    for name, size in sizes.items()
  }


def check_frames(block, videos, decoder=None):
  """Decodes records without labels; `None` for videos that are bad."""
  decoder = decoder or frame_decoder()
  batch, bad = decoder.decode(block, with_labels=False)
  assert bad.tolist() == [frames is None for frames in videos]
  for row, frames in enumerate(videos):
    for name, values in batch["features"].items():
      kept = b"".join((frames or {name: []})[name][:MAX_FRAMES])
      if frames is not None:
        assert values[row].tobytes() == kept.ljust(values[row].size, b"\0")
        assert batch["num_frames"][row] == len(frames[name])


def test_records_of_a_block_do_not_mix():
  # Alone, and in runs of short ones.
  videos = [make_frames(n, seed=n) for n in (4, 0, 2, 9, 300, 1, 3, 5)]
  check_frames([*map(make_record, videos)], videos)
  for frames in videos:
    check_frames([make_record(frames)], [frames])


@pytest.mark.parametrize("size", [1, 127, 128, 1024, 16_384])
def test_sizes_whose_lengths_take_more_bytes(size):
  frames = make_frames(3, {"rgb": size})
  check_frames([make_record(frames)], [frames], frame_decoder({"rgb": size}))


def test_types_and_shapes():
  for count in (5, 0):
    batch, bad = frame_decoder().decode([make_record(make_frames(2))] * count)
    for name, values in batch["features"].items():
      assert values.shape == (count, 4, SIZES[name])
      assert values.dtype == np.uint8
      # Or TensorFlow would copy it.
      assert values.ctypes.data % 64 == 0 or not count
      assert values.flags.c_contiguous
    assert batch["labels"].shape == (count, NUM_CLASSES)
    assert batch["num_frames"].dtype == np.int32
    assert batch["video_ids"].shape == bad.shape == (count,)


def by_hand(frames, make_frame, make_entry) -> bytes:
  """A record as another writer might do it."""
  entries = [
    (
      1,
      message(
        *make_entry((1, name.encode()), (2, message(*map(make_frame, v))))
      ),
    )
    for name, v in frames.items()
  ]
  return example(ID) + message((2, message(*entries)))


def usual_frame(value):
  return 1, message((1, message((1, value))))


OTHER_FORMS = {
  "as usual": lambda frames: by_hand(frames, usual_frame, lambda *item: item),
  # Feature is a oneof: an empty float_list, and then what replaces it.
  "two kinds": lambda frames: by_hand(
    frames,
    lambda value: (1, message((2, b""), (1, message((1, value))))),
    lambda *item: item,
  ),
  "name last": lambda frames: by_hand(
    frames, usual_frame, lambda name, values: (values, name)
  ),
  "lists first": lambda frames: (
    make_record(frames, {}) + make_record({}, {"id": frame(b"vid0")})
  ),
  "unknown field": lambda frames: make_record(frames) + bytes([0x7A, 1, 7]),
  "lists twice": lambda frames: (
    make_record(make_frames(2, seed=9)) + make_record(frames, {})
  ),
  "long length": lambda frames: (
    bytes([0x0A, make_record(frames)[1] | 0x80, 0]) + make_record(frames)[2:]
  ),
  "something else": lambda frames: make_record({**frames, "x": [b"12", b"1"]}),
}


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_other_writers_frames_are_read_as_well(form):
  frames, good = make_frames(3), make_frames(2, seed=3)
  check_frames(
    [make_record(good), OTHER_FORMS[form](frames), make_record(good)],
    [good, frames, good],
  )


@pytest.mark.parametrize(
  "lists",
  [
    {"rgb": [b"abc"]},
    {"rgb": [b"abc"], "audio": []},
    {"rgb": [b"abc"], "audio": [b"ab", b"cd"]},
    {"rgb": [b"abc", b"ab"], "audio": [b"ab", b"cd"]},
    {"rgb": [b"ab", b"abcd"], "audio": [b"ab", b"cd"]},
    {"rgb": [b""], "audio": [b"ab"]},
    {"rgb": [frame(b"abc", b"def")], "audio": [b"ab"]},
    {"rgb": [frame()], "audio": [b"ab"]},
    {"rgb": [tf.train.Feature()], "audio": [b"ab"]},
    # Frame after the last one that is kept.
    {"rgb": [b"abc"] * 5 + [b"ab"], "audio": [b"ab"] * 6},
  ],
)
def test_bad_frames_harm_no_other_record(lists):
  good = make_frames(3)
  block = [make_record(good), make_record(lists), make_record(good)]
  check_frames(block, [good, None, good])
  assert frame_decoder().describe(block[1], False)


@quick
@given(
  st.integers(0, 6),
  st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), max_size=3),
  st.one_of(st.just(0), st.integers(0, 200)),
)
def test_damaged_records_are_read_as_protobuf_reads_them(
  num_frames, changes, cut
):
  record = bytearray(make_record(make_frames(num_frames)))
  for place, value in changes:
    record[place % len(record)] = value
  record = bytes(record[: max(0, len(record) - cut)])
  problem = frame_decoder().describe(record, False)
  frames = None
  if problem is None:
    _, lists = records.parse(record)
    frames = {
      name: [item.bytes_list.value[0] for item in lists[name].feature]
      for name in SIZES
    }
  check_frames([record], [frames])
