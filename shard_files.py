# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""TFRecord files, read with an exact account of what is wrong with them.

TensorFlow's reader stops at the first damaged byte and says neither in which
file nor in which record it is; and a file that was cut inside the header of a
record it takes for a complete one. This reader names the place, and goes on
behind a damaged record where the next one can still be found.

The layout of a record, all numbers little-endian
(https://www.tensorflow.org/tutorials/load_data/tfrecord):

  uint64  length of the data
  uint32  masked CRC32C of the length
  bytes   the data
  uint32  masked CRC32C of the data
"""

import dataclasses
import os
import string
import struct
from collections.abc import Iterator

from program import UserError

import google_crc32c
import tensorflow as tf

import utils

_HEADER = struct.Struct("<QI")
_LENGTH_BYTES = 8
_CRC_BYTES = 4
FRAMING_BYTES = _HEADER.size + _CRC_BYTES
# As much as stays in a processor's cache until it is used.
_READ_BYTES = 2**18
# Most bytes of a record that was cut, in which to look for the video's id.
_REMAINS_BYTES = 2**20
# The longest protocol buffer that there can be.
_MAX_RECORD_BYTES = 2**31
# How files of other kinds begin.
_MAGICS = {
  b"\x1f\x8b\x08": "is compressed with gzip",
  b"\x78\x01": "is compressed with zlib",
  b"\x78\x9c": "is compressed with zlib",
  b"\x78\xda": "is compressed with zlib",
  b"BZh": "is compressed with bzip2",
  b"\xfd7zXZ": "is compressed with xz",
  b"\x28\xb5\x2f\xfd": "is compressed with zstd",
  b"PK\x03\x04": "is a zip archive",
  b"\x89HDF\r\n": "is an HDF5 file",
  b"\x93NUMPY": "is a numpy array",
  b"PAR1": "is a Parquet file",
  b"ARROW1": "is an Arrow file",
  b"Obj\x01": "is an Avro file",
  b"\x89PNG": "is a PNG picture",
  b"\xff\xd8\xff": "is a JPEG picture",
  b"RIFF": "is an AVI, WAV or WebP file",
  b"\x1aE\xdf\xa3": "is a Matroska or WebM video",
}
# Transient errors, of a network or of a machine that has too much to do.
_PASSING_ERRORS = (
  tf.errors.AbortedError,
  tf.errors.DeadlineExceededError,
  tf.errors.ResourceExhaustedError,
  tf.errors.UnavailableError,
)
_TRUNCATED = "truncated shard"
_PRINTABLE = frozenset(string.printable.encode())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
  """A place of a shard that cannot be read.

  Attributes:
    cause: the kind of fault, in a few words that all of its kind share.
    detail: what is wrong; to be shown after the names of shard and record.
    number: number of the record in its shard, from 0.
    lost_bytes: bytes of the file that are of no use.
    remains: what there is of the record's data, maybe damaged.
    is_short: whether more of the file may be missing than `lost_bytes`.
  """

  cause: str
  detail: str
  number: int = 0
  lost_bytes: int = 0
  remains: bytes = b""
  is_short: bool = False


def read_shard(path: str) -> Iterator[bytes | Fault]:
  """Yields a file's records in order, a Fault in the place of a damaged one.

  A Fault that leaves the place of the next record unknown is the last item.

  Args:
    path: local or gs://.

  Raises:
    UserError: it cannot be read at present. That is no fault of the shard.
  """
  number = lost_bytes = 0
  try:
    lost_bytes = size = tf.io.gfile.stat(path).length
    if not size:
      yield Fault(
        cause="empty shard", detail="the file is empty", is_short=True
      )
    with tf.io.gfile.GFile(path, "rb") as file:
      records = _Records(file, size)
      while lost_bytes := records.num_bytes_left:
        number = records.number
        yield records.read()
  except _PASSING_ERRORS as error:
    raise UserError(
      f"{path!r} cannot be read at present: {utils.error_text(error)}. Start "
      "again later."
    ) from error
  except (tf.errors.OpError, OSError) as error:
    is_missing = isinstance(error, tf.errors.NotFoundError)
    yield Fault(
      cause="missing shard" if is_missing else "unreadable shard",
      detail=f"the file cannot be read: {utils.error_text(error)}",
      number=number,
      lost_bytes=lost_bytes,
      is_short=not lost_bytes,
    )


def misleads_tensorflow(path: str) -> bool:
  """Whether TensorFlow's reader must not read a file of a local disk.

  For a record whose length has the right checksum it takes any amount of
  memory, and ends the process where there is not so much; and a file that was
  cut in the header of a record is a complete one to it. In such files the
  lengths do not lead from record to record, exactly to the end. Only lengths
  are read here, at less than a microsecond each. Elsewhere, each of them would
  be a request over the network.
  """
  if not utils.is_local(path):
    return False
  try:
    descriptor = os.open(path, os.O_RDONLY)
  except OSError:
    return False  # TensorFlow will say why.
  try:
    position = 0
    while header := os.pread(descriptor, _LENGTH_BYTES, position):
      length = int.from_bytes(header, "little")
      if length > _MAX_RECORD_BYTES:
        return True
      position += length + FRAMING_BYTES
    return position != os.fstat(descriptor).st_size
  except OSError:
    return False
  finally:
    os.close(descriptor)


class _Records:
  """A place in an open shard.

  Attributes:
    number: the next record's number.
    num_bytes_left: bytes from the next record to the end of the file.
  """

  def __init__(self, file, size: int):
    self._file = file
    self._data, self._start = b"", 0  # A part of the file, and the place in it.
    self.number = 0
    self.num_bytes_left = size

  def read(self) -> bytes | Fault:
    """Reads a record; behind a Fault, `num_bytes_left` may be 0."""
    header = self._peek(_HEADER.size)
    if len(header) < _HEADER.size:
      return self._last_fault(_TRUNCATED, "the file ends in its header")
    length, length_crc = _HEADER.unpack(header)
    is_length_right = _masked_crc(header[:_LENGTH_BYTES]) == length_crc
    num_bytes = length + FRAMING_BYTES
    if num_bytes > self.num_bytes_left or length > _MAX_RECORD_BYTES:
      if not is_length_right:
        return self._last_fault(*_describe_damaged_length(header, self.number))
      return self._last_fault(*_describe_length(length, self.num_bytes_left))
    # The end first: one read then brings all of it, and it is copied once.
    data_crc = self._peek(_CRC_BYTES, _HEADER.size + length)
    data = self._peek(length, _HEADER.size)
    is_data_right = _masked_crc(data) == int.from_bytes(data_crc, "little")
    is_data_right &= len(data_crc) == _CRC_BYTES
    if is_length_right and is_data_right:
      self._pass_over(num_bytes)
      return data
    if not is_length_right and not is_data_right:
      return self._last_fault(*_describe_damaged_length(header, self.number))
    damaged = "data do" if is_length_right else "length does"
    fault = Fault(
      cause="damaged record",
      detail=f"its {damaged} not match the checksum (CRC32C) stored with it",
      number=self.number,
      lost_bytes=num_bytes,
      remains=data,
    )
    self._pass_over(num_bytes)
    return fault

  def _peek(self, num_bytes: int, offset: int = 0) -> bytes:
    """Bytes from `offset` behind here on, fewer where the file ends."""
    start = self._start + offset
    missing = start + num_bytes - len(self._data)
    if missing > 0:
      more = self._file.read(max(missing, _READ_BYTES))
      self._data, self._start = self._data[self._start :] + more, 0
      start = offset
    return self._data[start : start + num_bytes]

  def _pass_over(self, num_bytes: int):
    self._start += num_bytes
    self.num_bytes_left -= num_bytes
    self.number += 1

  def _last_fault(self, cause: str, detail: str) -> Fault:
    remains = self._peek(_REMAINS_BYTES)[_HEADER.size :]
    lost_bytes, self.num_bytes_left = self.num_bytes_left, 0
    return Fault(
      cause=cause,
      detail=detail,
      number=self.number,
      lost_bytes=lost_bytes,
      remains=remains,
      is_short=cause == _TRUNCATED,
    )


def framed(data: bytes) -> bytes:
  """A record as it lies in a TFRecord file."""
  length = len(data).to_bytes(_LENGTH_BYTES, "little")
  crcs = (_masked_crc(part).to_bytes(4, "little") for part in (length, data))
  return b"".join((length, next(crcs), data, next(crcs)))


def _masked_crc(data: bytes) -> int:
  """A CRC32C as TFRecord files store it: rotated, plus a constant."""
  crc = google_crc32c.value(data)
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _describe_length(length: int, num_bytes_left: int) -> tuple[str, str]:
  """Cause and detail where a length is too large, but what was written."""
  if length > _MAX_RECORD_BYTES:
    return "damaged shard", f"its length, {length} bytes, is above 2 GB"
  return (
    _TRUNCATED,
    f"it should have {length} bytes and a checksum, but only "
    f"{num_bytes_left - _HEADER.size} bytes are left in the file",
  )


def _describe_damaged_length(header: bytes, number: int) -> tuple[str, str]:
  """Cause and detail where a length is not what its checksum says."""
  if number == 0:
    kinds = [
      kind
      for magic, kind in _MAGICS.items()
      # Two bytes may be those of a length, whose upper half is zero.
      if header.startswith(magic) and (len(magic) > 2 or any(header[4:8]))
    ]
    if header[4:8] == b"ftyp":
      kinds = ["is an MP4 video"]
    if all(byte in _PRINTABLE for byte in header):
      kinds.append(f"begins with the text {header!r}")
    if kinds:
      return "not a TFRecord file", f"the file {kinds[0]}"
  return (
    "damaged shard",
    "its length does not match the checksum (CRC32C) stored with it, and so "
    "the next record cannot be found"
    # Whoever knows another format may recognise it.
    + (f"; the file begins with {header!r}" if number == 0 else ""),
  )
