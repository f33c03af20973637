# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Records: from serialized bytes to arrays and a mask of the bad ones.

`Decoder` turns a list of records into arrays with numpy. Protobuf's libraries
write almost every record in the same form: the values of a feature lie in one
piece, and around them lie nothing but tags and lengths. The decoder follows
these tags and lengths through all records at once, from map entry to map entry,
and copies the values; any other record is parsed by protobuf, with the same
result. TensorFlow's own parser is not used: it reads some valid records of
another form with wrong values and without a word (of a list in two parts only
the first), and writes the floats of some beyond the end of its memory.

The layout (https://protobuf.dev/programming-guides/encoding/); a tf.Example is
a valid tf.SequenceExample without feature lists:

  SequenceExample  { 1: context, 2: FeatureLists }
  context          { 1: map entry { 1: key, 2: Feature } ... in any order }
  FeatureLists     { 1: map entry { 1: key, 2: FeatureList } ... }
  FeatureList      { 1: Feature { 1: BytesList { 1: one frame } } ... }
  Feature          { 1: BytesList, or 2: FloatList, or 3: Int64List }
  ...List          { 1: one string, or packed numbers }
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from program import UserError

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

import utils

LABELS_KEY = "labels"
ID_KEYS = ("id", "video_id")
# Features in the order in which they are concatenated; whichever a record has.
FRAME_FEATURES = ("inc3", "rgb", "audio", "audio_embedding")
VIDEO_FEATURES = ("mean_inc3", "mean_rgb", "mean_audio")

# A field's tag: its number, and that a length comes next.
_FIELD_1, _FIELD_2, _FIELD_3 = 0x0A, 0x12, 0x1A
_KIND_TAGS = {
  "bytes_list": _FIELD_1,
  "float_list": _FIELD_2,
  "int64_list": _FIELD_3,
}
# Bytes of a map entry that are looked at: its tags and lengths, and a key's
# field of at most `_HEADER_BYTES`.
_WINDOW_BYTES, _HEADER_BYTES = 88, 56
# Shifts of the four bytes of a length. Longer records, from 256 MB on, are left
# to protobuf.
_LENGTH_SHIFTS = (0, 7, 14, 21)
# Nine bytes hold every label that is not negative.
_MOST_VARINT_BYTES = 9
# Records with more entries are left to protobuf. No known data set comes near.
_MOST_ENTRIES = 32
# Values of several records are copied together while they are small.
_RUN_BYTES = 2**17
# TensorFlow takes over an array without a copy if it has this alignment.
_ALIGNMENT = 64

# AudioSet clips are 10 s; padding them to 300 frames would waste 97%.
_SHORT_CLIP_FEATURE, _SHORT_CLIP_FRAMES = "audio_embedding", 10
_NO_EXAMPLE = "it is neither a tf.Example nor a tf.SequenceExample"


class Problem(NamedTuple):
  """A problem of a record.

  Attributes:
    cause: the kind of problem, in a few words that all of its kind share.
    detail: what is wrong; to be shown after the names of shard and record.
  """

  cause: str
  detail: str


NO_EXAMPLE = Problem("no example", _NO_EXAMPLE)
NO_LABELS = Problem("no labels", f"it has no {LABELS_KEY!r}")


class Decoder:
  """Decodes a data set's records, and says what is wrong with one.

  Each feature has a kind: float features are [D] float32, frame features are
  [max_frames, D] uint8 codes.

  Args:
    id_key: the key of the video's id.
    num_classes: labels are in [0, num_classes).
    float_sizes: key -> number of values, of the float features to be read.
    frame_sizes: key -> bytes of a frame, of the frame features to be read.
    max_frames: longer videos are cut to this many frames.
  """

  def __init__(
    self,
    id_key: str,
    num_classes: int,
    float_sizes: Mapping[str, int] | None = None,
    frame_sizes: Mapping[str, int] | None = None,
    max_frames: int = 1,
  ):
    self.id_key = id_key
    self._num_classes = num_classes
    self._float_sizes = dict(float_sizes or {})
    self._frame_sizes = dict(frame_sizes or {})
    self._max_frames = max_frames
    self._wrappings = {
      key: _wrapping(size) for key, size in self._frame_sizes.items()
    }
    self._features = _Entries(
      _Entry.of_feature(key, kind)
      for key, kind in {
        id_key: "bytes_list",
        LABELS_KEY: "int64_list",
        **dict.fromkeys(self._float_sizes, "float_list"),
      }.items()
    )
    self._lists = _Entries(
      _Entry.of_list(key, len(self._wrappings[key]) + size)
      for key, size in self._frame_sizes.items()
    )

  def decode(
    self, records: Sequence[bytes], with_labels: bool = True
  ) -> tuple[dict[str, Any], np.ndarray]:
    """Decodes K records; what is wrong with one does not touch the others.

    Args:
      records: K serialized records.
      with_labels: False where the records need not have labels; those that
        they have are left out.

    Returns:
      A dict of "video_ids", [K] bytes; "features", a dict of [K, D] float32 or
      [K, max_frames, D] uint8, zero after a video's last frame; "num_frames",
      [K] int32, of the whole video, 1 without frame features; "labels",
      [K, num_classes] float32. And [K] bool, True for the bad records, whose
      rows mean nothing.
    """
    is_bad = np.zeros(len(records), bool)
    labels = _aligned_zeros((len(records), self._num_classes), np.float32)
    layout = _find_layout(records, has_lists=bool(self._frame_sizes))
    context = self._features.find(records, layout.contexts, layout.is_usual)
    self._copy_labels(records, context, with_labels, labels, is_bad)
    ids = context.strings(records, self.id_key)
    floats = self._copy_floats(records, context, is_bad)
    for row in np.flatnonzero(~context.is_usual):
      data = records[row]
      if layout.is_usual[row]:
        data = data[: layout.contexts.stops[row]]
      values = {name: array[row] for name, array in floats.items()}
      ids[row], is_bad[row] = self._parse_context(
        data, with_labels, labels[row], values
      )
    for values in floats.values():
      is_bad |= ~np.isfinite(values).all(axis=1)
    is_bad |= ids == b""
    frames, num_frames = self._decode_frames(records, layout, is_bad)
    batch = {
      "video_ids": ids,
      "features": {**floats, **frames},
      "num_frames": num_frames,
      "labels": labels,
    }
    return batch, is_bad

  def _copy_floats(self, records, context, is_bad) -> dict[str, np.ndarray]:
    """Copies the float features of records of the usual form."""
    floats = {}
    for key, size in self._float_sizes.items():
      spans = context.spans[key]
      is_right = context.is_usual & (spans.sizes == 4 * size)
      is_bad |= context.is_usual & ~is_right
      array = _aligned_zeros((len(records), size), np.float32)
      for run in _runs(np.flatnonzero(is_right), spans.sizes):
        array[run] = np.frombuffer(
          spans.read(records, run), np.dtype("<f4")
        ).reshape(-1, size)
      floats[key] = array
    return floats

  def _copy_labels(self, records, context, with_labels, labels, is_bad):
    """Sets the labels of records of the usual form."""
    spans = context.spans[LABELS_KEY]
    rows = np.flatnonzero(context.is_usual & (spans.sizes > 0))
    found, values, is_sound = _read_varints(
      spans.read(records, rows), spans.sizes[rows]
    )
    context.is_usual[rows] &= is_sound
    if not with_labels:
      return
    is_inside = values < self._num_classes
    labels[rows[found[is_inside]], values[is_inside]] = 1
    labels[~context.is_usual] = 0
    is_bad[rows[found[~is_inside]]] = True
    is_bad |= context.is_usual & (spans.starts < 0)

  def _parse_context(self, data, with_labels, labels, floats):
    """Fills a row with protobuf; returns the id, and whether it is bad."""
    parsed = parse(data)
    if parsed is None:
      return b"", True
    context = parsed[0]
    self._features.learn(
      _Entry.of_feature(key, kind)
      for key, feature in context.items()
      if (kind := feature.WhichOneof("kind")) in ("bytes_list", "float_list")
    )
    if self._describe_floats(context, {}):
      return b"", True
    if with_labels:
      if self._describe_labels(context):
        return b"", True
      labels[list(context[LABELS_KEY].int64_list.value)] = 1
    for key, values in floats.items():
      values[:] = context[key].float_list.value
    return only_bytes(context.get(self.id_key)), False

  def _decode_frames(self, records, layout, is_bad):
    """Decodes the frame features; returns them, and the numbers of frames."""
    if not self._frame_sizes:
      return {}, np.ones(len(records), np.int32)
    lists = self._lists.find(records, layout.lists, layout.is_usual)
    arrays, counts = {}, {}
    for key, size in self._frame_sizes.items():
      shape = (len(records), self._max_frames, size)
      arrays[key] = _aligned_zeros(shape, np.uint8)
      spans, wrapping = lists.spans[key], self._wrappings[key]
      is_bad |= lists.is_usual & (spans.starts < 0)
      counts[key] = spans.sizes // (len(wrapping) + size)
      rows = np.flatnonzero(lists.is_usual & ~is_bad)
      for run in _runs(rows, spans.sizes):
        data = spans.read(records, run)
        copied = _copy_frames(
          data, run, counts[key][run], wrapping, arrays[key]
        )
        lists.is_usual[run] &= copied
    for row in np.flatnonzero(~lists.is_usual & ~is_bad):
      is_bad[row] = not self._parse_frames(records[row], row, arrays, counts)
    first, *others = counts.values()
    for other in others:
      is_bad |= first != other
    return arrays, np.where(is_bad, 0, first).astype(np.int32)

  def _parse_frames(self, record, row, arrays, counts) -> bool:
    """Fills a row's frames with protobuf; returns whether they are right."""
    context, lists = parse(record) or ({}, {})
    self._lists.learn(_Entry.of_list(key, 1) for key in lists)
    if self._describe_frames(context, lists):
      return False
    for key, size in self._frame_sizes.items():
      frames = [only_bytes(frame) for frame in lists[key].feature]
      counts[key][row] = len(frames)
      arrays[key][row] = 0
      frames = frames[: self._max_frames]
      arrays[key][row, : len(frames)] = np.frombuffer(
        b"".join(frames), np.uint8
      ).reshape(-1, size)
    return True

  def describe(self, record: bytes, with_labels: bool = True) -> Problem | None:
    """The problem of a serialized record; None if it has none."""
    parsed = parse(record)
    if parsed is None:
      return NO_EXAMPLE
    context, lists = parsed
    if self.id_key not in context:
      have = listing([*context, *lists])
      return Problem("no id", f"it has no {self.id_key!r}; it has {have}")
    if not only_bytes(context[self.id_key]):
      return Problem(
        "no id", f"its {self.id_key!r} is not one string, or empty"
      )
    problem = self._describe_floats(context, lists)
    problem = problem or self._describe_frames(context, lists)
    return problem or (self._describe_labels(context) if with_labels else None)

  def _describe_labels(self, context) -> Problem | None:
    if LABELS_KEY not in context:
      return NO_LABELS
    labels = context[LABELS_KEY]
    if labels.WhichOneof("kind") not in (None, "int64_list"):
      return Problem("labels no integers", "its labels are not integers")
    for label in labels.int64_list.value:
      if not 0 <= label < self._num_classes:
        return Problem(
          "label out of range",
          f"its label {label} is outside [0, {self._num_classes}); check "
          "--num_classes",
        )
    return None

  def _describe_floats(self, context, lists) -> Problem | None:
    for name, size in self._float_sizes.items():
      if name not in context:
        have = listing([*context, *lists])
        return Problem(
          "missing feature", f"it has no feature {name!r}; it has {have}"
        )
      values = context[name].float_list.value
      if len(values) != size:
        return Problem(
          "wrong feature size",
          f"its {name!r} has {len(values)} floats, {size} were expected",
        )
      if not np.isfinite(values).all():
        return Problem(
          "feature not finite", f"its {name!r} has values that are not finite"
        )
    return None

  def _describe_frames(self, context, lists) -> Problem | None:
    lengths = {}
    for name, size in self._frame_sizes.items():
      if name not in lists:
        have = listing([*context, *lists])
        return Problem(
          "missing feature", f"it has no frame feature {name!r}; it has {have}"
        )
      lengths[name] = len(lists[name].feature)
      for number, frame in enumerate(lists[name].feature):
        if len(frame.bytes_list.value) != 1:
          return Problem(
            "wrong frame", f"frame {number} of its {name!r} is not one string"
          )
        num_bytes = len(only_bytes(frame))
        if num_bytes != size:
          return Problem(
            "wrong feature size",
            f"frame {number} of its {name!r} has {num_bytes} bytes, {size} "
            "were expected",
          )
    if len(set(lengths.values())) > 1:
      counts = ", ".join(f"{n} of {name}" for name, n in lengths.items())
      return Problem(
        "numbers of frames differ",
        f"its features differ in their number of frames: {counts}",
      )
    return None


# With protobuf


def parse(record: bytes) -> tuple[dict, dict] | None:
  """A record's context and feature lists, or None where it is no example."""
  try:
    example = tf.train.SequenceExample.FromString(record)
  except DecodeError:
    return None
  context = dict(example.context.feature)
  lists = dict(example.feature_lists.feature_list)
  return (context, lists) if context or lists else None


def only_bytes(feature: tf.train.Feature | None) -> bytes:
  """A feature's string; b"" where it is not exactly one."""
  values = feature.bytes_list.value if feature else ()
  return values[0] if len(values) == 1 else b""


def listing(names: Iterable[str]) -> str:
  """Names as messages list them."""
  return ", ".join(sorted(names)) or "nothing"


def find_video_id(data: bytes, *id_keys: str) -> str | None:
  """The id in a serialized record, damaged ones included; None if not found."""
  context, _ = parse(data) or ({}, {})
  for id_key in id_keys:
    video_id = only_bytes(context.get(id_key))
    if not video_id:
      # As it is serialized: the key, then three lengths, the id's own last.
      key = b"\n" + bytes([len(id_key)]) + id_key.encode() + b"\x12"
      entry = re.search(re.escape(key) + rb".\n.\n(.)", data, re.DOTALL)
      if entry:
        video_id = data[entry.end() : entry.end() + entry[1][0]]
    if video_id:
      return video_id.decode(errors="backslashreplace")
  return None


# How records are laid out


def place(shard: str, number: int, video_id: str | None = None) -> str:
  """How messages name a record."""
  video = f" (video {video_id!r})" if video_id else ""
  return f"{shard!r}, record {number}{video}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schema:
  """How a shard's records are laid out, as its first record shows it."""

  shard: str
  frame_features: bool
  id_key: str
  feature_names: tuple[str, ...]
  feature_sizes: tuple[int, ...]
  max_frames: int
  has_labels: bool
  record_bytes: int


class LayoutError(UserError):
  """A record shows no layout of the YouTube-8M datasets.

  Attributes:
    detail: what is wrong with it.
  """

  def __init__(self, where: str, detail: str):
    super().__init__(f"{where}: {detail}.")
    self.detail = detail


def schema_of(
  record: bytes,
  shard: str,
  number: int,
  asked: Sequence[str] | None = None,
) -> Schema:
  """How a record is laid out.

  Args:
    record: serialized.
    shard: its shard, for messages.
    number: its number there, for messages.
    asked: the features to read; None takes those of the dataset that it has.

  Returns:
    Its schema; a feature without frames has size 0.

  Raises:
    LayoutError: it is no YouTube-8M record.
    UserError: it is without the features asked for.
  """
  parsed = parse(record)
  if parsed is None:
    raise LayoutError(place(shard, number), NO_EXAMPLE.detail)
  context, frame_lists = parsed
  id_key = next((key for key in ID_KEYS if key in context), None)
  if id_key is None:
    raise LayoutError(
      place(shard, number),
      "it has neither 'id' nor 'video_id'; it has "
      f"{listing([*context, *frame_lists])}",
    )
  where = place(shard, number, find_video_id(record, id_key))
  sizes = _float_sizes(context, {*ID_KEYS, LABELS_KEY})
  names = _choose_features(
    frame_lists or sizes, asked, bool(frame_lists), shard
  )
  if not names:  # With frames there would be one.
    raise LayoutError(where, "it has no video-level feature")
  for name in names if frame_lists else ():
    sizes[name] = _frame_size(name, frame_lists[name], where)
  return Schema(
    shard=shard,
    frame_features=bool(frame_lists),
    id_key=id_key,
    feature_names=names,
    feature_sizes=tuple(sizes[name] for name in names),
    max_frames=_default_max_frames(names, frame_lists),
    has_labels=LABELS_KEY in context,
    record_bytes=len(record),
  )


def _choose_features(sizes, asked, frame_level: bool, shard: str):
  level = "frame" if frame_level else "video"
  if asked:
    missing = [name for name in asked if name not in sizes]
    if missing:
      raise UserError(
        f"The model reads feature {missing[0]!r} (--feature_names), but "
        f"{shard!r} has the {level}-level features {listing(sizes)}."
      )
    return tuple(asked)
  known = FRAME_FEATURES if frame_level else VIDEO_FEATURES
  return tuple(name for name in known if name in sizes) or tuple(sorted(sizes))


def _default_max_frames(names, frame_lists) -> int:
  if not frame_lists:
    return 1
  longest = max(len(frame_lists[name].feature) for name in names)
  is_short_clip = (
    tuple(names) == (_SHORT_CLIP_FEATURE,) and longest <= _SHORT_CLIP_FRAMES
  )
  return _SHORT_CLIP_FRAMES if is_short_clip else utils.MAX_FRAMES


def _frame_size(name: str, frames, where: str) -> int:
  """Bytes of a feature's first frame; 0 where there is none."""
  if not frames.feature:
    return 0
  kind = frames.feature[0].WhichOneof("kind")
  if kind != "bytes_list":
    raise LayoutError(
      where,
      f"frames of {name!r} are of type {kind}; one byte string of 8-bit codes "
      "for each frame is expected (bytes_list)",
    )
  return len(only_bytes(frames.feature[0]))


def _float_sizes(context, without: set[str]) -> dict[str, int]:
  return {
    name: len(feature.float_list.value)
    for name, feature in context.items()
    if feature.WhichOneof("kind") == "float_list" and name not in without
  }


# With numpy


class _Spans(NamedTuple):
  """A piece of each of K records; [K] int64 each, -1 where there is none."""

  starts: np.ndarray
  stops: np.ndarray

  @property
  def sizes(self) -> np.ndarray:
    """[K] int64, numbers of bytes."""
    return self.stops - self.starts

  def read(self, records: Sequence[bytes], rows: np.ndarray) -> bytes:
    """The bytes of some of the records, one after the other."""
    places = zip(
      rows.tolist(),
      self.starts[rows].tolist(),
      self.stops[rows].tolist(),
      strict=True,
    )
    parts = [
      memoryview(records[row])[start:stop] for row, start, stop in places
    ]
    return parts[0] if len(parts) == 1 else b"".join(parts)


class _Layout(NamedTuple):
  """The places of the parts of K records.

  Attributes:
    contexts: the context's field, from its first map entry on.
    lists: the FeatureLists' field, from its first map entry on.
    is_usual: [K] bool, whether there are these two fields and nothing else.
  """

  contexts: _Spans
  lists: _Spans
  is_usual: np.ndarray


class _Entry(NamedTuple):
  """A map entry as protobuf writes it.

  Attributes:
    key: the entry's key.
    tags: tags of the messages around the values, the outermost first.
    unit: the number of bytes of the values is divisible by it.
  """

  key: str
  tags: tuple[int, ...]
  unit: int

  @classmethod
  def of_feature(cls, key: str, kind: str) -> "_Entry":
    """An entry of a context."""
    tags = (_FIELD_2, _KIND_TAGS[kind], _FIELD_1)
    return cls(key, tags, 4 if kind == "float_list" else 1)

  @classmethod
  def of_list(cls, key: str, unit: int) -> "_Entry":
    """An entry of a FeatureLists, whose values are wrapped frames."""
    return cls(key, (_FIELD_2,), unit)

  @property
  def header(self) -> bytes:
    """The key's field."""
    key = self.key.encode()
    return bytes([_FIELD_1, len(key) & 0x7F]) + key


class _Found(NamedTuple):
  """The places of entries that were found without protobuf.

  Attributes:
    spans: key -> where the values are.
    is_usual: [K] bool, False for records that protobuf has to parse.
  """

  spans: dict[str, _Spans]
  is_usual: np.ndarray

  def strings(self, records: Sequence[bytes], key: str) -> np.ndarray:
    """[K] object, the values as bytes; b"" where there are none."""
    starts, stops = (places.tolist() for places in self.spans[key])
    values = np.empty(len(records), object)
    values[:] = [
      record[max(start, 0) : max(stop, 0)]
      for record, start, stop in zip(records, starts, stops, strict=True)
    ]
    return values


class _Entries:
  """The map entries that are found without protobuf.

  Those that are read, and those of other keys that protobuf has met: they are
  passed over in the next records.
  """

  def __init__(self, entries: Iterable[_Entry]):
    self._read = {entry.key: entry for entry in entries}
    self._unread: dict[str, _Entry] = {}

  def learn(self, entries: Iterable[_Entry]):
    """Remembers entries that were met, so that protobuf need not parse them."""
    for entry in entries:
      is_new = entry.key not in self._unread
      is_full = is_new and len(self._unread) >= _MOST_ENTRIES
      if entry.key not in self._read and not is_full:
        # A new dict, since another thread may be iterating over the old one.
        self._unread = {**self._unread, entry.key: entry}

  def find(self, records, spans: _Spans, is_usual: np.ndarray) -> _Found:
    """Follows the map entries of a field.

    Args:
      records: K serialized records.
      spans: the field in each of them.
      is_usual: [K] bool, the records to look at.

    Returns:
      Where the values of the read keys are. In records of the usual form there
      are no other values, and no key comes twice.
    """
    entries = [*self._read.values(), *self._unread.values()]
    starts = np.full((len(entries) + 1, len(records)), -1)
    stops = starts.copy()
    places, is_usual = spans.starts.copy(), is_usual.copy()
    for _ in range(_MOST_ENTRIES):
      rows = np.flatnonzero(is_usual & (places < spans.stops))
      if not rows.size:
        break
      windows = _windows(records, rows, places[rows])
      numbers, begins, ends = _match(entries, windows)
      is_usual[rows] = (numbers >= 0) & (starts[numbers, rows] < 0)
      starts[numbers, rows] = places[rows] + begins
      places[rows] += ends
      stops[numbers, rows] = places[rows]
    found = {
      key: _Spans(starts[number], stops[number])
      for number, key in enumerate(self._read)
    }
    return _Found(found, is_usual & (places == spans.stops))


def _match(
  entries: Sequence[_Entry], windows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Finds out which entries R windows begin with.

  Returns:
    [R] int64 each: the entry's number, -1 where it is none of them; where its
    values begin; and where they and the entry end.
  """
  tags, begins, ends = _read_field(windows, np.zeros(len(windows), np.int64))
  headers = _gather(windows, begins)
  is_usual = tags == _FIELD_1
  numbers = np.full(len(windows), -1)
  for number, entry in enumerate(entries):
    size = len(entry.header)
    if size <= _HEADER_BYTES:
      is_it = (headers[:, :size] == list(entry.header)).all(axis=1)
      numbers[is_it] = number
  if not entries:
    return numbers, begins, ends
  sizes = np.minimum([len(entry.header) for entry in entries], _HEADER_BYTES)
  begins = begins + sizes[numbers]
  for level_tags in np.array([entry.tags for entry in entries]).T:
    tags, begins, inner_ends = _read_field(windows, begins)
    is_usual &= (tags == level_tags[numbers]) & (inner_ends == ends)
  units = np.array([entry.unit for entry in entries])[numbers]
  is_usual &= (ends - begins) % units == 0
  return np.where(is_usual, numbers, -1), begins, ends


def _find_layout(records: Sequence[bytes], has_lists: bool) -> _Layout:
  """Finds the two fields of records.

  Args:
    records: K serialized records.
    has_lists: whether the lists may hold anything.
  """
  sizes = np.fromiter(map(len, records), np.int64, len(records))
  rows, zeros = np.arange(len(records)), np.zeros(len(records), np.int64)
  windows = _windows(records, rows, zeros)
  tags, starts, stops = _read_field(windows, zeros)
  is_usual = (tags == _FIELD_1) & (stops <= sizes)
  windows = _windows(records, rows, stops)
  tags, list_starts, list_stops = _read_field(windows, zeros)
  ends = stops == sizes
  list_starts = np.where(ends, sizes, stops + list_starts)
  list_stops = np.where(ends, sizes, stops + list_stops)
  is_usual &= ends | ((tags == _FIELD_2) & (list_stops == sizes))
  if not has_lists:
    is_usual &= list_starts == list_stops
  return _Layout(
    _Spans(starts, stops), _Spans(list_starts, list_stops), is_usual
  )


def _windows(records, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
  """[R, _WINDOW_BYTES] uint8: bytes from places of rows on, zeros behind."""
  parts = [
    records[row][place : place + _WINDOW_BYTES].ljust(_WINDOW_BYTES, b"\0")
    for row, place in zip(rows.tolist(), places.tolist(), strict=True)
  ]
  return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, _WINDOW_BYTES)


def _gather(windows: np.ndarray, offsets: np.ndarray) -> np.ndarray:
  """[R, _HEADER_BYTES] uint8: bytes of the windows from offsets on."""
  count = max(0, windows.size - _HEADER_BYTES + 1)
  pieces = np.ndarray((count,), f"V{_HEADER_BYTES}", windows, strides=(1,))
  found = pieces[np.arange(len(windows)) * _WINDOW_BYTES + offsets]
  return found.view(np.uint8).reshape(-1, _HEADER_BYTES)


def _read_field(
  windows: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Reads a tag and a length.

  Args:
    windows: [R, _WINDOW_BYTES] uint8.
    offsets: [R] int64, where the tags are.

  Returns:
    [R] uint8, the tags; [R] int64, where the contents begin and end. Of a
    length of more bytes than are read, they end beyond every record.
  """
  rows = np.arange(len(windows))
  tags, begins = windows[rows, offsets], offsets + 1
  lengths = np.zeros(len(windows), np.int64)
  has_more = np.ones(len(windows), bool)
  for shift in _LENGTH_SHIFTS:
    codes = windows[rows, begins].astype(np.int64)
    lengths += (codes & 0x7F) * has_more << shift
    begins = begins + has_more
    has_more &= codes >= 0x80
    if not has_more.any():
      break
  lengths[has_more] = 2**40
  return tags, begins, begins + lengths


def _read_varints(
  data: bytes, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Reads packed numbers.

  Args:
    data: the numbers of R rows, one row after the other.
    sizes: [R] int64, the rows' numbers of bytes, at least 1.

  Returns:
    [N] int64, the row of each number; [N] int64, the numbers; and [R] bool,
    False for rows that protobuf has to read: a number does not end in its row,
    or has more bytes than one that is not negative.
  """
  codes = np.frombuffer(data, np.uint8)
  rows = np.repeat(np.arange(len(sizes)), sizes)
  is_sound = np.ones(len(sizes), bool)
  if not codes.size:
    return rows, rows, is_sound
  is_last = codes < 0x80
  row_ends = np.cumsum(sizes) - 1
  is_sound &= is_last[row_ends]
  is_last[row_ends] = True
  lasts = np.flatnonzero(is_last)
  firsts = np.concatenate([[0], lasts[:-1] + 1])
  lengths = lasts - firsts + 1
  is_sound[rows[lasts[lengths > _MOST_VARINT_BYTES]]] = False
  offsets = np.arange(len(codes)) - np.repeat(firsts, lengths)
  shifts = 7 * np.minimum(offsets, _MOST_VARINT_BYTES - 1)
  numbers = np.add.reduceat((codes & 0x7F).astype(np.int64) << shifts, firsts)
  is_kept = is_sound[rows[lasts]]
  return rows[lasts[is_kept]], numbers[is_kept], is_sound


def _runs(rows: np.ndarray, sizes: np.ndarray) -> Iterator[np.ndarray]:
  """Splits rows into runs whose bytes fit into a processor's cache.

  Args:
    rows: [R] int64.
    sizes: [K] int64, the bytes of every row.
  """
  if rows.size:
    numbers = np.cumsum(sizes[rows]) // _RUN_BYTES
    yield from np.split(rows, np.flatnonzero(np.diff(numbers)) + 1)


def _copy_frames(
  data: bytes,
  rows: np.ndarray,
  counts: np.ndarray,
  wrapping: bytes,
  array: np.ndarray,
) -> np.ndarray:
  """Copies frames without what is wrapped around each.

  Args:
    data: the wrapped frames of R rows, one row after the other.
    rows: [R] int64, where in `array` they belong.
    counts: [R] int64, numbers of frames.
    wrapping: the bytes before each frame.
    array: [K, T, D] uint8, where they are written; those after T are not.

  Returns:
    [R] bool, False for rows in which a frame is wrapped in another way.
  """
  _, most, size = array.shape
  wrapped = np.frombuffer(
    data, [("wrapping", f"V{len(wrapping)}"), ("frame", f"V{size}")]
  )
  ends, is_right = np.cumsum(counts), np.ones(len(rows), bool)
  if wrapped["wrapping"].tobytes() != wrapping * len(wrapped):
    codes = np.frombuffer(data, np.uint8).reshape(len(wrapped), -1)
    is_other = (codes[:, : len(wrapping)] != list(wrapping)).any(axis=1)
    others = np.concatenate([[0], np.cumsum(is_other)])
    is_right = others[ends] == others[ends - counts]
  frames = array.view(f"V{size}").reshape(-1)
  if len(rows) == 1:
    count = min(len(wrapped), most)
    start = rows[0] * most
    frames[start : start + count] = wrapped["frame"][:count]
  else:
    offsets = np.arange(len(wrapped)) - np.repeat(ends - counts, counts)
    is_kept = offsets < most
    places = np.repeat(rows * most, counts) + offsets
    frames[places[is_kept]] = wrapped["frame"][is_kept]
  return is_right


def _wrapping(size: int) -> bytes:
  """The bytes before each frame of this size, as protobuf writes them."""
  frame = tf.train.BytesList(value=[bytes(size)])
  frames = tf.train.FeatureList(feature=[tf.train.Feature(bytes_list=frame)])
  return frames.SerializeToString().removesuffix(bytes(size))


def _aligned_zeros(shape: tuple[int, ...], dtype) -> np.ndarray:
  """Zeros that TensorFlow can use as they are."""
  num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
  buffer = np.zeros(num_bytes + _ALIGNMENT, np.uint8)
  first = -buffer.ctypes.data % _ALIGNMENT
  return buffer[first : first + num_bytes].view(dtype).reshape(shape)
