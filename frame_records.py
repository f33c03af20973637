# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Frame-level records: from serialized bytes to arrays of 8-bit codes.

A tf.SequenceExample wraps every frame in three protobuf messages. Writers give
all frames of a feature the same few bytes of wrapping, so that the frames lie
at equal distances, and one strided copy takes them all out; a parser that makes
a string of each frame takes several times as long. Records written in another
way go through protobuf, with the same result.

The layout (https://protobuf.dev/programming-guides/encoding/):

  SequenceExample  { 1: context, 2: FeatureLists }
  FeatureLists     { 1: map entry { 1: name, 2: FeatureList } ... }
  FeatureList      { 1: Feature { 1: BytesList { 1: one frame } } ... }
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

# A field's tag: its number, and that its length comes next.
_FIELD_1, _FIELD_2 = 0x0A, 0x12
_LONGEST_LENGTH = 28  # Bits of the bytes of a length before its last one.
# What TensorFlow needs to take over an array without copying it.
_ALIGNMENT = 64


class FrameDecoder:
  """Decodes the frames of records.

  Args:
    feature_sizes: name -> bytes of a frame, of the features to decode.
    max_frames: longer videos are cut to this many frames.
  """

  def __init__(self, feature_sizes: Mapping[str, int], max_frames: int):
    self._max_frames = max_frames
    self._sizes = dict(feature_sizes)
    self._wrappings = {
      name: _wrapping(size) for name, size in feature_sizes.items()
    }
    self._wrapped_frames = {
      name: np.dtype(
        [
          ("wrapping", f"V{len(wrapping)}"),
          ("frame", np.uint8, (feature_sizes[name],)),
        ]
      )
      for name, wrapping in self._wrappings.items()
    }
    self._no_frames = {
      name: np.empty((0, size), np.uint8)
      for name, size in feature_sizes.items()
    }

  def decode(self, records: Sequence[bytes]) -> tuple[np.ndarray, ...]:
    """Frames of K records; what is wrong with one does not touch the others.

    Args:
      records: K serialized records.

    Returns:
      For each feature [K, max_frames, size] uint8, zero after a video's last
      frame; [K] int32, the number of frames; [K] bool, True where a feature
      is missing, a frame has another size, or features differ in their number
      of frames: those records have 0 frames; and [K] bytes, the records without
      frames, tf.Examples of their contexts. Where these are not found at once,
      it is the whole record.
    """
    shape = (len(records), self._max_frames)
    codes = {
      name: _aligned_array((*shape, size)) for name, size in self._sizes.items()
    }
    num_frames = np.zeros(len(records), np.int32)
    is_bad = np.zeros(len(records), bool)
    contexts = np.array(records, object)
    for row, record in enumerate(records):
      layout = find_layout(record)
      if layout:
        contexts[row] = record[slice(*layout.context)]
      frames = self._frames_of(record, layout)
      if frames is None:
        is_bad[row] = True
        frames = self._no_frames
      for name, array in codes.items():
        count = min(len(frames[name]), self._max_frames)
        array[row, :count] = frames[name][:count]
        array[row, count:] = 0
        num_frames[row] = count
    return (*codes.values(), num_frames, is_bad, contexts)

  def count(self, records: Sequence[bytes]) -> np.ndarray:
    """[K] int32: numbers of frames, not cut; 0 where `decode` says bad."""
    first = next(iter(self._sizes))
    found = (self._frames_of(record, find_layout(record)) for record in records)
    return np.array(
      [len((frames or self._no_frames)[first]) for frames in found], np.int32
    )

  def _frames_of(
    self, record: bytes, layout: "Layout | None"
  ) -> dict[str, np.ndarray] | None:
    """Name -> [number of frames, size] uint8; None if something is wrong."""
    frames = self._find_frames(record, layout) if layout else None
    if frames is None:
      frames = _parse_frames(record, self._sizes)
    if frames is None or len({len(values) for values in frames.values()}) > 1:
      return None
    return frames

  def _find_frames(
    self, record: bytes, layout: "Layout"
  ) -> dict[str, np.ndarray] | None:
    """As `_frames_of`, as views; None if it takes more than a strided copy."""
    frames = {}
    for name in self._sizes:
      if name.encode() not in layout.feature_lists:
        return None
      start, end = layout.feature_lists[name.encode()]
      wrapped_frame = self._wrapped_frames[name]
      count, rest = divmod(end - start, wrapped_frame.itemsize)
      if rest:
        return None
      wrapped = np.frombuffer(record, wrapped_frame, count, start)
      if wrapped["wrapping"].tobytes() != count * self._wrappings[name]:
        return None
      frames[name] = wrapped["frame"]
    return frames


class Layout(NamedTuple):
  """Where a serialized tf.SequenceExample has what.

  Attributes:
    context: first byte, and the byte after the last, of the context's field.
    feature_lists: name -> first byte, and the byte after the last, of a
      serialized tf.train.FeatureList.
  """

  context: tuple[int, int]
  feature_lists: dict[bytes, tuple[int, int]]


def find_layout(record: bytes) -> Layout | None:
  """The layout of a record.

  None where it is not laid out as every writer does it; it may be a valid one
  all the same.
  """
  lists, contexts, begin = {}, [], 0
  try:
    for tag, start, end in _fields(record, 0, len(record)):
      if tag == _FIELD_1:
        contexts.append((begin, end))
      elif tag != _FIELD_2:
        return None
      else:
        for entry_tag, *entry in _fields(record, start, end):
          (name_tag, *name), (value_tag, *value) = _fields(record, *entry)
          key = record[slice(*name)]
          tags = (entry_tag, name_tag, value_tag)
          if tags != (_FIELD_1, _FIELD_1, _FIELD_2) or key in lists:
            return None
          if not key.isascii():  # Perhaps no UTF-8, and so no record.
            return None
          lists[key] = tuple(value)
      begin = end
  except (IndexError, ValueError):  # It ends too early; too many fields.
    return None
  return Layout(*contexts, lists) if len(contexts) == 1 else None


def _fields(
  record: bytes, position: int, end: int
) -> Iterator[tuple[int, int, int]]:
  """(tag, first byte, byte after the last) of a message's fields."""
  while position < end:
    tag = record[position]
    length, shift = 0, 0
    while True:
      position += 1
      byte = record[position]
      length |= (byte & 0x7F) << shift
      shift += 7
      if byte < 0x80:
        break
      if shift > _LONGEST_LENGTH:
        raise ValueError("no length of a record under 2 GB")
    start, position = position + 1, position + 1 + length
    if position > end:
      raise ValueError("a field is longer than its message")
    yield tag, start, position


def _wrapping(size: int) -> bytes:
  """The bytes before each frame of this size, as protobuf writes them."""
  frame = tf.train.BytesList(value=[bytes(size)])
  frames = tf.train.FeatureList(feature=[tf.train.Feature(bytes_list=frame)])
  return frames.SerializeToString()[:-size]


def _parse_frames(
  record: bytes, sizes: Mapping[str, int]
) -> dict[str, np.ndarray] | None:
  """Name -> [number of frames, size] uint8; None if something is wrong."""
  try:
    lists = tf.train.SequenceExample.FromString(record).feature_lists
  except DecodeError:
    return None
  frames = {}
  for name, size in sizes.items():
    if name not in lists.feature_list:
      return None
    features = lists.feature_list[name].feature
    values = [list(feature.bytes_list.value) for feature in features]
    if any(len(value) != 1 or len(value[0]) != size for value in values):
      return None
    joined = b"".join(value[0] for value in values)
    frames[name] = np.frombuffer(joined, np.uint8).reshape(-1, size)
  return frames


def _aligned_array(shape: tuple[int, ...]) -> np.ndarray:
  """An uninitialised uint8 array that TensorFlow can use as it is."""
  num_bytes = math.prod(shape)
  buffer = np.empty(num_bytes + _ALIGNMENT, np.uint8)
  first = -buffer.ctypes.data % _ALIGNMENT
  return buffer[first : first + num_bytes].reshape(shape)
