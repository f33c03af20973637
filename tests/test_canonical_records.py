# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Records in the form that TensorFlow's parser takes for granted, and others.

The bytes of messages are written by hand where protobuf would not write them;
https://protobuf.dev/programming-guides/encoding/ has their form.
"""

import struct

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

import canonical_records

quick = settings(max_examples=100, deadline=None, derandomize=True)


def message(*parts: tuple[int, bytes]) -> bytes:
  """Fields with a length of less than 2**14."""
  encoded = b""
  for number, data in parts:
    length = [len(data)]
    if len(data) > 127:
      length = [len(data) & 127 | 128, len(data) >> 7]
    encoded += bytes([number << 3 | 2, *length]) + data
  return encoded


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

USUAL = {
  "as written": example(ID, LABELS, RGB),
  "another order": example(RGB, ID, LABELS),
  "no labels": example(RGB, ID),
  # So is every record of YouTube-8M's video-level shards.
  "no feature lists": example(ID, LABELS, RGB) + b"\x12\0",
}

# Usual, too, but protobuf has to look at features that are not read.
UNREAD = {
  "a string": example(TEXT, ID, LABELS, RGB),
  "floats": example(ID, AUDIO, LABELS, RGB),
}

# Each with what protobuf reads: labels and floats; None where it reads nothing.
UNUSUAL = {
  "labels in two parts": (
    example(
      ID, entry(b"labels", message((3, message((1, b"\3"), (1, b"\1"))))), RGB
    ),
    ([3, 1], [0.5, -2.0]),
  ),
  "two lists of labels": (
    example(
      ID,
      entry(
        b"labels", message((3, message((1, b"\3"))), (3, message((1, b"\1"))))
      ),
      RGB,
    ),
    ([3, 1], [0.5, -2.0]),
  ),
  "labels that are not packed": (
    example(ID, entry(b"labels", message((3, b"\x08\3\x08\1"))), RGB),
    ([3, 1], [0.5, -2.0]),
  ),
  "labels twice": (
    example(ID, entry(b"labels", message((3, b"\x08\4"))), LABELS, RGB),
    ([3, 1], [0.5, -2.0]),
  ),
  "rgb twice": (
    example(
      ID, LABELS, entry(b"rgb", message((2, message((1, FLOATS[:4]))))), RGB
    ),
    ([3, 1], [0.5, -2.0]),
  ),
  "an empty list of labels": (
    example(ID, entry(b"labels", message((3, b""))), RGB),
    ([], [0.5, -2.0]),
  ),
  "two sets of features": (
    example(ID, LABELS) + example(RGB),
    ([3, 1], [0.5, -2.0]),
  ),
  "an unknown field": (
    example(ID, LABELS, RGB) + message((9, b"?")),
    ([3, 1], [0.5, -2.0]),
  ),
  "a value before its key": (
    example(
      ID,
      RGB,
      message(
        (1, message((2, message((3, message((1, b"\3"))))), (1, b"labels")))
      ),
    ),
    ([3], [0.5, -2.0]),
  ),
  "a key in more bytes": (
    example(ID, RGB, message((1, b"\x0a\x86\0labels\x12\5\x1a\3\x0a\1\3"))),
    ([3], [0.5, -2.0]),
  ),
  "two bytes too many": (
    example(
      ID, LABELS, entry(b"rgb", message((2, message((1, FLOATS + b"ab")))))
    ),
    None,
  ),
  "a last list that ends early": (
    # Four labels, of which two have come; all that follows is as it should be.
    example(ID, RGB, b"\x0a\x10\x0a\6labels\x12\6\x1a\6\x0a\4\3\1"),
    None,
  ),
  "a length beyond the end": (b"\x0a\x60" + USUAL["as written"][2:], None),
  "a key that is no text": (
    example(ID, LABELS, RGB, entry(b"\xff", message((1, message((1, b"a")))))),
    None,
  ),
}


def make_form() -> canonical_records.CanonicalForm:
  return canonical_records.CanonicalForm("id", "labels", {"rgb": 2})


def find_unusual(form, *records) -> list[int]:
  longest = max(map(len, records)) + canonical_records._PATTERN_BYTES
  codes = b"".join(record.ljust(longest, b"\0") for record in records)
  codes = np.frombuffer(codes, np.uint8).reshape(-1, longest)
  num_bytes = np.array([len(record) for record in records], np.int32)
  return form.find_unusual(codes, num_bytes).tolist()


def ensure(*records) -> list[bytes]:
  function = tf.function(make_form().ensure, autograph=False)
  return function(tf.constant(records, tf.string)).numpy().tolist()


def values_of(record):
  """Labels and floats of a record, as protobuf reads them."""
  features = tf.train.Example.FromString(record).features.feature
  return (
    list(features["labels"].int64_list.value),
    list(features["rgb"].float_list.value),
  )


@pytest.mark.parametrize("name", USUAL)
def test_usual_records_stay_as_they_are(name):
  assert find_unusual(make_form(), USUAL[name], *USUAL.values()) == []
  assert ensure(USUAL[name], USUAL["as written"])[0] == USUAL[name]


@pytest.mark.parametrize("name", UNREAD)
def test_features_that_are_not_read(name):
  record = UNREAD[name]
  form = make_form()
  assert find_unusual(form, record) == [0]
  (rewritten,) = form.rewrite([record])
  assert tf.train.Example.FromString(rewritten) == (
    tf.train.Example.FromString(record)
  )
  # Those of floats are known then.
  assert find_unusual(form, record) == ([] if name == "floats" else [0])


def test_the_latest_size_of_a_feature_that_is_not_read_is_known():
  def make(size):
    made = tf.train.Example.FromString(USUAL["as written"])
    made.features.feature["audio"].float_list.value.extend([1.0] * size)
    return made.SerializeToString()

  form = make_form()
  for size in (5, 128):  # An odd one comes first.
    form.rewrite([make(size)])
    assert find_unusual(form, make(size)) == []
  assert find_unusual(form, make(5)) == [0]


@pytest.mark.parametrize("num_keys", [31, 32, 33, 100])
def test_few_features_that_are_not_read_are_remembered(num_keys):
  form = make_form()
  for number in range(num_keys):
    made = tf.train.Example.FromString(USUAL["as written"])
    made.features.feature[f"junk {number}"].float_list.value.append(1)
    form.rewrite([made.SerializeToString()])
  assert len(form._unread) == min(num_keys, 32)
  assert find_unusual(form, USUAL["as written"]) == []


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_records_are_written_anew(name):
  record, values = UNUSUAL[name]
  usual = USUAL["as written"]
  form = make_form()
  assert find_unusual(form, usual, record, usual) == [1]
  first, rewritten, last = ensure(usual, record, usual)
  assert first == last == usual
  if values is None:
    assert rewritten == b""
  else:
    assert values_of(rewritten) == values
    # But empty lists are looked at each time.
    assert find_unusual(form, rewritten) == ([] if values[0] else [0])


def test_tensorflow_reads_some_of_them_wrong():
  # If it did not, all of this would not be needed.
  def reads_wrong(record, values):
    spec = {
      "labels": tf.io.VarLenFeature(tf.int64),
      "rgb": tf.io.FixedLenFeature([2], tf.float32),
    }
    try:
      parsed = tf.io.parse_single_example(record, spec)
    except tf.errors.InvalidArgumentError:
      return False
    labels, rgb = parsed["labels"].values, parsed["rgb"]
    return (labels.numpy().tolist(), rgb.numpy().tolist()) != values

  wrong = {name for name in UNUSUAL if reads_wrong(*UNUSUAL[name])}
  assert wrong >= {
    "labels in two parts",
    "two bytes too many",
    "a last list that ends early",
    "a length beyond the end",
  }


def test_a_list_that_is_too_long_is_never_parsed_by_tensorflow():
  # Its parser would write these floats beyond the end of its memory.
  floats = b"".join(b"\x0d" + struct.pack("<f", n) for n in range(20))
  record = example(ID, LABELS, entry(b"rgb", message((2, floats))))
  (rewritten,) = ensure(record)
  assert (
    find_unusual(
      canonical_records.CanonicalForm("id", "labels", {"rgb": 20}), rewritten
    )
    == []
  )
  assert values_of(rewritten) == ([3, 1], list(range(20)))


def test_only_the_context_of_frames_counts():
  frames = tf.train.SequenceExample.FromString(USUAL["as written"])
  frames.feature_lists.feature_list["rgb"].feature.add()
  record = frames.SerializeToString()
  assert find_unusual(make_form(), record) == [0]
  (rewritten,) = ensure(record)
  assert values_of(rewritten) == values_of(USUAL["as written"])


def test_nothing():
  assert ensure() == []
  assert values_of(*ensure(b"")) == ([], [])


@pytest.mark.parametrize("num_others", [0, 1, 31, 32, 33, 100])
def test_many_other_features(num_others):
  others = [
    tf.train.Feature(float_list={"value": np.zeros(n + 1)})
    for n in range(num_others)
  ]
  features = tf.train.Example.FromString(USUAL["as written"]).features
  for n, feature in enumerate(others):
    features.feature[f"other {n}"].CopyFrom(feature)
  record = tf.train.Example(features=features).SerializeToString()
  form = make_form()
  form.rewrite([record])
  # With id, labels and rgb there are 3 more entries; 32 are looked at.
  assert find_unusual(form, record) == ([0] if num_others > 29 else [])
  assert values_of(ensure(record)[0]) == ([3, 1], [0.5, -2.0])


@pytest.mark.parametrize("key", ["k" * 30, "k" * 60, "k" * 127, "k" * 128])
def test_long_keys(key):
  features = tf.train.Features.FromString(RGB)
  features.feature[key].CopyFrom(features.feature["rgb"])
  record = tf.train.Example(features=features).SerializeToString()
  form = canonical_records.CanonicalForm("id", "labels", {"rgb": 2, key: 2})
  # Those of more than 64 bytes with what is around them are not compared.
  is_usual = len(key) < 50
  assert find_unusual(form, record) == ([] if is_usual else [0])
  assert values_of(ensure(record)[0]) == ([], [0.5, -2.0])


def test_records_with_very_much_beside_are_left_to_protobuf():
  text = tf.train.Feature(bytes_list={"value": [b"a" * 2**15]})
  features = tf.train.Example.FromString(USUAL["as written"]).features
  features.feature["text"].CopyFrom(text)
  record = tf.train.Example(features=features).SerializeToString()
  rewritten, usual = ensure(record, USUAL["as written"])
  assert values_of(rewritten) == ([3, 1], [0.5, -2.0])
  assert usual == USUAL["as written"]


@quick
@given(
  video_id=st.binary(min_size=1, max_size=400),
  labels=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40),
  size=st.integers(1, 40_000),
)
def test_what_protobuf_writes_arrives(video_id, labels, size):
  # Lengths are around 128, too, from where they take two bytes.
  made = tf.train.Example()
  feature = made.features.feature
  feature["id"].bytes_list.value.append(video_id)
  feature["labels"].int64_list.value.extend(labels)
  feature["rgb"].float_list.value.extend(np.arange(size).tolist())
  record = made.SerializeToString()
  form = canonical_records.CanonicalForm("id", "labels", {"rgb": size})
  is_short = len(video_id) < 100 and 0 < 10 * len(labels) < 100
  if is_short:
    assert find_unusual(form, record) == []
  (arrived,) = form.ensure(tf.constant([record])).numpy()
  assert tf.train.Example.FromString(arrived) == made


@quick
@given(
  data=st.binary(max_size=40), place=st.integers(0, 60), cut=st.integers(0, 3)
)
def test_what_is_usual_is_what_protobuf_reads(data, place, cut):
  record = USUAL["as written"]
  record = record[:place] + data + record[place + len(data) + cut :]
  (arrived,) = ensure(record)
  try:
    context = tf.train.SequenceExample.FromString(record).context
  except DecodeError:
    assert arrived == b""
    return
  context.DiscardUnknownFields()
  assert tf.train.Example.FromString(arrived).features == context
  spec = {"labels": tf.io.VarLenFeature(tf.int64)}
  try:
    parsed = tf.io.parse_single_example(arrived, spec)
  except tf.errors.InvalidArgumentError:
    assert context.feature["labels"].WhichOneof("kind") != "int64_list"
  else:
    labels = context.feature["labels"].int64_list.value
    assert parsed["labels"].values.numpy().tolist() == list(labels)


@pytest.mark.parametrize("size", [524_000, 524_288, 530_000])
def test_records_of_two_megabytes(size):
  made = tf.train.Example.FromString(USUAL["as written"])
  made.features.feature["rgb"].float_list.value[:] = [1.0] * size
  record = made.SerializeToString()
  form = canonical_records.CanonicalForm("id", "labels", {"rgb": size})
  is_short = len(record) < 2**21
  assert find_unusual(form, record) == ([] if is_short else [0])
  (arrived,) = form.ensure(tf.constant([record])).numpy()
  assert tf.train.Example.FromString(arrived) == made
