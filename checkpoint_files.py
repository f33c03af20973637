# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""A look into the files of a checkpoint, which trusts nothing in them.

TensorFlow finds out whether a checkpoint's bytes are those that were written,
but believes what they say: a shape that cannot be ends the whole process, and
memory is taken for any size that is claimed. A checkpoint may come from a
stranger, so what it claims is compared with what is there before TensorFlow
opens it.

`PREFIX.index` is a table as LevelDB writes it
(https://github.com/google/leveldb/blob/main/doc/table_format.md) from names to
`BundleEntryProto`s, which say where in `PREFIX.data-...` each tensor is. One of
the tensors, a string, describes the objects that the others belong to.
Checksums are left to TensorFlow: bytes that only look right do no harm.
"""

import struct
from collections.abc import Mapping

import tensorflow as tf
from google.protobuf import message
from tensorflow.core.protobuf import (
  tensor_bundle_pb2,
  trackable_object_graph_pb2,
)

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Of a model with thousands of variables there is less than a megabyte of each.
_MAX_INDEX_BYTES = 2**24
_MAX_GRAPH_BYTES = 2**24
_MAX_RANK = 16


class DamagedError(ValueError):
  """The files are not those of a complete checkpoint."""


def largest_tensor(prefix: str) -> int:
  """Checks a checkpoint's files; bytes of the largest tensor in them.

  Args:
    prefix: the checkpoint's path, without ".index".

  Raises:
    DamagedError: the files contradict each other, or are no checkpoint's of
      objects.
    tf.errors.OpError: one of them cannot be read.
  """
  header, entries = _read_index(f"{prefix}.index")
  if not 1 <= header.num_shards <= 1000 or header.endianness != header.LITTLE:
    raise DamagedError("its index has a strange header")
  shards = [
    f"{prefix}.data-{shard:05d}-of-{header.num_shards:05d}"
    for shard in range(header.num_shards)
  ]
  shard_bytes = [tf.io.gfile.stat(shard).length for shard in shards]
  for name, entry in entries.items():
    _check_entry(name, entry, shard_bytes)
  if _GRAPH_KEY not in entries:
    raise DamagedError("it does not describe the objects that it is of")
  graph = entries[_GRAPH_KEY]
  _check_graph(_read_string(shards[graph.shard_id], graph), entries)
  return max(entry.size for entry in entries.values())


def _read_index(path: str):
  """The header and the entries by name of an index file."""
  size = tf.io.gfile.stat(path).length
  if not _FOOTER_BYTES <= size <= _MAX_INDEX_BYTES:
    raise DamagedError(f"its index has {size:,} bytes")
  with tf.io.gfile.GFile(path, "rb") as file:
    pairs = _read_table(file.read(_MAX_INDEX_BYTES))
  try:
    if pairs[0][0]:
      raise DamagedError("its index has no header")
    header = tensor_bundle_pb2.BundleHeaderProto.FromString(pairs[0][1])
    entries = {
      key.decode(): tensor_bundle_pb2.BundleEntryProto.FromString(value)
      for key, value in pairs[1:]
    }
  except (message.DecodeError, UnicodeDecodeError) as error:
    raise DamagedError(f"its index is damaged: {error}") from error
  return header, entries


def _read_table(data: bytes) -> list[tuple[bytes, bytes]]:
  """Keys and values of a LevelDB table, of which there is at least one.

  Raises:
    DamagedError: a reader could get into trouble with it, or could see other
      keys and values by going through it another way.
  """
  footer = _Bytes(data[-_FOOTER_BYTES:])
  if int.from_bytes(data[-8:], "little") != _MAGIC:
    raise DamagedError("its index is incomplete, or no index")
  footer.handle()  # Of a block that is not used.
  pairs, bound = [], None
  for separator, value in _read_block(data, footer.handle()):
    block = _read_block(data, _Bytes(value).handle())
    # A separator lies between the block's last key and the next block's first.
    if not block or block[-1][0] > separator:
      raise DamagedError("its index is out of order")
    if bound is not None and block[0][0] <= bound:
      raise DamagedError("its index is out of order")
    pairs += block
    bound = separator
  if not pairs:
    raise DamagedError("its index is empty")
  return pairs


def _read_block(
  data: bytes, handle: tuple[int, int]
) -> list[tuple[bytes, bytes]]:
  """Keys, which rise, and values of one block of a table."""
  offset, size = handle
  content = _Bytes(data[offset : offset + size + 1])
  block, compression = content.take(size), content.take(1)
  if compression != b"\0" or size < 4:
    raise DamagedError("its index is damaged")
  (num_restarts,) = struct.unpack("<I", block[-4:])
  end = size - 4 * (num_restarts + 1)
  if end < 0:
    raise DamagedError("its index is damaged")
  # Where a reader may begin, in order to find a key quickly.
  restarts = set(struct.unpack(f"<{num_restarts}I", block[end:-4]))
  pairs, key, whole_keys, records = [], b"", set(), _Bytes(block[:end])
  while records.position < end:
    start = records.position
    num_shared, num_added, length = (records.varint() for _ in range(3))
    if num_shared == 0:
      whole_keys.add(start)
    last_key, key = key, key[:num_shared] + records.take(num_added)
    if num_shared > len(last_key) or (pairs and key <= last_key):
      raise DamagedError("its index is out of order")
    pairs.append((key, records.take(length)))
  if not restarts <= whole_keys:
    raise DamagedError("its index is damaged")
  return pairs


class _Bytes:
  """Reads bytes from their start on, and not behind their end."""

  def __init__(self, data: bytes):
    self._data = data
    self.position = 0

  def take(self, size: int) -> bytes:
    """The next so many bytes."""
    if size > len(self._data) - self.position:
      raise DamagedError("a part of it ends too early")
    self.position += size
    return self._data[self.position - size : self.position]

  def varint(self) -> int:
    """A number as protocol buffers have it, of up to 64 bits."""
    value = 0
    for shift in range(0, 64, 7):
      (byte,) = self.take(1)
      value |= (byte & 127) << shift
      if byte < 128 and value < 2**64:
        return value
    raise DamagedError("a number in it is too long")

  def handle(self) -> tuple[int, int]:
    """Offset and size of a block."""
    return self.varint(), self.varint()


def _check_entry(
  name: str, entry: tensor_bundle_pb2.BundleEntryProto, shard_bytes: list[int]
):
  """Refuses an entry that claims anything but what is in the data."""
  sizes = [dimension.size for dimension in entry.shape.dim]
  is_possible = (
    0 <= entry.shard_id < len(shard_bytes)
    and 0 <= entry.offset <= entry.offset + entry.size
    and not entry.slices
    and not entry.shape.unknown_rank
    and len(sizes) <= _MAX_RANK
    and min(sizes, default=0) >= 0
  )
  if is_possible and name == _GRAPH_KEY:
    is_string = entry.dtype == tf.string.as_datatype_enum and not sizes
    is_possible = is_string and 0 < entry.size <= _MAX_GRAPH_BYTES
  elif is_possible:
    is_possible = entry.size == _num_bytes(entry.dtype, sizes)
  if not is_possible:
    raise DamagedError(f"its tensor {name!r} cannot be as the index has it")
  end, num_bytes = entry.offset + entry.size, shard_bytes[entry.shard_id]
  if end > num_bytes:
    raise DamagedError(
      f"its data end too early: {num_bytes:,} bytes, of at least {end:,}"
    )


def _num_bytes(dtype: int, sizes: list[int]) -> int | None:
  """Bytes of a tensor of numbers; None of one of anything else."""
  try:
    numpy_type = tf.dtypes.as_dtype(dtype)
  except TypeError:
    return None
  is_number = numpy_type.is_bool or (
    numpy_type.is_floating or numpy_type.is_integer
  )
  if not is_number:
    return None
  num_bytes = numpy_type.size
  for size in sizes:
    num_bytes *= size
  return num_bytes


def _read_string(path: str, entry: tensor_bundle_pb2.BundleEntryProto) -> bytes:
  """The value of a string tensor without dimensions."""
  with tf.io.gfile.GFile(path, "rb") as file:
    file.seek(entry.offset)
    content = _Bytes(file.read(entry.size))
  length = content.varint()
  content.take(4)  # A checksum.
  return content.take(length)


def _check_graph(serialized: bytes, entries: Mapping[str, object]):
  """Refuses a description of objects that names some that are not there."""
  try:
    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
      serialized
    )
  except message.DecodeError as error:
    raise DamagedError("its description of objects is damaged") from error
  seen, waiting = set(), [0]  # From the first node, all others are reached.
  while waiting:
    number = waiting.pop()
    if not 0 <= number < len(graph.nodes):
      raise DamagedError("its description of objects contradicts itself")
    if number not in seen:
      seen.add(number)
      waiting += (child.node_id for child in graph.nodes[number].children)
  for number, node in enumerate(graph.nodes):
    keys = {attribute.checkpoint_key for attribute in node.attributes}
    # Keras has no slot variables any more, and nothing here is saved by a
    # function that has to be looked up by its name.
    is_strange = node.slot_variables or node.HasField("registered_saver")
    is_whole = number in seen and keys <= entries.keys()
    if is_strange or not is_whole:
      raise DamagedError("its description of objects contradicts its index")
