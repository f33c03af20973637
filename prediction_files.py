# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of predictions: written as they come, read again by the videos' ids.

Two forms:

- `.npz`, all classes. Plain arrays, which `numpy.load` reads: "ids" [N] bytes,
  and "logits" [N, C] float16 or float32, the log-odds of the confidences.
- CSV, the best classes of each video: rows "id,class confidence class
  confidence ..." by falling confidence.

Confidences are limited to [2^-23, 1 - 2^-23], which float32 has exactly, so
that all have a logit, from `LOWEST_LOGIT` to its opposite. The lowest is what a
class has that a CSV does not list: its confidence counts as 0.

What a program writes is a list of `Output`, each of which takes what it needs
from the stream of predictions. `open_files` gives readers, which all have the
same scale, logits, and look up rows by id: no order is taken for granted.
"""

import abc
import codecs
import collections
import contextlib
import csv
import functools
import itertools
import math
import struct
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import program
from program import UserError

import numpy as np
import tensorflow as tf
from absl import logging

import eval_util
import evaluation
import experiment
import losses
import shard_files
import utils
from config import ExperimentConfig, OutputSettings
from vocabulary import name_of, read_vocabulary

HEADER = b"VideoId,LabelConfidencePairs\n"
NAMES_HEADER = b"VideoId,Index,Name,Confidence\n"
IDS, LOGITS = "ids", "logits"
EMBEDDING = "embedding"  # The name of the model's output, and of the feature.
_LOWEST_CONFIDENCE = 2.0**-23
LOWEST_LOGIT = math.log(_LOWEST_CONFIDENCE) - math.log1p(-_LOWEST_CONFIDENCE)
_FLOAT16_ROUNDING = 2.0**-7  # Of numbers from 8 to 16.
# The end of a member's header in a zip archive, before its name and an extra
# field: their lengths.
_ZIP_LENGTHS_OFFSET, _ZIP_LENGTHS = 26, struct.Struct("<HH")
# What is raised for a file without the arrays; RuntimeError if it is encrypted.
_NO_ARRAYS = (
  *(zipfile.BadZipFile, struct.error),
  *(KeyError, ValueError, RuntimeError),
)
# Rows that are read at a time, where all are.
BLOCK_ROWS = 512


def logits_of(confidences: np.ndarray) -> np.ndarray:
  """The log-odds of confidences in [0, 1], of their shape and type."""
  within = np.clip(confidences, _LOWEST_CONFIDENCE, 1 - _LOWEST_CONFIDENCE)
  return np.log(within) - np.log1p(-within)


def confidences_of(logits: np.ndarray) -> np.ndarray:
  """The confidences of logits: the sigmoid, of their shape and type."""
  power = np.exp(-np.abs(logits))  # Never overflows.
  return np.where(logits >= 0, 1, power) / (1 + power)


# Writing


class Output(abc.ABC):
  """A file that is written from the stream of predictions.

  Attributes:
    path: the file, local or gs://.
  """

  path: str

  @abc.abstractmethod
  def encode(self, item: evaluation.Predictions) -> np.ndarray:
    """What is to be written of a batch; called on each worker."""

  @abc.abstractmethod
  def open(self) -> contextlib.AbstractContextManager[Callable]:
    """A context that gives a function to write with; the chief's.

    The function is called with the ids of a batch, [N] bytes, and with what
    `encode` made of it. The file is complete or absent.
    """


class RowsOutput(Output):
  """A file of rows of text, or of records.

  Args:
    path: local or gs://, or a stream.
    header: how it begins.
    format_rows: makes the bytes of a batch.
  """

  def __init__(
    self,
    path: str,
    header: bytes,
    format_rows: Callable[[evaluation.Predictions], bytes],
  ):
    self.path = path
    self._header = header
    self._format_rows = format_rows

  def encode(self, item):
    """See `Output`."""
    return np.frombuffer(self._format_rows(item), np.uint8)

  @contextlib.contextmanager
  def open(self):
    """See `Output`."""
    with utils.replacing(self.path, follows_links=True) as output:
      output.write(self._header)
      output.flush()  # A folder that cannot be written shows now.
      yield lambda video_ids, rows: output.write(rows.tobytes())


class ArraysOutput(Output):
  """An `.npz` file of "ids" [N] bytes and an array [N, ...] beside them.

  Memory: the ids. How many there will be is not known before the end, so the
  rows wait on a disk.

  Args:
    path: local or gs://.
    name: the array's name in the file.
    values_of: makes the rows of a batch.
  """

  def __init__(
    self,
    path: str,
    name: str,
    values_of: Callable[[evaluation.Predictions], np.ndarray],
  ):
    self.path = path
    self._name = name
    self._values_of = values_of

  def encode(self, item):
    """See `Output`."""
    return self._values_of(item)

  @contextlib.contextmanager
  def open(self):
    """See `Output`."""
    ids, forms = [np.empty(0, "S1")], {}
    with (
      utils.replacing(self.path, follows_links=True) as output,
      utils.Spool(self.path) as spool,
    ):

      def write(video_ids, values):
        ids.append(video_ids)
        forms[self._name] = values.dtype, values.shape[1:]
        spool.write(values.tobytes())

      yield write
      video_ids = np.concatenate(ids)
      with zipfile.ZipFile(output, "w") as archive:
        _write_array(
          archive, IDS, video_ids.dtype, video_ids.shape, [video_ids.tobytes()]
        )
        for name, (dtype, shape) in forms.items():
          shape = (video_ids.size, *shape)
          _write_array(archive, name, dtype, shape, spool.chunks())


def _write_array(archive, name: str, dtype, shape, chunks: Iterable[bytes]):
  """Writes an array as `numpy.savez` does, from its bytes."""
  # Of a fixed date: the same predictions give the same file.
  info = zipfile.ZipInfo(f"{name}.npy")
  with archive.open(info, "w", force_zip64=True) as member:
    form = {
      "descr": np.lib.format.dtype_to_descr(dtype),
      "fortran_order": False,
      "shape": shape,
    }
    np.lib.format.write_array_header_1_0(member, form)
    for chunk in chunks:
      member.write(chunk)


def requested_outputs(settings: OutputSettings) -> list[Output]:
  """The files that a program is to write.

  Raises:
    UserError: the vocabulary cannot be read, or there is no place for names.
  """
  outputs, path, top_k = [], settings.output_file, settings.top_k
  if path:
    format_best = functools.partial(_format_best, top_k, format_rows)
    outputs.append(RowsOutput(path, HEADER, format_best))
  names_path, names = file_of_names(settings)
  if names_path:
    format_names = functools.partial(format_named_rows, names=names)
    format_best = functools.partial(_format_best, top_k, format_names)
    outputs.append(RowsOutput(names_path, NAMES_HEADER, format_best))
  if settings.predictions_file:
    dtype = settings.predictions_dtype
    outputs.append(
      ArraysOutput(
        settings.predictions_file,
        LOGITS,
        lambda item: logits_of(item.predictions).astype(dtype),
      )
    )
  return outputs


def file_of_names(
  settings: OutputSettings,
) -> tuple[str | None, dict[int, str] | None]:
  """Path of the CSV with the classes' names, and the names, class -> name.

  Both are None without --vocabulary_file.

  Raises:
    UserError: the vocabulary cannot be read, or there is no place for names.
  """
  if not settings.vocabulary_file:
    return None, None
  path = settings.output_file
  if utils.is_stream(path):
    raise UserError(
      f"--output_file={path!r} is no file beside which the CSV of names could "
      "lie. Name a file, or leave --vocabulary_file out."
    )
  return settings.names_path, read_vocabulary(settings.vocabulary_file)


def embeddings_output(path: str, has_labels: bool) -> Output:
  """The file of what goes into the classifier, `outputs["embedding"]`.

  Args:
    path: local or gs://. Of `.npz`, the array is "embeddings" [N, size]
      float32. Other files have TFRecords of the video level.
    has_labels: whether the shards have labels, which records then have too.
  """
  if path.endswith(".npz"):
    return ArraysOutput(
      path, "embeddings", lambda item: item.outputs[EMBEDDING]
    )
  format_records = functools.partial(_embedding_records, has_labels)
  return RowsOutput(path, b"", format_records)


def _embedding_records(has_labels: bool, item: evaluation.Predictions) -> bytes:
  records = []
  for video_id, labels, embedding in zip(
    item.video_ids, item.labels, item.outputs[EMBEDDING], strict=True
  ):
    example = tf.train.Example()
    features = example.features.feature
    features["id"].bytes_list.value.append(video_id)
    features[EMBEDDING].float_list.value.extend(embedding)
    if has_labels:  # Of a video without labels the list is there, and empty.
      features["labels"].int64_list.SetInParent()
      features["labels"].int64_list.value.extend(np.flatnonzero(labels))
    record = example.SerializeToString(deterministic=True)
    records.append(shard_files.framed(record))
  return b"".join(records)


def write(
  outputs: Sequence[Output],
  items: Iterable[evaluation.Predictions],
  run: experiment.Run,
):
  """Writes the predictions of all workers, at the chief.

  Args:
    outputs: what to write; they appear when all are complete.
    items: this worker's predictions.
    run: the program's.

  Raises:
    UserError: a file cannot be written; or what making the items raises.
  """
  encoded = (
    [
      np.asarray(item.video_ids, bytes),
      *(output.encode(item) for output in outputs),
    ]
    for item in items
  )
  parts = evaluation.collect(encoded, run)
  if not run.workers.is_chief:
    collections.deque(parts, maxlen=0)  # There are none; it takes part.
    return
  num_videos, start = 0, time.monotonic()
  with contextlib.ExitStack() as stack:
    display = stack.enter_context(
      program.ProgressDisplay("video", every_secs=2.0)
    )
    writers = [stack.enter_context(output.open()) for output in outputs]
    for video_ids, *arrays in parts:
      for write_part, array in zip(writers, arrays, strict=True):
        write_part(video_ids, array)
      num_videos += len(video_ids)
      rate = num_videos / (time.monotonic() - start)
      line = f"num examples processed: {num_videos} | {rate:.1f} examples/sec"
      display.show(num_videos, line, examples_per_sec=f"{rate:.0f}")
  rate = num_videos / (time.monotonic() - start)
  logging.info(
    "Wrote %d videos to %s (%.1f examples/sec).",
    num_videos,
    ", ".join(output.path for output in outputs),
    rate,
  )


def _format_best(top_k: int, format_them: Callable, item) -> bytes:
  scores, classes = eval_util.best_classes(item.predictions, top_k)
  return format_them(item.video_ids, scores, classes)


def format_rows(
  video_ids: Sequence[bytes], scores: np.ndarray, classes: np.ndarray
) -> bytes:
  """CSV rows "id,class score class score ...", scores with six decimals.

  Args:
    video_ids: [N] bytes; quoted as RFC 4180 has it where they need to be.
    scores: [N, K] float, falling.
    classes: [N, K] int.
  """
  num_videos, top_k = scores.shape
  pairs = np.empty((num_videos, 2 * top_k), object)
  pairs[:, 0::2] = classes
  pairs[:, 1::2] = scores
  # One format for a whole row is several times faster than one for each pair.
  row_format = b" ".join([b"%d %.6f"] * top_k)
  return b"".join(
    b"%s,%s\n" % (utils.csv_field(video_id), row_format % tuple(row))
    for video_id, row in zip(video_ids, pairs.tolist(), strict=True)
  )


def format_named_rows(
  video_ids: Sequence[bytes],
  scores: np.ndarray,
  classes: np.ndarray,
  names: Mapping[int, str],
) -> bytes:
  """CSV rows "id,class,name,score", one for each class of each video."""
  rows = []
  for video_id, row_scores, row_classes in zip(
    video_ids, scores, classes, strict=True
  ):
    field = utils.csv_field(video_id)
    for score, index in zip(row_scores, row_classes.tolist(), strict=True):
      name = utils.csv_field(name_of(index, names).encode())
      rows.append(b"%s,%d,%s,%.6f\n" % (field, index, name, score))
  return b"".join(rows)


# Reading


class PredictionsFile(abc.ABC):
  """A file of predictions, of which any rows can be read.

  Memory: the ids, of a CSV 16 bytes a row more, and the rows that are read.

  Args:
    path: local or gs://.
    source: the file as error messages name it.
    video_ids: [N] bytes, in the order of the file.
    num_classes: number of classes C.

  Attributes:
    path: the file.
    source: the argument.
    video_ids: the argument.
    num_classes: the argument.

  Raises:
    UserError: a video is there twice.
  """

  def __init__(self, path: str, source: str, video_ids, num_classes: int):
    self.path = path
    self.video_ids = video_ids
    self.num_classes = num_classes
    self.source = source
    self._order = np.argsort(video_ids, kind="stable")
    self._sorted_ids = video_ids[self._order]
    is_repeated = self._sorted_ids[1:] == self._sorted_ids[:-1]
    if is_repeated.any():
      video_id = self._sorted_ids[int(is_repeated.argmax())]
      raise UserError(f"{source} has video {utils.shown(video_id)} twice.")

  def rows_of(self, video_ids) -> np.ndarray:
    """[n] int64: the rows of videos, -1 where there is none."""
    video_ids = np.asarray(video_ids, bytes)
    places = np.searchsorted(self._sorted_ids, video_ids)
    places = places.clip(max=self._sorted_ids.size - 1)
    is_there = self._sorted_ids[places] == video_ids
    return np.where(is_there, self._order[places], -1)

  def logits(self, video_ids) -> np.ndarray:
    """[n, C] float32: the scores of videos, the lowest for those not there.

    Raises:
      UserError: the file cannot be read, or a row is wrong.
    """
    rows = self.rows_of(video_ids)
    logits = np.full((rows.size, self.num_classes), LOWEST_LOGIT, np.float32)
    found = np.flatnonzero(rows >= 0)
    # One read for rows that lie behind one another, as nearly all do.
    found = found[np.argsort(rows[found])]
    breaks = np.flatnonzero(np.diff(rows[found]) != 1) + 1
    for run in np.split(found, breaks) if found.size else ():
      logits[run] = self._read(rows[run[0]], rows[run[-1]] + 1)
    return logits

  def blocks(self) -> Iterator[np.ndarray]:
    """Yields the logits of all videos, [n, C] float32, some at a time."""
    for start in range(0, self.video_ids.size, BLOCK_ROWS):
      yield self.logits(self.video_ids[start : start + BLOCK_ROWS])

  @abc.abstractmethod
  def _read(self, start: int, stop: int) -> np.ndarray:
    """[stop - start, C]: the logits of some rows."""


class _Array(NamedTuple):
  """Where an array lies in an `.npz` file."""

  dtype: np.dtype
  shape: tuple[int, ...]
  offset: int


class _ArraysFile(PredictionsFile):
  """An `.npz` file. The array is not read as a whole."""

  def __init__(self, file, path: str, source: str):
    try:
      ids, self._logits = (_find_array(file, name) for name in (IDS, LOGITS))
      with zipfile.ZipFile(file) as archive:
        damaged = archive.testzip()
    except UserError:  # It cannot be read.
      raise
    except _NO_ARRAYS as error:
      raise UserError(
        f"{source} is no file that --predictions_file or numpy.savez made: "
        f"{' '.join(map(str, error.args))}."
      ) from error
    if damaged:
      raise UserError(
        f"{source} is damaged: the checksum of {damaged!r} is wrong. Make it "
        "anew."
      )
    self._file, shape = file, self._logits.shape
    is_right = ids.dtype.kind == "S" and ids.dtype.itemsize > 0
    is_right &= self._logits.dtype.kind == "f" and len(shape) == 2
    if not is_right or ids.shape != shape[:1] or not all(shape):
      raise UserError(
        f"{source} should hold {IDS!r} [N] bytes and {LOGITS!r} [N, C] float, "
        f"and has {ids.dtype} {list(ids.shape)} and {self._logits.dtype} "
        f"{list(shape)}."
      )
    video_ids = _read_array(file, ids, 0, shape[0])
    super().__init__(path, source, video_ids, shape[1])
    self._has_warned = False

  def _read(self, start, stop):
    logits = _read_array(self._file, self._logits, start, stop)
    most = abs(logits).max(initial=0)
    if not np.isfinite(most):
      is_finite = np.isfinite(logits).all(axis=1)
      video_id = self.video_ids[start + int(np.argmin(is_finite))]
      raise UserError(
        f"{self.source}: the logits of video {utils.shown(video_id)} are not "
        "finite."
      )
    if most <= -LOWEST_LOGIT + _FLOAT16_ROUNDING:
      return logits
    if not self._has_warned:
      self._has_warned = True
      logging.warning(
        "%s has logits beyond %.2f, which are limited to that: of such classes "
        "the order is lost.",
        *(self.path, -LOWEST_LOGIT),
      )
    return np.clip(logits, LOWEST_LOGIT, -LOWEST_LOGIT)


def _find_array(file, name: str) -> _Array:
  """Finds an array in an `.npz` file.

  Raises:
    BadZipFile, KeyError, ValueError, RuntimeError, struct.error: it is no such
      file, or the array is not there, or compressed.
  """
  with zipfile.ZipFile(file) as archive:
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
      raise ValueError(f"{name!r} is compressed, which savez_compressed does")
    with archive.open(info) as member:
      if np.lib.format.read_magic(member) != (1, 0):
        raise ValueError(f"{name!r} is in another version of numpy's format")
      shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(member)
      header_size = member.tell()
  num_bytes = math.prod(shape) * dtype.itemsize
  is_wrong = is_fortran or min(shape, default=0) < 0
  if is_wrong or info.file_size - header_size != num_bytes:
    raise ValueError(f"{name!r} is in columns, or was cut")
  file.seek(info.header_offset + _ZIP_LENGTHS_OFFSET)
  lengths = _ZIP_LENGTHS.unpack(file.read(_ZIP_LENGTHS.size))
  return _Array(dtype, shape, file.tell() + sum(lengths) + header_size)


def _read_array(file, array: _Array, start: int, stop: int) -> np.ndarray:
  """Some rows of an array."""
  shape = (stop - start, *array.shape[1:])
  row_bytes = math.prod(shape[1:]) * array.dtype.itemsize
  file.seek(array.offset + start * row_bytes)
  data = file.read(shape[0] * row_bytes)
  return np.frombuffer(data, array.dtype).reshape(shape)


class _CsvFile(PredictionsFile):
  """A CSV file.

  All rows are looked at first, to find their ids; numbers are parsed when they
  are read.
  """

  def __init__(self, file, path, source, num_classes, flag_name):
    video_ids, starts, lines = [], [], []
    sizes = {2 * num_classes}
    for line, start, row in _rows_of(path, flag_name):
      video_id, comma, cell = split_row(row)
      if not video_id or not comma:
        _refuse(source, line, row, "it has no id, or no comma")
      video_ids.append(video_id)
      starts.append(start)
      lines.append(line)
      sizes.add(cell.count(b" ") + 1)
    if not lines:
      raise UserError(f"{source} has no row.")
    self._file = file
    self._starts = np.array([*starts, start + len(row)], np.int64)
    self._lines = np.array(lines, np.int64)
    super().__init__(path, source, np.array(video_ids, bytes), num_classes)
    if min(sizes) < 2 * num_classes:
      logging.info(
        "%s does not list all of %d classes for each video: the confidence of "
        "those that it leaves out counts as 0.",
        *(path, num_classes),
      )

  def _read(self, start, stop):
    offset, end = self._starts[start], self._starts[stop]
    self._file.seek(int(offset))
    lines = self._file.read(int(end - offset)).split(b"\n")
    rows = [row for row in lines if row.strip()]
    try:
      return _parse_rows(rows, self.num_classes)
    except ValueError:
      for row, line in zip(rows, self._lines[start:stop], strict=True):
        try:
          _parse_rows([row], self.num_classes)
        except ValueError as error:
          _refuse(self.source, line, row, error)
      raise


def _rows_of(path: str, flag_name: str) -> Iterator[tuple[int, int, bytes]]:
  """Yields line, place in the file and text of each row that is not empty."""
  line = start = 0
  for block in utils.read_blocks(path, flag_name):
    for row in block.removesuffix(b"\n").split(b"\n"):
      line += 1
      mark = codecs.BOM_UTF8 if line == 1 else b""
      text = row.removeprefix(mark)
      is_header = line == 1 and text.strip().lower() == HEADER.strip().lower()
      if text.strip() and not is_header:
        yield line, start + len(row) - len(text), text
      start += len(row) + 1


def split_row(row: bytes) -> tuple[bytes, bytes, bytes]:
  """A row's id, the comma behind it if there is one, and the rest."""
  if not row.startswith(b'"'):
    return row.partition(b",")
  text = row.decode(errors="surrogateescape")
  try:
    fields = [
      field.encode(errors="surrogateescape")
      for field in next(csv.reader([text]))
    ]
  except csv.Error:
    return b"", b"", row
  return fields[0], b","[: len(fields) - 1], b",".join(fields[1:])


def _parse_rows(rows: Sequence[bytes], num_classes: int) -> np.ndarray:
  """[n, C] float32: the logits of n rows of a CSV.

  Raises:
    ValueError: one of them is wrong; the message says how, if it is the only
      one.
  """
  cells = [split_row(row)[2].split() for row in rows]
  sizes = np.array([len(cell) for cell in cells], np.int64)
  if (sizes % 2).any():
    raise ValueError("its last class has no confidence")
  words = itertools.chain.from_iterable(cells)
  numbers = np.fromiter(map(float, words), np.float64, sizes.sum())
  classes, confidences = numbers[0::2], numbers[1::2]
  # Written so that NaN is outside.
  is_class = (0 <= classes) & (classes < num_classes)
  is_class &= classes % 1 == 0
  if not is_class.all():
    wrong = classes[int(np.argmin(is_class))]
    raise ValueError(f"class {wrong:g} is outside [0, {num_classes})")
  is_right = (0 <= confidences) & (confidences <= 1)
  if not is_right.all():
    wrong = confidences[int(np.argmin(is_right))]
    raise ValueError(f"confidence {wrong:g} is outside [0, 1]")
  own_rows = np.repeat(np.arange(len(rows)), sizes // 2)
  places = own_rows * num_classes + classes.astype(np.int64)
  in_order = np.sort(places)
  if (in_order[1:] == in_order[:-1]).any():
    raise ValueError("a class is there twice")
  logits = np.full((len(rows), num_classes), LOWEST_LOGIT, np.float32)
  logits.reshape(-1)[places] = logits_of(confidences)
  return logits


def _refuse(source: str, line: int, row: bytes, problem):
  raise UserError(
    f"{source}, line {line}: {utils.shown(row)} is not 'id,class confidence "
    f"class confidence ...': {problem}."
  )


@contextlib.contextmanager
def open_files(
  paths: Sequence[str], num_classes: int | None, flag_name: str
) -> Iterator[list[PredictionsFile]]:
  """Files of predictions of the same classes, to be read.

  Args:
    paths: local or gs://; what does not end in `.npz` is a CSV.
    num_classes: number of classes. None takes that of the `.npz` files, or the
      data set's if there is none.
    flag_name: the flag that the paths came from, for the error messages.

  Raises:
    UserError: a file is not there, is none of ours, or has other classes.
  """
  with contextlib.ExitStack() as stack:
    found: dict[int, PredictionsFile] = {}
    # Of a CSV, the number of classes cannot be seen.
    numbers = sorted(range(len(paths)), key=lambda i: _is_csv(paths[i]))
    for number in numbers:
      path = paths[number]
      source = f"--{flag_name}={path!r}"
      if not utils.is_file(path):
        raise UserError(f"{source}: there is no such file.")
      file = stack.enter_context(utils.reading(path, flag_name))
      if _is_csv(path):
        num_classes = num_classes or ExperimentConfig.num_classes
        found[number] = _CsvFile(file, path, source, num_classes, flag_name)
        continue
      found[number] = _ArraysFile(file, path, source)
      num_classes = num_classes or found[number].num_classes
      if found[number].num_classes != num_classes:
        raise UserError(
          f"{source} has {found[number].num_classes} classes, and should have "
          f"{num_classes}."
        )
    yield [found[number] for number in range(len(paths))]


def _is_csv(path: str) -> bool:
  return not path.endswith(".npz")


class FilePredictor:
  """Takes the place of `evaluation.Predictor`: the scores are those of a file.

  The loss is `CrossEntropyLoss`.

  Args:
    file: where the scores are.
  """

  def __init__(self, file: PredictionsFile):
    self._file = file
    self._loss = losses.CrossEntropyLoss()
    self._num_found = self._num_missing = 0

  def predictions(self, batches) -> Iterator[evaluation.Predictions]:
    """Yields what the file says of each batch with labels (readers.py)."""
    for batch in batches:
      video_ids, labels = ids_and_labels(batch)
      is_there = self._file.rows_of(video_ids) >= 0
      self._num_found += np.count_nonzero(is_there)
      self._num_missing += np.count_nonzero(~is_there)
      logits = self._file.logits(video_ids)
      confidences = confidences_of(logits)
      # Of a video of which the file says nothing, its labels come last: else
      # all classes would be equal, and the first of them a hit.
      is_empty = (logits <= LOWEST_LOGIT).all(axis=1)
      confidences[is_empty] *= 1 - labels[is_empty]
      loss = self._loss.per_example_loss(confidences, labels, logits)
      yield stored_predictions(video_ids, confidences, labels, np.asarray(loss))

  def check(self):
    """Says what was not in the file, or not in the batches.

    Raises:
      UserError: no video was in both.
    """
    if not self._num_found:
      raise UserError(
        f"{self._file.source} has none of the {self._num_missing:,} videos of "
        "the shards."
      )
    if self._num_missing:
      logging.warning(
        "%d of the %d videos of the shards are not in %s; their labels count "
        "as not found.",
        *(self._num_missing, self._num_missing + self._num_found),
        self._file.path,
      )
    num_unknown = self._file.video_ids.size - self._num_found
    if num_unknown:
      logging.info(
        "%d videos of %s are not in the shards.", num_unknown, self._file.path
      )


def ids_and_labels(batch: dict) -> tuple[np.ndarray, np.ndarray]:
  """[n] bytes and [n, C] float32: a batch's own videos, without padding."""
  num_rows = int(np.count_nonzero(batch["weights"].numpy()))
  keys = ("video_ids", "labels")
  return tuple(batch[key].numpy()[:num_rows] for key in keys)


def stored_predictions(
  video_ids, confidences, labels=None, losses=None
) -> evaluation.Predictions:
  """Predictions of which no more is known than a file can tell."""
  return evaluation.Predictions(
    video_ids, confidences, labels, losses, num_frames=None, outputs={}
  )
