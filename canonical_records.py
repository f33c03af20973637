# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Lets TensorFlow's parser see only records in the form it takes for granted.

That is how protobuf's libraries write a tf.Example: one list for each feature,
its numbers packed. Others are as valid; of those the parser reads some with
wrong values and without a word (of a list in two parts only the first), and
writes the floats of some beyond the end of its memory (of a list that is not
packed and too long), which a hostile shard may be made for.

So the bytes around each feature's values are compared with the usual ones, for
all records of a batch at once. Protobuf parses those that differ, and writes
them anew. Among them are a few that are in the usual form: videos without
labels, or with more than about 100 bytes of labels or id, and records with
features that are not read, unless these are floats of the same size throughout.

The layout (https://protobuf.dev/programming-guides/encoding/):

  Example   { 1: Features }
  Features  { 1: map entry { 1: key, 2: Feature } ... in any order }
  Feature   { 1: BytesList, or 2: FloatList, or 3: Int64List }
  ...List   { 1: one string, or packed numbers }
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

_FIELD_1, _FIELD_2 = 0x0A, 0x12
# Of an entry, what is compared: 8 numbers of 8 bytes.
_PATTERN_BYTES = 64
# A record with more entries, or more bytes of features that are not read, is
# left to protobuf. No known data set comes near.
_MOST_ENTRIES = 32
_MOST_UNREAD_BYTES = 2**14
_MOST_PATTERNS = 62  # A bit of an int64 for each.


class CanonicalForm:
  """The usual form of a data set's records.

  Args:
    id_key: the key of the video's id.
    labels_key: the key of the labels.
    float_sizes: key -> number of values, of the float features to be read.
  """

  def __init__(
    self, id_key: str, labels_key: str, float_sizes: Mapping[str, int]
  ):
    self._read_keys = {id_key, labels_key, *float_sizes}
    one_string = tf.train.Feature(bytes_list={"value": [b"\0"]})
    one_number = tf.train.Feature(int64_list={"value": [0]})
    self._patterns = [
      _short_pattern(id_key, one_string),
      _short_pattern(labels_key, one_number),
      *(_float_pattern(key, size) for key, size in float_sizes.items()),
    ]
    # Key -> size, and pattern, of features that were met and are not read.
    self._unread: dict[str, tuple[int, _Pattern]] = {}
    self._longest = 4 * sum(float_sizes.values()) + _MOST_UNREAD_BYTES

  def ensure(self, records: tf.Tensor) -> tf.Tensor:
    """Brings records into the usual form; in a graph.

    Args:
      records: [K] string; tf.Examples, or tf.SequenceExamples of which only the
        context counts.

    Returns:
      [K] string, tf.Examples; b"" for what protobuf cannot parse.
    """
    num_bytes = tf.strings.length(records)
    longest = tf.reduce_max(tf.concat([num_bytes, [0]], axis=0))
    codes = tf.io.decode_raw(
      records,
      tf.uint8,
      # With zeros behind, so that a pattern's bytes are never out of bounds.
      fixed_length=tf.minimum(longest, self._longest) + _PATTERN_BYTES,
    )
    unusual = tf.numpy_function(self.find_unusual, [codes, num_bytes], tf.int64)

    def rewrite():
      rewritten = tf.numpy_function(
        self.rewrite, [tf.gather(records, unusual)], tf.string
      )
      return tf.tensor_scatter_nd_update(
        records, unusual[:, tf.newaxis], rewritten
      )

    return tf.cond(tf.size(unusual) > 0, rewrite, lambda: records)

  def find_unusual(
    self, codes: np.ndarray, num_bytes: np.ndarray
  ) -> np.ndarray:
    """Finds the records that are not in the usual form, or may not be.

    Args:
      codes: [K, bytes] uint8, serialized records, with zeros behind. Those that
        are cut are among the ones that are found.
      num_bytes: [K] int32, their sizes.

    Returns:
      [R] int64, their rows.
    """
    num_bytes = num_bytes.astype(np.int64)
    places, ends = _read_length(codes)
    is_usual = (codes[:, 0] == _FIELD_1) & (
      num_bytes <= codes.shape[1] - _PATTERN_BYTES
    )
    is_usual &= (ends == num_bytes) | _has_no_lists(codes, ends, num_bytes)
    keys_seen = np.zeros(len(codes), np.int64)
    # A copy, as another thread may learn of one.
    unread = [pattern for _, pattern in [*self._unread.values()]]
    patterns = [*self._patterns, *unread][:_MOST_PATTERNS]
    for _ in range(_MOST_ENTRIES):
      rows = np.flatnonzero(is_usual & (places < ends))
      if not len(rows):
        break
      key_bits, sizes = _match(patterns, _windows(codes, rows, places[rows]))
      is_usual[rows] = (sizes > 0) & (keys_seen[rows] & key_bits == 0)
      keys_seen[rows] |= key_bits
      places[rows] += sizes
    return np.flatnonzero(~is_usual | (places != ends))

  def rewrite(self, records: Sequence[bytes]) -> np.ndarray:
    """Writes records in the usual form.

    Args:
      records: R serialized tf.Examples or tf.SequenceExamples.

    Returns:
      [R] bytes, tf.Examples with what is in the context; b"" for what protobuf
      cannot parse.
    """
    return np.array([self._rewrite(record) for record in records], object)

  def _rewrite(self, record: bytes) -> bytes:
    try:
      # Its context is written as a tf.Example's features are.
      context = tf.train.SequenceExample.FromString(record).context
    except DecodeError:
      return b""
    for key, feature in context.feature.items():
      if key not in self._read_keys:
        self._learn_unread(key, len(feature.float_list.value))
    context.DiscardUnknownFields()
    return tf.train.Example(features=context).SerializeToString()

  def _learn_unread(self, key: str, size: int):
    """So that the next feature of this size need not be parsed."""
    known_size, _ = self._unread.get(key, (0, None))
    has_room = known_size or len(self._unread) < _MOST_ENTRIES
    if size and size != known_size and has_room:
      self._unread[key] = size, _float_pattern(key, size)


class _Pattern(NamedTuple):
  """The bytes of a map entry, up to its values.

  Attributes:
    masks: [n] uint64, with ones where `codes` says which bytes there are.
    codes: [n] uint64, bytes.
    lengths: the places of bytes that say how many come after them.
    num_bytes: the size of the entry; 0 if the first length says it.
  """

  masks: np.ndarray
  codes: np.ndarray
  lengths: Sequence[int]
  num_bytes: int

  def sizes(self, windows: np.ndarray) -> np.ndarray:
    """[R] int64, the entries' sizes; 0 for entries of another form.

    Args:
      windows: [R, _PATTERN_BYTES] uint8, the bytes from an entry's first one.
    """
    if len(self.codes) * 8 > _PATTERN_BYTES:  # The key is too long.
      return np.zeros(len(windows), np.int64)
    words = windows.view(np.uint64)
    found = np.ones(len(windows), bool)
    for n, (mask, code) in enumerate(zip(self.masks, self.codes, strict=True)):
      found &= words[:, n] & mask == code
    if not self.lengths:
      return found * self.num_bytes
    ends = windows[:, 1].astype(np.int64) + 2
    # Longer ones take two bytes to say so.
    found &= ends < 0x80
    for place in self.lengths:
      found &= windows[:, place] == ends - place - 1
    return found * ends


def _float_pattern(key: str, size: int) -> _Pattern:
  """Of a feature of `size` floats."""
  feature = tf.train.Feature(float_list={"value": np.zeros(size)})
  entry = _write_entry(key, feature)
  return _make_pattern(entry[: len(entry) - 4 * size], (), len(entry))


def _short_pattern(key: str, feature: tf.train.Feature) -> _Pattern:
  """Of a feature like this one, with up to about 100 bytes of values."""
  header = _write_entry(key, feature)[:-1]
  # The lengths of the entry, the feature, the list, and its values.
  lengths = (1, len(header) - 5, len(header) - 3, len(header) - 1)
  return _make_pattern(header, lengths, 0)


def _write_entry(key: str, feature: tf.train.Feature) -> bytes:
  return tf.train.Features(feature={key: feature}).SerializeToString()


def _make_pattern(
  header: bytes, lengths: Sequence[int], num_bytes: int
) -> _Pattern:
  mask = bytearray(b"\xff" * len(header))
  codes = bytearray(header)
  for place in lengths:
    mask[place] = codes[place] = 0
  masks, codes = (
    np.frombuffer(bytes(part).ljust(-(-len(header) // 8) * 8, b"\0"), np.uint64)
    for part in (mask, codes)
  )
  return _Pattern(masks, codes, lengths, num_bytes)


def _match(
  patterns: Sequence[_Pattern], windows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """[R] int64, a bit for each entry's pattern, and [R] int64, sizes; or 0."""
  bits = np.zeros(len(windows), np.int64)
  sizes = np.zeros(len(windows), np.int64)
  for number, pattern in enumerate(patterns):
    found = pattern.sizes(windows)
    sizes += found
    bits[found > 0] = 1 << number
  return bits, sizes


def _windows(
  codes: np.ndarray, rows: np.ndarray, places: np.ndarray
) -> np.ndarray:
  """[R, _PATTERN_BYTES] uint8: the bytes of some rows from their places on."""
  num_windows = codes.size - _PATTERN_BYTES + 1
  dtype = f"V{_PATTERN_BYTES}"
  windows = np.ndarray((num_windows,), dtype, codes, strides=(1,))
  found = windows[rows * codes.shape[1] + places]
  return found.view(np.uint8).reshape(-1, _PATTERN_BYTES)


def _has_no_lists(
  codes: np.ndarray, ends: np.ndarray, num_bytes: np.ndarray
) -> np.ndarray:
  """[K] bool: where an empty field 2 comes at the end.

  The YouTube-8M shards' video-level records are tf.SequenceExamples without
  frames.
  """
  at_end = np.clip(num_bytes - 2, 0, codes.shape[1] - 2)
  rows = np.arange(len(codes))
  return (
    (ends == num_bytes - 2)
    & (codes[rows, at_end] == _FIELD_2)
    & (codes[rows, at_end + 1] == 0)
  )


def _read_length(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Reads the length of a message, from its second byte on.

  Args:
    codes: [K, 4 or more] uint8; the first byte is the message's tag.

  Returns:
    [K] int64, where the message begins; and [K] int64, where it ends, -1 for
    those of 2 MB and more.
  """
  first, second, third = codes[:, 1:4].T.astype(np.int64)
  has_second = first >= 0x80
  has_third = has_second & (second >= 0x80)
  begin = 2 + has_second + has_third.astype(np.int64)
  length = (first & 0x7F) | has_second * ((second & 0x7F) << 7)
  end = begin + (length | has_third * (third << 14))
  return begin, np.where(has_third & (third >= 0x80), -1, end)
