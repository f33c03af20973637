# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""TFRecord files byte by byte: every flip, every cut, and files of other kinds.

What is expected follows from what was done to a file, and from a second, slow
reader in plain Python whose checksum is computed bit by bit.
"""

import gzip
import os
import struct
import tracemalloc
import zlib

from program import UserError

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import shard_files
from shard_files import Fault, read_shard

HEADER_BYTES, FOOTER_BYTES = 12, 4
# The data of a small shard; text and zeros among them, and nothing at all.
RECORDS = [b"first record", b"", b"\0" * 9, bytes(range(40)), b"the last"]

thorough = settings(max_examples=150, deadline=None, derandomize=True)


def make_crc_table():
  # The polynomial of CRC-32C, reversed: RFC 3720, appendix B.4.
  table = []
  for value in range(256):
    for _ in range(8):
      value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    table.append(value)
  return table


CRC_TABLE = make_crc_table()


def masked_crc(data: bytes) -> int:
  crc = 0xFFFFFFFF
  for byte in data:
    crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
  crc ^= 0xFFFFFFFF
  # As tensorflow/core/lib/hash/crc32c.h masks it.
  return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32


def framed(data: bytes, length: int | None = None) -> bytes:
  """A record as it is stored, maybe with a length that is not the data's."""
  header = struct.pack("<Q", len(data) if length is None else length)
  crcs = [struct.pack("<I", masked_crc(part)) for part in (header, data)]
  return header + crcs[0] + data + crcs[1]


SHARD = b"".join(map(framed, RECORDS))
# Where each record begins, and the end of the file.
BOUNDARIES = [
  sum(len(framed(data)) for data in RECORDS[:number])
  for number in range(len(RECORDS) + 1)
]


def slow_read(content: bytes) -> list[bytes | int]:
  """The records; in the place of a damaged one its number.

  Behind one of whose two checksums only one is right, the next one is where its
  length says. Behind any other, there is none.
  """
  items, start = [], 0
  while start < len(content):
    (length,) = struct.unpack("<Q", content[start : start + 8].ljust(8, b"\0"))
    end = start + HEADER_BYTES + length + FOOTER_BYTES
    data = content[start + HEADER_BYTES : end - FOOTER_BYTES]
    good = framed(data)
    is_whole = end <= len(content)
    is_header_right = content[start : start + 12] == good[:12]
    is_data_right = is_whole and content[end - 4 : end] == good[-4:]
    if is_header_right and is_data_right:
      items.append(data)
    else:
      items.append(len(items))
      if not is_whole or not (is_header_right or is_data_right):
        break
    start = end
  return items


@pytest.fixture
def path(tmp_path):
  return str(tmp_path / "shard.tfrecord")


def read(path, content: bytes) -> list[bytes | Fault]:
  with open(path, "wb") as file:
    file.write(content)
  return list(read_shard(path))


def only_numbers(items):
  return [item.number if isinstance(item, Fault) else item for item in items]


def test_the_slow_checksum_is_right():
  # The check value of CRC-32C: RFC 3720, B.4, 32 bytes of zeros and of ones.
  for data, crc in ((bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)):
    expected = ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32
    assert masked_crc(data) == expected


def test_what_tensorflow_writes_is_read(path):
  with tf.io.TFRecordWriter(path) as writer:
    for data in RECORDS:
      writer.write(data)
  with open(path, "rb") as file:
    assert file.read() == SHARD
  assert list(read_shard(path)) == RECORDS


def test_every_flipped_byte(path):
  for place in range(len(SHARD)):
    number = max(n for n in range(len(RECORDS)) if BOUNDARIES[n] <= place)
    offset = place - BOUNDARIES[number]
    content = bytearray(SHARD)
    content[place] ^= 1 << place % 8
    items = read(path, content)
    fault = items[number]
    assert isinstance(fault, Fault)
    assert fault.number == number
    assert not fault.is_short
    if offset < 8:  # The length, without which the next one is not found.
      assert items == [*RECORDS[:number], fault]
      assert fault.cause == "damaged shard"
      assert fault.detail == (
        "its length does not match the checksum (CRC32C) stored with it, and "
        "so the next record cannot be found"
        + ("" if number else f"; the file begins with {bytes(content[:12])!r}")
      )
      assert fault.lost_bytes == len(SHARD) - BOUNDARIES[number]
      begin = BOUNDARIES[number] + HEADER_BYTES
      assert fault.remains == SHARD[begin:]
      continue
    part = "length does" if offset < HEADER_BYTES else "data do"
    assert items == [*RECORDS[:number], fault, *RECORDS[number + 1 :]]
    assert fault.cause == "damaged record"
    assert fault.detail == (
      f"its {part} not match the checksum (CRC32C) stored with it"
    )
    assert fault.lost_bytes == BOUNDARIES[number + 1] - BOUNDARIES[number]
    is_data = 0 <= offset - HEADER_BYTES < len(RECORDS[number])
    assert len(fault.remains) == len(RECORDS[number])
    assert (fault.remains != RECORDS[number]) == is_data


def test_every_cut(path):
  for end in range(len(SHARD)):
    items = read(path, SHARD[:end])
    number = max(n for n in range(len(RECORDS)) if BOUNDARIES[n] <= end)
    num_left = end - BOUNDARIES[number]
    assert items[:number] == RECORDS[:number]
    if num_left == 0 and number:  # As if there had never been more.
      assert items == RECORDS[:number]
      continue
    (fault,) = items[number:]
    assert fault.number == number
    assert fault.is_short
    assert fault.lost_bytes == num_left
    begin = BOUNDARIES[number] + HEADER_BYTES
    assert fault.remains == SHARD[begin:end]
    if end == 0:
      detail = "the file is empty"
    elif num_left < HEADER_BYTES:
      detail = "the file ends in its header"
    else:
      detail = (
        f"it should have {len(RECORDS[number])} bytes and a checksum, but only "
        f"{num_left - HEADER_BYTES} bytes are left in the file"
      )
    assert fault.detail == detail
    assert fault.cause == ("truncated shard" if end else "empty shard")


def test_nothing_is_lost_behind_many_damaged_records(path):
  content = bytearray(SHARD)
  for number, offset in ((0, 8), (2, 13), (3, HEADER_BYTES + 41)):
    content[BOUNDARIES[number] + offset] ^= 0x80  # A checksum, or the data.
  expected = [0, RECORDS[1], 2, 3, RECORDS[4]]
  assert only_numbers(read(path, content)) == expected == slow_read(content)


IS_VIDEO = "the file is an MP4 video"
TEXT = b"VideoId,LabelConfidencePairs\nvid0,1 0.5\n"


@pytest.mark.parametrize(
  ("content", "cause", "detail"),
  [
    (
      TEXT,
      "not a TFRecord file",
      "the file begins with the text b'VideoId,Labe'",
    ),
    (
      gzip.compress(SHARD),
      "not a TFRecord file",
      "the file is compressed with gzip",
    ),
    (
      zlib.compress(SHARD),
      "not a TFRecord file",
      "the file is compressed with zlib",
    ),
    (b"PK\3\4" + bytes(99), "not a TFRecord file", "the file is a zip archive"),
    (b"\0\0\0\x20ftypisom" + bytes(9), "not a TFRecord file", IS_VIDEO),
    # The length of a record of 0x9c78 bytes, with a wrong checksum.
    (b"\x78\x9c" + bytes(40_200), "damaged shard", None),
    (b"short text", "truncated shard", "the file ends in its header"),
    (bytes(99), "damaged shard", None),
    # Only the first record can tell what a file is.
    (framed(b"good") + TEXT, "damaged shard", None),
    (framed(b"good") + gzip.compress(SHARD), "damaged shard", None),
  ],
)
def test_files_of_other_kinds(path, content, cause, detail):
  items = read(path, content)
  assert items[:-1] == ([b"good"] if b"good" in content else [])
  fault = items[-1]
  assert fault.cause == cause
  assert fault.detail == detail or (
    detail is None and "the next record cannot be found" in fault.detail
  )
  assert fault.lost_bytes == len(content) - len(framed(b"good")) * fault.number


def test_a_missing_file_and_a_folder(tmp_path):
  missing = str(tmp_path / "missing.tfrecord")
  (fault,) = read_shard(missing)
  assert fault.cause == "missing shard"
  assert fault.detail == (
    f"the file cannot be read: {missing}; No such file or directory"
  )
  assert (fault.number, fault.lost_bytes, fault.is_short) == (0, 0, True)
  (fault,) = read_shard(str(tmp_path))
  assert fault.cause == "unreadable shard"
  assert fault.detail.startswith("the file cannot be read: ")
  assert fault.detail.endswith("; Is a directory")
  assert fault.number == 0


class FailingFile(tf.io.gfile.GFile):
  """A file of which only the first part can be read."""

  error = tf.errors.PermissionDeniedError
  num_reads = 0

  def read(self, n=-1):
    self.num_reads += 1
    if self.num_reads > 1:
      raise self.error(None, None, "not for you")
    return super().read(n)


def test_a_file_that_cannot_be_read_on(path, monkeypatch):
  monkeypatch.setattr(shard_files, "_READ_BYTES", BOUNDARIES[2] + 3)
  monkeypatch.setattr(tf.io.gfile, "GFile", FailingFile)
  *records, fault = read(path, SHARD)
  assert records == RECORDS[:2]
  assert fault == Fault(
    cause="unreadable shard",
    detail="the file cannot be read: not for you",
    number=2,
    lost_bytes=len(SHARD) - BOUNDARIES[2],
  )


def test_a_network_that_is_down_is_no_fault_of_the_file(path, monkeypatch):
  monkeypatch.setattr(shard_files, "_READ_BYTES", BOUNDARIES[2] + 3)
  monkeypatch.setattr(FailingFile, "error", tf.errors.UnavailableError)
  monkeypatch.setattr(tf.io.gfile, "GFile", FailingFile)
  with pytest.raises(UserError, match="at present: not for you. Start again"):
    read(path, SHARD)


@pytest.mark.parametrize("num_left", [0, 7, 20])
def test_a_file_that_shrinks_while_it_is_read(path, num_left):
  # Another download of it has begun, maybe. Larger than what is read ahead.
  records = [bytes([number]) * 2**20 for number in range(8)]
  with tf.io.TFRecordWriter(path) as writer:
    for data in records:
      writer.write(data)
  items = read_shard(path)
  found = [next(items)]
  os.truncate(path, 5 * (2**20 + HEADER_BYTES + FOOTER_BYTES) + num_left)
  found += items
  assert found[:5] == records[:5]
  faults = found[5:]
  assert faults
  assert all(isinstance(item, Fault) for item in faults)
  assert [fault.number for fault in faults] == list(range(5, len(found)))


@pytest.mark.parametrize("length", [2**31 + 1, 2**64 - 1])
@pytest.mark.parametrize("has_right_crc", [True, False])
def test_an_absurd_length_allocates_nothing(path, length, has_right_crc):
  header = bytearray(framed(b"", length)[:HEADER_BYTES])
  if not has_right_crc:
    header[8] ^= 1
  # Also where the file seems to be long enough: one with a hole.
  for file_size in (None, length + 100):
    with open(path, "wb") as file:
      file.write(framed(b"good") + header + b"something")
      if file_size and file_size < 2**32:
        file.truncate(file_size)
    tracemalloc.start()
    good, fault = read_shard(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20
    assert good == b"good"
    assert (fault.number, fault.cause) == (1, "damaged shard")
    assert fault.lost_bytes == os.path.getsize(path) - len(framed(b"good"))
    if has_right_crc:
      assert fault.detail == f"its length, {length} bytes, is above 2 GB"
    else:
      assert "the next record cannot be found" in fault.detail


def test_a_large_record_that_is_cut(path):
  data = bytes(range(256)) * 2**14  # 4 MiB
  with tf.io.TFRecordWriter(path) as writer:
    writer.write(b"good")
    writer.write(data)
  os.truncate(path, os.path.getsize(path) - 5)
  good, fault = read_shard(path)
  assert good == b"good"
  assert fault.cause == "truncated shard"
  assert fault.detail == (
    f"it should have {2**22} bytes and a checksum, but only {2**22 - 1} bytes "
    "are left in the file"
  )
  # Enough to find the video's id in.
  assert data.startswith(fault.remains)
  assert len(fault.remains) > 2**19


def test_what_would_mislead_tensorflow(path):
  for end in range(len(SHARD) + 1):
    with open(path, "wb") as file:
      file.write(SHARD[:end])
    assert shard_files.misleads_tensorflow(path) == (end not in BOUNDARIES)
  for length in (2**31 - 1, 2**31 + 1, 2**40, 2**63, 2**64 - 1):
    with open(path, "wb") as file:
      file.write(framed(b"good") + framed(b"", length))
    assert shard_files.misleads_tensorflow(path)
  # Wherever these are: TensorFlow says what is wrong.
  assert not shard_files.misleads_tensorflow(path + "x")
  assert not shard_files.misleads_tensorflow("gs://bucket/shard")


def mutated(content: bytes, edits) -> bytes:
  """Applies (kind, place, bytes) edits, one after the other."""
  for kind, place, data in edits:
    place %= len(content) + 1
    if kind == "insert":
      content = content[:place] + data + content[place:]
    elif kind == "delete":
      content = content[:place] + content[place + len(data) :]
    elif kind == "replace":
      content = content[:place] + data + content[place + len(data) :]
    else:
      content = content[:place]
  return content


EDITS = st.lists(
  st.tuples(
    st.sampled_from(["insert", "delete", "replace", "cut"]),
    st.integers(0, 2**16),
    st.binary(min_size=1, max_size=20),
  ),
  max_size=3,
)


@thorough
@given(
  records=st.lists(st.binary(max_size=30), max_size=6),
  edits=EDITS,
  window=st.sampled_from([1, 11, 12, 13, 17, 64, 2**20]),
)
def test_any_damage_as_the_slow_reader_sees_it(
  tmp_path_factory, records, edits, window
):
  content = mutated(b"".join(map(framed, records)), edits)
  path = str(tmp_path_factory.getbasetemp() / "damaged.tfrecord")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(shard_files, "_READ_BYTES", window)
    items = read(path, content)
  assert only_numbers(items) == (slow_read(content) or [0])
  faults = [item for item in items if isinstance(item, Fault)]
  num_bytes = sum(
    item.lost_bytes if isinstance(item, Fault) else len(framed(item))
    for item in items
  )
  assert num_bytes == len(content)  # Each byte is of use, or counted as lost.
  assert all(fault.cause and fault.detail for fault in faults)


@thorough
@given(records=st.lists(st.binary(max_size=30), max_size=4), edits=EDITS)
def test_what_does_not_mislead_tensorflow(tmp_path_factory, records, edits):
  # Then it has all records, or fails at the first damaged one.
  content = mutated(b"".join(map(framed, records)), edits)
  path = str(tmp_path_factory.getbasetemp() / "misleading.tfrecord")
  items = read(path, content)
  if not content:
    del items[:]  # The caller finds that out by itself.
  if shard_files.misleads_tensorflow(path):
    assert isinstance(items[-1], Fault)
    return
  found = []
  try:
    for data in tf.data.TFRecordDataset(path):
      found.append(data.numpy())
  except tf.errors.DataLossError:
    assert isinstance(items[len(found)], Fault)
    del items[len(found) :]
  assert found == items
