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
import functools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from program import UserError

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

import utils

# The keys that labels and ids have, here and in MediaPipe's records. Of several
# that a record has, the first counts.
LABELS_KEYS = ("labels", "clip/label/index")
ID_KEYS = ("id", "video_id", "clip/data_path")
# Features in the order in which they are concatenated; whichever a record has.
FRAME_FEATURES = (
  *("inc3", "rgb", "audio", "audio_embedding"),
  *("RGB/feature/floats", "AUDIO/feature/floats"),  # MediaPipe's.
)
VIDEO_FEATURES = ("mean_inc3", "mean_rgb", "mean_audio")
# Kinds of features: numbers of the whole video; a string of 8-bit codes for
# each frame; numbers for each frame.
VECTOR, CODES, FLOATS = "vector", "codes", "floats"
KINDS = (VECTOR, CODES, FLOATS)

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
# Mean size up to which records are joined.
_SHORT_BYTES = 2**13
# Mean size of pieces up to which numpy takes them byte by byte.
_SHORT_PIECE = 64
# Values of several records are copied together while they are small.
_RUN_BYTES = 2**17
# TensorFlow takes over an array without a copy if it has this alignment.
_ALIGNMENT = 64
# Raters saw a video in segments of this length, with one frame a second.
SEGMENT_SECS = 5
# AudioSet clips are 10 s; padding them to 300 frames would waste 97%.
_SHORT_CLIP_FEATURE, _SHORT_CLIP_FRAMES = "audio_embedding", 10


class Problem(NamedTuple):
  """A problem of a record.

  Attributes:
    cause: the kind of problem, in a few words that all of its kind share.
    detail: what is wrong; to be shown after the names of shard and record.
  """

  cause: str
  detail: str


NO_EXAMPLE = Problem(
  "no example", "it is neither a tf.Example nor a tf.SequenceExample"
)


class Form(NamedTuple):
  """The form that a feature has in a record.

  Attributes:
    kind: `VECTOR`, `CODES` or `FLOATS`.
    size: numbers of the vector, or of each frame.
  """

  kind: str
  size: int

  @property
  def dtype(self) -> np.dtype:
    """The type of the numbers, as they are stored."""
    return np.dtype(np.uint8 if self.kind == CODES else "<f4")

  @property
  def num_bytes(self) -> int:
    """Bytes of the vector, or of a frame."""
    return self.size * self.dtype.itemsize

  def shape(self, num_records: int | None, max_frames: int) -> tuple:
    """The shape of the feature of some records."""
    frames = () if self.kind == VECTOR else (max_frames,)
    return (num_records, *frames, self.size)


# Chooses frames: a function of video ids, [K] bytes, and of their numbers of
# frames, [K] int64, to [K, S] int64: numbers of frames, and -1 behind the last.
FrameChoice = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Decoder:
  """Decodes a data set's records, and says what is wrong with one.

  Args:
    num_classes: labels are in [0, num_classes).
    forms: key -> form, of the features to be read.
    max_frames: longer videos are cut to this many frames.
  """

  def __init__(
    self,
    num_classes: int,
    forms: Mapping[str, Form] | None = None,
    max_frames: int = 1,
  ):
    self._num_classes = num_classes
    self._max_frames = max_frames
    forms = forms or {}
    self._vectors = {k: f for k, f in forms.items() if f.kind == VECTOR}
    self._frames = {k: f for k, f in forms.items() if f.kind != VECTOR}
    self._wrappings = {key: _wrapping(f) for key, f in self._frames.items()}
    self._features = _Entries(
      _Entry.of_feature(key, kind)
      for key, kind in {
        **dict.fromkeys(ID_KEYS, "bytes_list"),
        **dict.fromkeys(LABELS_KEYS, "int64_list"),
        **dict.fromkeys(self._vectors, "float_list"),
      }.items()
    )
    self._lists = _Entries(
      _Entry.of_list(key, len(self._wrappings[key]) + form.num_bytes)
      for key, form in self._frames.items()
    )

  def decode(
    self,
    records: Sequence[bytes],
    with_labels: bool = True,
    choose_frames: FrameChoice | None = None,
  ) -> tuple[dict[str, Any], np.ndarray]:
    """Decodes K records; what is wrong with one does not touch the others.

    Args:
      records: K serialized records.
      with_labels: False where the records need not have labels; those that
        they have are left out.
      choose_frames: the frames of each video to take, S of them at most; the
        others are not copied. None takes the first `max_frames`.

    Returns:
      A dict of "video_ids", [K] bytes; "features", a dict of [K, D] float32, or
      [K, max_frames or S, D] uint8 or float32, zero after a video's last frame;
      "num_frames", [K] int32, of the whole video, or of those chosen; 1 without
      frame features; "labels", [K, num_classes] float32. And [K] bool, True for
      the bad records, whose rows mean nothing.
    """
    is_bad = np.zeros(len(records), bool)
    labels = _aligned_zeros((len(records), self._num_classes), np.float32)
    block = _Block(records)
    layout = _find_layout(block)
    context = self._features.find(block, layout.contexts, layout.is_usual)
    self._copy_labels(block, context, with_labels, labels, is_bad)
    ids = context.first_of(ID_KEYS).strings(records)
    vectors = self._copy_vectors(block, context, is_bad)
    for row in np.flatnonzero(~context.is_usual):
      data = records[row]
      if layout.is_usual[row]:
        data = data[: layout.contexts.stops[row]]
      values = {name: array[row] for name, array in vectors.items()}
      ids[row], is_bad[row] = self._parse_context(
        data, with_labels, labels[row], values
      )
    for values in vectors.values():
      is_bad |= ~np.isfinite(values).all(axis=1)
    is_bad |= ids == b""
    frames, num_frames = self._decode_frames(
      block, layout, ids, is_bad, choose_frames
    )
    batch = {
      "video_ids": ids,
      "features": {**vectors, **frames},
      "num_frames": num_frames,
      "labels": labels,
    }
    return batch, is_bad

  def _copy_vectors(self, block, context, is_bad) -> dict[str, np.ndarray]:
    """Copies the vectors of records of the usual form."""
    vectors = {}
    for key, form in self._vectors.items():
      spans = context.spans[key]
      is_right = context.is_usual & (spans.sizes == form.num_bytes)
      is_bad |= context.is_usual & ~is_right
      shape = form.shape(len(block.records), self._max_frames)
      array = _aligned_zeros(shape, form.dtype)
      for run in _runs(np.flatnonzero(is_right), spans.sizes):
        data = block.read(spans, run).view(form.dtype)
        array[run] = data.reshape(-1, form.size)
      vectors[key] = array
    return vectors

  def _copy_labels(self, block, context, with_labels, labels, is_bad):
    """Sets the labels of records of the usual form."""
    spans = context.first_of(LABELS_KEYS)
    rows = np.flatnonzero(context.is_usual & (spans.sizes > 0))
    found, values, is_sound = _read_varints(
      block.read(spans, rows), spans.sizes[rows]
    )
    context.is_usual[rows] &= is_sound
    if not with_labels:
      return
    is_inside = values < self._num_classes
    labels[rows[found[is_inside]], values[is_inside]] = 1
    labels[~context.is_usual] = 0
    is_bad[rows[found[~is_inside]]] = True
    is_bad[rows[_are_n_hot(found, values, len(rows))]] = True
    is_bad |= context.is_usual & (spans.starts < 0)

  def _parse_context(self, data, with_labels, labels, vectors):
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
    if self._describe_vectors(context, {}):
      return b"", True
    if with_labels:
      if self._describe_labels(context):
        return b"", True
      key = first_key(LABELS_KEYS, context)
      labels[list(context[key].int64_list.value)] = 1
    for key, values in vectors.items():
      values[:] = context[key].float_list.value
    return only_bytes(context.get(first_key(ID_KEYS, context))), False

  def _decode_frames(self, block, layout, ids, is_bad, choose_frames):
    """Decodes the frame features; returns them, and the numbers of frames."""
    if not self._frames:
      return {}, np.ones(len(ids), np.int32)
    lists = self._lists.find(block, layout.lists, layout.is_usual)
    counts = self._count_frames(lists, is_bad)

    def choose(rows):
      most = np.minimum(counts[rows], self._max_frames)
      return (choose_frames or self._first_frames)(ids[rows], most)

    chosen = choose(slice(None))
    usual = np.flatnonzero(lists.is_usual & ~is_bad)
    # Pieces of one size are copied faster.
    usual = usual[np.argsort(counts[usual], kind="stable")]
    arrays = {}
    for key, form in self._frames.items():
      shape = form.shape(*chosen.shape)
      arrays[key] = _aligned_zeros(shape, form.dtype)
      copy = self._copy_chosen if choose_frames else self._copy_all
      lists.is_usual[usual] &= copy(
        block, usual, lists.spans[key], counts, key, arrays[key], chosen
      )
    for row in np.flatnonzero(~lists.is_usual & ~is_bad):
      frames = self._parse_frames(block.records[row])
      is_bad[row] = frames is None
      for key, values in (frames or {}).items():
        counts[row] = len(values)
        chosen[row] = choose([row])[0]
        numbers = chosen[row][chosen[row] >= 0]
        arrays[key][row] = 0
        arrays[key][row, : len(numbers)] = values[numbers]
    for key, form in self._frames.items():
      if form.kind == FLOATS:
        is_bad |= ~np.isfinite(arrays[key]).all(axis=(1, 2))
    if choose_frames:
      counts = (chosen >= 0).sum(axis=1)
    return arrays, np.where(is_bad, 0, counts).astype(np.int32)

  def _count_frames(self, lists: "_Found", is_bad) -> np.ndarray:
    """[K] int64: the frames of each video whose lists were found.

    Sets `is_bad` where a list is missing, or is longer than another.
    """
    counts = [
      lists.spans[key].sizes // (len(self._wrappings[key]) + form.num_bytes)
      for key, form in self._frames.items()
    ]
    for key, count in zip(self._frames, counts, strict=True):
      is_wrong = (lists.spans[key].starts < 0) | (count != counts[0])
      is_bad |= lists.is_usual & is_wrong
    return np.where(lists.is_usual & ~is_bad, counts[0], 0)

  def _first_frames(self, ids, counts) -> np.ndarray:
    """The `FrameChoice` of the first `max_frames`."""
    numbers = np.arange(self._max_frames)
    return np.where(numbers < counts[:, None], numbers, -1)

  def _copy_all(self, block, rows, spans, counts, key, array, _):
    """Copies a feature's first frames; returns [R] bool as `_copy_frames`."""
    wrapping, codes = self._wrappings[key], array.view(np.uint8)
    is_right = [
      _copy_frames(block.read(spans, run), run, counts[run], wrapping, codes)
      for run in _runs(rows, spans.sizes)
    ]
    return np.concatenate([np.ones(0, bool), *is_right])

  def _copy_chosen(self, block, rows, spans, counts, key, array, chosen):
    """Copies the chosen frames; returns [R] bool as `_copy_frames`."""
    wrapping, codes = self._wrappings[key], array.view(np.uint8)
    size, unit = codes.shape[-1], len(wrapping) + codes.shape[-1]
    slots = codes.view(f"V{size}")[..., 0]
    tags_dtype = np.dtype(f"V{len(wrapping)}")
    is_right = np.ones(len(rows), bool)
    for number in np.flatnonzero(counts[rows]):
      row = rows[number]
      start, count = int(spans.starts[row]), int(counts[row])
      record, taken = block.records[row], chosen[row][chosen[row] >= 0]

      def frames(dtype, offset, record=record, count=count):
        return np.ndarray((count,), dtype, record, offset, (unit,))

      slots[row, : len(taken)] = frames(slots.dtype, start + len(wrapping))[
        taken
      ]
      # Of the others, each would have to be fetched from memory.
      tags = frames(tags_dtype, start)[taken]
      is_right[number] = tags.tobytes() == wrapping * len(taken)
    return is_right

  def _parse_frames(self, record: bytes) -> dict[str, np.ndarray] | None:
    """Each feature's frames, by protobuf: [n, D]; None where one is bad."""
    context, lists = parse(record) or ({}, {})
    self._lists.learn(_Entry.of_list(key, 1) for key in lists)
    if self._describe_frames(context, lists):
      return None
    return {
      key: np.frombuffer(
        b"".join(_frame_bytes(frame, form) for frame in lists[key].feature),
        form.dtype,
      ).reshape(-1, form.size)
      for key, form in self._frames.items()
    }

  def describe(self, record: bytes, with_labels: bool = True) -> Problem | None:
    """The problem of a serialized record; None if it has none."""
    parsed = parse(record)
    if parsed is None:
      return NO_EXAMPLE
    context, lists = parsed
    key = first_key(ID_KEYS, context)
    if key is None:
      have = listing([*context, *lists])
      return Problem("no id", f"{_NO_ID}; it has {have}")
    if not only_bytes(context[key]):
      return Problem("no id", f"its {key!r} is not one string, or empty")
    problem = self._describe_vectors(context, lists)
    problem = problem or self._describe_frames(context, lists)
    return problem or (self._describe_labels(context) if with_labels else None)

  def _describe_labels(self, context) -> Problem | None:
    key = first_key(LABELS_KEYS, context)
    if key is None:
      return Problem("no labels", "it has no 'labels'")
    kind = context[key].WhichOneof("kind")
    if kind not in (None, "int64_list"):
      return Problem(
        "labels no integers",
        f"its {key!r} are of type {kind}; the numbers of its classes are "
        "expected, such as [0, 7] (int64_list)",
      )
    labels = context[key].int64_list.value
    if _are_n_hot(np.zeros(len(labels), int), np.array(labels, int), 1).any():
      return Problem(
        "labels N-hot",
        f"its {key!r} are {len(labels)} zeros and ones; the numbers of its "
        "classes are expected, such as [0, 7]",
      )
    for label in labels:
      if not 0 <= label < self._num_classes:
        return Problem(
          "label out of range",
          f"its label {label} is outside [0, {self._num_classes}); check "
          "--num_classes",
        )
    return None

  def _describe_vectors(self, context, lists) -> Problem | None:
    for name, form in self._vectors.items():
      if name not in context:
        have = listing([*context, *lists])
        return Problem(
          "missing feature", f"it has no feature {name!r}; it has {have}"
        )
      values = context[name].float_list.value
      if len(values) != form.size:
        return Problem(
          "wrong feature size",
          f"its {name!r} has {len(values)} floats, {form.size} were expected",
        )
      if not np.isfinite(values).all():
        return _not_finite(name)
    return None

  def _describe_frames(self, context, lists) -> Problem | None:
    lengths = {}
    for name, form in self._frames.items():
      if name not in lists:
        have = listing([*context, *lists])
        return Problem(
          "missing feature", f"it has no frame feature {name!r}; it has {have}"
        )
      lengths[name] = len(lists[name].feature)
      for number, frame in enumerate(lists[name].feature):
        problem = _describe_frame(
          f"frame {number} of its {name!r}", frame, form
        )
        if problem:
          return problem
      if form.kind == FLOATS and not all(
        np.isfinite(frame.float_list.value).all()
        for frame in lists[name].feature[: self._max_frames]
      ):
        return _not_finite(name)
    if len(set(lengths.values())) > 1:
      counts = ", ".join(f"{n} of {name}" for name, n in lengths.items())
      return Problem(
        "numbers of frames differ",
        f"its features differ in their number of frames: {counts}",
      )
    return None


def _describe_frame(which: str, frame, form: Form) -> Problem | None:
  if form.kind == FLOATS:
    size, unit = len(frame.float_list.value), "floats"
  elif len(frame.bytes_list.value) != 1:
    return Problem("wrong frame", f"{which} is not one string")
  else:
    size, unit = len(only_bytes(frame)), "bytes"
  if size == form.size:
    return None
  return Problem(
    "wrong feature size",
    f"{which} has {size} {unit}, {form.size} were expected",
  )


def _not_finite(name: str) -> Problem:
  return Problem(
    "feature not finite", f"its {name!r} has values that are not finite"
  )


def _are_n_hot(rows: np.ndarray, labels: np.ndarray, num_rows: int):
  """[num_rows] bool: whether a row's labels are an N-hot vector.

  Such a vector has nothing but zeros and ones, where the numbers of classes are
  expected, each once.

  Args:
    rows: [N] int64, the row of each label.
    labels: [N] int64.
    num_rows: number of rows.
  """
  is_bit = (labels == 0) | (labels == 1)
  bits, others = (
    np.bincount(rows[which], minlength=num_rows) for which in (is_bit, ~is_bit)
  )
  return (others == 0) & (bits > 2)


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


def parse_contexts(records: Sequence[bytes]) -> list[dict]:
  """The contexts of records, whose feature lists are not parsed."""
  layout = _find_layout(_Block(records))
  places = zip(records, layout.contexts.stops, layout.is_usual, strict=True)
  parsed = (
    parse(data[:stop] if usual else data) for data, stop, usual in places
  )
  return [found[0] if found else {} for found in parsed]


def only_bytes(feature: tf.train.Feature | None) -> bytes:
  """A feature's string; b"" where it is not exactly one."""
  values = feature.bytes_list.value if feature else ()
  return values[0] if len(values) == 1 else b""


def _frame_bytes(frame: tf.train.Feature, form: Form) -> bytes:
  if form.kind == CODES:
    return only_bytes(frame)
  return np.array(frame.float_list.value, form.dtype).tobytes()


def first_key(keys: Iterable[str], context) -> str | None:
  """The first of some keys that a context has."""
  return next((key for key in keys if key in context), None)


def listing(names: Iterable[str]) -> str:
  """Names as messages list them."""
  return ", ".join(sorted(names)) or "nothing"


def find_video_id(data: bytes) -> str | None:
  """The id in a serialized record, damaged ones included; None if not found."""
  context, _ = parse(data) or ({}, {})
  for id_key in ID_KEYS:
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


_NO_ID = "it has neither 'id' nor 'video_id'"


def place(shard: str, number: int, video_id: str | None = None) -> str:
  """How messages name a record."""
  video = f" (video {video_id!r})" if video_id else ""
  return f"{shard!r}, record {number}{video}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schema:
  """How a shard's records are laid out, as one of them shows it.

  Attributes:
    shard: the record's.
    keys: keys of its context.
    id_key: the key of its id.
    forms: name -> form, of the features to be read; of a feature without
      frames the size is 0, since it does not show.
    max_frames: the number of frames to read of a video.
    record_bytes: the record's size.
  """

  shard: str
  keys: tuple[str, ...]
  id_key: str
  forms: dict[str, Form]
  max_frames: int
  record_bytes: int

  @property
  def feature_names(self) -> tuple[str, ...]:
    """Names of the features to be read."""
    return tuple(self.forms)

  @property
  def feature_sizes(self) -> tuple[int, ...]:
    """Their sizes."""
    return tuple(form.size for form in self.forms.values())

  @property
  def feature_kinds(self) -> tuple[str, ...]:
    """Their kinds."""
    return tuple(form.kind for form in self.forms.values())

  @property
  def frame_features(self) -> bool:
    """Whether a feature has frames."""
    return any(form.kind != VECTOR for form in self.forms.values())

  @property
  def has_labels(self) -> bool:
    """Whether the record has labels."""
    return first_key(LABELS_KEYS, self.keys) is not None


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
  frame_features: bool | None = None,
) -> Schema:
  """How a record is laid out.

  Args:
    record: serialized.
    shard: its shard, for messages.
    number: its number there, for messages.
    asked: the features to read; None takes those of the dataset that it has.
    frame_features: whether to take them from the frames; None does so where
      there are some.

  Raises:
    LayoutError: it is no YouTube-8M record.
    UserError: it is without the features asked for.
  """
  parsed = parse(record)
  if parsed is None:
    raise LayoutError(place(shard, number), NO_EXAMPLE.detail)
  context, lists = parsed
  id_key = first_key(ID_KEYS, context)
  if id_key is None:
    have = listing([*context, *lists])
    raise LayoutError(place(shard, number), f"{_NO_ID}; it has {have}")
  where = place(shard, number, find_video_id(record))
  forms = _vector_forms(context)
  is_frame_level = bool(lists) and frame_features is not False
  if is_frame_level:
    forms |= _frame_forms(lists, asked, where)
  names = _choose_features(forms, lists if is_frame_level else (), asked, shard)
  if not names:
    level = "frame-level" if is_frame_level else "video-level"
    beside = f"; it has frames of {listing(lists)}" if lists else ""
    raise LayoutError(where, f"it has no {level} feature{beside}")
  return Schema(
    shard=shard,
    keys=tuple(context),
    id_key=id_key,
    forms={name: forms[name] for name in names},
    max_frames=_default_max_frames(names, lists if is_frame_level else {}),
    record_bytes=len(record),
  )


def _choose_features(forms, lists, asked, shard: str) -> tuple[str, ...]:
  if asked:
    missing = [name for name in asked if name not in forms]
    if missing:
      level = "frame" if lists else "video"
      raise UserError(
        f"The model reads feature {missing[0]!r} (--feature_names), but "
        f"{shard!r} has the {level}-level features {listing(forms)}."
      )
    return tuple(asked)
  known = FRAME_FEATURES if lists else VIDEO_FEATURES
  own = sorted(name for name in forms if not lists or name in lists)
  return tuple(name for name in known if name in own) or tuple(own)


def _default_max_frames(names, lists) -> int:
  lengths = [len(lists[name].feature) for name in names if name in lists]
  if not lengths:
    return 1
  is_short_clip = tuple(names) == (_SHORT_CLIP_FEATURE,)
  if is_short_clip and max(lengths) <= _SHORT_CLIP_FRAMES:
    return _SHORT_CLIP_FRAMES
  return utils.MAX_FRAMES


def _vector_forms(context) -> dict[str, Form]:
  return {
    name: Form(VECTOR, len(feature.float_list.value))
    for name, feature in context.items()
    if feature.WhichOneof("kind") == "float_list"
    and name not in (*ID_KEYS, *LABELS_KEYS)
  }


def _frame_forms(lists, asked, where: str) -> dict[str, Form]:
  """The forms of frame features: those asked for, or all that can be read.

  Raises:
    LayoutError: one that is to be read has frames of another type.
  """
  forms = {}
  for name, frames in lists.items():
    kind = frames.feature[0].WhichOneof("kind") if frames.feature else None
    if kind == "float_list":
      forms[name] = Form(FLOATS, len(frames.feature[0].float_list.value))
    elif kind in ("bytes_list", None):
      first = only_bytes(frames.feature[0]) if frames.feature else b""
      forms[name] = Form(CODES, len(first))
    elif name in (asked or FRAME_FEATURES):
      raise LayoutError(
        where,
        f"frames of {name!r} are of type {kind}; one byte string of 8-bit "
        "codes (bytes_list), or floats (float_list), are expected for each",
      )
  return forms


# With numpy


class _Spans(NamedTuple):
  """A piece of each of K records; [K] int64 each, -1 where there is none."""

  starts: np.ndarray
  stops: np.ndarray

  @property
  def sizes(self) -> np.ndarray:
    """[K] int64, numbers of bytes."""
    return self.stops - self.starts

  def strings(self, records: Sequence[bytes]) -> np.ndarray:
    """[K] object, the pieces as bytes; b"" where there are none."""
    values = np.empty(len(records), object)
    values[:] = [
      record[max(start, 0) : max(stop, 0)]
      for record, start, stop in zip(
        records, self.starts.tolist(), self.stops.tolist(), strict=True
      )
    ]
    return values


class _Block:
  """K serialized records, of which many small pieces are taken.

  Short records are joined: numpy then takes a piece of each at once, which is
  several times as fast as Python. Of long ones, to join them would cost more.

  Attributes:
    records: the records.
    sizes: [K] int64, their numbers of bytes.
  """

  def __init__(self, records: Sequence[bytes]):
    self.records = records
    self.sizes = np.fromiter(map(len, records), np.int64, len(records))
    self._joined = None
    if self.sizes.sum() <= _SHORT_BYTES * len(records):
      self._joined = b"".join([*records, bytes(_WINDOW_BYTES)])
      self._firsts = np.cumsum(self.sizes) - self.sizes

  def windows(self, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """[R, _WINDOW_BYTES] uint8: bytes from places of rows on.

    What is behind a record's end means nothing.
    """
    if self._joined is not None:
      return self._pieces(self._firsts[rows] + places, _WINDOW_BYTES)
    parts = [
      self.records[row][place : place + _WINDOW_BYTES].ljust(
        _WINDOW_BYTES, b"\0"
      )
      for row, place in zip(rows.tolist(), places.tolist(), strict=True)
    ]
    return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, _WINDOW_BYTES)

  def read(self, spans: _Spans, rows: np.ndarray) -> np.ndarray:
    """[B] uint8: the pieces of some of the records, one after the other."""
    starts, sizes = spans.starts[rows], spans.sizes[rows]
    if rows.size and self._joined is not None:
      places = self._firsts[rows] + starts
      if (sizes == sizes[0]).all():
        return self._pieces(places, int(sizes[0])).reshape(-1)
      if sizes.mean() <= _SHORT_PIECE:
        places += sizes - np.cumsum(sizes)
        places = np.repeat(places, sizes) + np.arange(sizes.sum())
        return np.frombuffer(self._joined, np.uint8)[places]
    places = zip(
      rows.tolist(), starts.tolist(), spans.stops[rows].tolist(), strict=True
    )
    parts = [
      memoryview(self.records[row])[start:stop] for row, start, stop in places
    ]
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    return np.frombuffer(data, np.uint8)

  def _pieces(self, places: np.ndarray, size: int) -> np.ndarray:
    """[R, size] uint8: pieces of the joined records."""
    if not size:
      return np.zeros((len(places), 0), np.uint8)
    count = len(self._joined) - size + 1
    pieces = np.ndarray((count,), f"V{size}", self._joined, strides=(1,))
    found = pieces[np.minimum(places, count - 1)]
    return found.view(np.uint8).reshape(-1, size)


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

  def first_of(self, keys: Iterable[str]) -> _Spans:
    """The places of the first of some keys that each record has."""
    first, *others = (self.spans[key] for key in keys)
    for other in others:
      is_missing = first.starts < 0
      first = _Spans(
        np.where(is_missing, other.starts, first.starts),
        np.where(is_missing, other.stops, first.stops),
      )
    return first


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

  def find(self, block: _Block, spans: _Spans, is_usual: np.ndarray) -> _Found:
    """Follows the map entries of a field.

    Args:
      block: K records.
      spans: the field in each of them.
      is_usual: [K] bool, the records to look at.

    Returns:
      Where the values of the read keys are. In records of the usual form there
      are no other values, and no key comes twice.
    """
    entries = [*self._read.values(), *self._unread.values()]
    starts = np.full((len(entries) + 1, len(block.records)), -1)
    stops = starts.copy()
    places, is_usual = spans.starts.copy(), is_usual.copy()
    for _ in range(_MOST_ENTRIES):
      rows = np.flatnonzero(is_usual & (places < spans.stops))
      if not rows.size:
        break
      windows = block.windows(rows, places[rows])
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
  is_usual = tags == _FIELD_1
  keys = [entry.header for entry in entries]
  numbers = _match_keys(keys, _gather(windows, begins, _HEADER_BYTES))
  if not entries:
    return numbers, begins, ends
  sizes = np.minimum([*map(len, keys)], _HEADER_BYTES)
  begins = begins + sizes[numbers]
  for level_tags in np.array([entry.tags for entry in entries]).T:
    tags, begins, inner_ends = _read_field(windows, begins)
    is_usual &= (tags == level_tags[numbers]) & (inner_ends == ends)
  units = np.array([entry.unit for entry in entries])[numbers]
  is_usual &= (ends - begins) % units == 0
  return np.where(is_usual, numbers, -1), begins, ends


def _match_keys(keys: Iterable[bytes], headers: np.ndarray) -> np.ndarray:
  """[R] int64: which key each of R headers begins with, -1 where none."""
  numbers = np.full(len(headers), -1)
  # Eight bytes at a time: each record may have its keys in another order.
  columns = headers.view("<u8").T
  for number, key in enumerate(keys):
    if len(key) > _HEADER_BYTES:
      continue
    is_it = np.ones(len(headers), bool)
    for column, word, mask in zip(columns, *_words_of(key), strict=False):
      is_it &= column & mask == word
    numbers[is_it] = number
  return numbers


@functools.lru_cache
def _words_of(key: bytes) -> tuple[np.ndarray, np.ndarray]:
  """A key as numbers of eight bytes, and masks of the bytes that it has."""
  size = -(-len(key) // 8) * 8
  words, masks = (
    np.frombuffer(codes.ljust(size, b"\0"), "<u8")
    for codes in (key, b"\xff" * len(key))
  )
  return words, masks


def _find_layout(block: _Block) -> _Layout:
  """Finds the two fields of K records."""
  sizes = block.sizes
  rows, zeros = np.arange(len(sizes)), np.zeros(len(sizes), np.int64)
  windows = block.windows(rows, zeros)
  tags, starts, stops = _read_field(windows, zeros)
  is_usual = (tags == _FIELD_1) & (stops <= sizes)
  windows = block.windows(rows, stops)
  tags, list_starts, list_stops = _read_field(windows, zeros)
  ends = stops == sizes
  list_starts = np.where(ends, sizes, stops + list_starts)
  list_stops = np.where(ends, sizes, stops + list_stops)
  is_usual &= ends | ((tags == _FIELD_2) & (list_stops == sizes))
  return _Layout(
    _Spans(starts, stops), _Spans(list_starts, list_stops), is_usual
  )


def _gather(windows: np.ndarray, offsets: np.ndarray, size: int) -> np.ndarray:
  """[R, size] uint8: bytes of the windows from offsets on."""
  count = max(0, windows.size - size + 1)
  pieces = np.ndarray((count,), f"V{size}", windows, strides=(1,))
  found = pieces[np.arange(len(windows)) * _WINDOW_BYTES + offsets]
  return found.view(np.uint8).reshape(-1, size)


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
  tags, *columns = _gather(windows, offsets, 1 + len(_LENGTH_SHIFTS)).T
  begins = offsets + 1
  lengths = np.zeros(len(windows), np.int64)
  has_more = np.ones(len(windows), bool)
  for shift, column in zip(_LENGTH_SHIFTS, columns, strict=True):
    lengths += (column & 0x7F) * has_more.astype(np.int64) << shift
    begins = begins + has_more
    has_more &= column >= 0x80
    if not has_more.any():
      break
  lengths[has_more] = 2**40
  return tags, begins, begins + lengths


def _read_varints(
  codes: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Reads packed numbers.

  Args:
    codes: [B] uint8, the numbers of R rows, one row after the other.
    sizes: [R] int64, the rows' numbers of bytes, at least 1.

  Returns:
    [N] int64, the row of each number; [N] int64, the numbers; and [R] bool,
    False for rows that protobuf has to read: a number does not end in its row,
    or has more bytes than one that is not negative.
  """
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
  data: np.ndarray,
  rows: np.ndarray,
  counts: np.ndarray,
  wrapping: bytes,
  array: np.ndarray,
) -> np.ndarray:
  """Copies frames without what is wrapped around each.

  Args:
    data: [B] uint8, the wrapped frames of R rows, one row after the other.
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
    codes = data.reshape(len(wrapped), -1)
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


def _wrapping(form: Form) -> bytes:
  """The bytes before each frame of this form, as protobuf writes them."""
  data = bytes(form.num_bytes)
  if form.kind == CODES:
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))
  else:
    floats = tf.train.FloatList(value=np.zeros(form.size))
    feature = tf.train.Feature(float_list=floats)
  frames = tf.train.FeatureList(feature=[feature])
  return frames.SerializeToString().removesuffix(data)


def _aligned_zeros(shape: tuple[int, ...], dtype) -> np.ndarray:
  """Zeros that TensorFlow can use as they are."""
  num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
  buffer = np.zeros(num_bytes + _ALIGNMENT, np.uint8)
  first = -buffer.ctypes.data % _ALIGNMENT
  return buffer[first : first + num_bytes].view(dtype).reshape(shape)
