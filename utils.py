# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Small helpers without state: shards, class lookup, files on any filesystem.

Every path may be local or `gs://`.
"""

import codecs
import concurrent.futures
import contextlib
import csv
import glob
import inspect
import io
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

from program import UserError

import tensorflow as tf

try:
  import fcntl
except ImportError:  # Windows; what killed programs leave stays there.
  fcntl = None

# Frames of a video that are read by default; longer videos are cut.
MAX_FRAMES = 300
_SHOWN_BYTES = 60
# A frame feature's byte b stands for b * DEQUANTIZE_SCALE + DEQUANTIZE_OFFSET,
# as in the starter code: 256 levels from -1.9921875 to 2.0078125.
DEQUANTIZE_SCALE = 4.0 / 255.0
DEQUANTIZE_OFFSET = 4.0 / 512.0 - 2.0

# The suite's own JSON files have a few kilobytes; a stranger's may have any
# number.
_MAX_JSON_BYTES = 2**26
# The longest line that is taken into memory, and what is read at a time.
_MAX_LINE_BYTES, _READ_BYTES = 2**26, 2**22
# Characters with which RFC 4180 wants a field in quotes.
_NEEDS_QUOTES = re.compile(rb'[",\r\n]')
_SAMPLED_FILES = 16

# An answer of Cloud Storage as TensorFlow quotes it (status, body, bucket), and
# the reasons in its body: JSON, or XML where objects are read.
_HTTP_ERROR = re.compile(
  r"HTTP response code (\d+) with body '(.*)'.*gs://([^/\s]+)", re.DOTALL
)
_HTTP_REASON = re.compile(
  r'"message": ?"([^"]*)"|<(?:Message|Details)>([^<]*)<'
)
_UNKNOWN_SCHEME = re.compile(r"File system scheme '([^']*)' not implemented")
_REFUSALS = {
  "401": (
    "Log in with `gcloud auth application-default login`, or name a service "
    "account's key in GOOGLE_APPLICATION_CREDENTIALS."
  ),
  "403": (
    "Ask the bucket's owner for the role Storage Object Viewer to read, or "
    "Storage Object User to write; or use another account (`gcloud auth "
    "application-default login`)."
  ),
  "404": "Check its name, or make it: gcloud storage buckets create gs://NAME",
}


def expanded(path: str) -> str:
  """A path or a list of patterns, with `~` for the home folder replaced.

  A shell leaves `~` alone behind `--flag=`.
  """
  return ",".join(map(os.path.expanduser, path.split(",")))


def list_shards(patterns: str, flag_name: str | None) -> list[str]:
  """Files that match a comma-separated list of globs, sorted, each once.

  A file or folder that exists under exactly the given name is taken as it is,
  whatever the characters of its name mean in a glob. As in a shell, `*` and `?`
  do not match a dot at the beginning of a name.

  Args:
    patterns: one or more globs, for instance "a/train*.tfrecord,b/*.tfrecord".
    flag_name: the flag the patterns came from, for the error messages; None
      where they are an argument of the program.

  Raises:
    UserError: the list is empty, or a glob matches nothing or a directory.
  """
  source = f"--{flag_name}" if flag_name else "PATTERN"
  option = f"--{flag_name}=" if flag_name else ""
  patterns = expanded(patterns or "")
  parts = patterns.split(",")
  if len(parts) > 1 and _exists_as_named(patterns):
    parts = [patterns]
  globs = [part.strip() for part in parts if part.strip()]
  if not globs:
    raise UserError(
      f"{source} is empty. Give the shards' path, for instance "
      f"{option}'/path/to/train*.tfrecord'."
    )
  return sorted(
    {
      shard
      for pattern in globs
      for shard in _matching_files(pattern, source, option)
    }
  )


def _exists_as_named(path: str) -> bool:
  """Whether there is a file with this name, or the folder that it names."""
  with contextlib.suppress(tf.errors.OpError, OSError):
    folder = os.path.dirname(path)
    return tf.io.gfile.exists(path) or (
      "," in folder and tf.io.gfile.isdir(folder)
    )
  return False


def _glob(pattern: str) -> list[str]:
  if tf.io.gfile.exists(pattern):
    return [pattern]
  folder, name = os.path.split(pattern)
  if glob.has_magic(folder) and tf.io.gfile.isdir(folder):
    pattern = os.path.join(glob.escape(folder), name)
  return [
    match
    for match in tf.io.gfile.glob(pattern)
    if not _is_hidden(match, pattern)
  ]


def _is_hidden(match: str, pattern: str) -> bool:
  """Whether a glob matched a dot at the beginning of a name."""
  pairs = zip(
    reversed(match.split("/")), reversed(pattern.split("/")), strict=False
  )
  return any(
    name.startswith(".") and part.startswith(("*", "?", "["))
    for name, part in pairs
  )


def _matching_files(pattern: str, source: str, option: str) -> list[str]:
  with _clear_errors(f"{source}: {pattern!r} cannot be listed"):
    matches = _glob(pattern)
  if not matches:
    special = ""
    if re.search(r"[\[\],]", pattern):
      special = (
        " In a pattern *, ?, [ and ] are special, and a comma ends it: write "
        "[[] for [, and ? for any one character."
      )
    raise UserError(
      f"{source}: no file matches {pattern!r}. Check the path, and quote "
      f"the pattern so that the shell leaves it alone.{special}"
    )
  for match in matches:
    # One stat a file would take minutes on a bucket of thousands of shards: of
    # many, only a name without an extension is likely to be a directory.
    is_suspect = len(matches) < 16 or not os.path.splitext(match)[1]
    if is_suspect and tf.io.gfile.isdir(match):
      raise UserError(
        f"{source}: {match!r} is a directory. Name the files in it, for "
        f"instance {option}'{match.rstrip('/')}/*.tfrecord'."
      )
  return matches


@contextlib.contextmanager
def one_ahead(items: Iterable) -> Iterator[Iterator]:
  """Gives the items, while a thread makes the next one.

  For loops with two stages that do not hold Python's lock: TensorFlow computes
  a batch while numpy works on the one before. What making an item raises is
  raised in the loop.
  """
  iterator, end = iter(items), object()
  with concurrent.futures.ThreadPoolExecutor(max_workers=1) as executor:

    def run():
      future = executor.submit(next, iterator, end)
      try:
        while (item := future.result()) is not end:
          future = executor.submit(next, iterator, end)
          yield item
      finally:
        # An exception's traceback would keep what made the items alive, and
        # with it a pipeline whose threads run into the end of the program.
        del future

    yield run()


def concrete_classes(
  modules: Iterable[ModuleType], base: type
) -> dict[str, type]:
  """The subclasses of `base` in some modules, by name; no abstract ones."""
  return {
    name: candidate
    for module in modules
    for name, candidate in inspect.getmembers(module, inspect.isclass)
    if issubclass(candidate, base)
    and candidate is not base
    and not inspect.isabstract(candidate)
  }


def find_class_by_name(
  name: str, modules: Iterable[ModuleType], base: type, flag_name: str
) -> type:
  """The subclass of `base` called `name` in one of `modules`.

  Only a class of these modules can be named, so a `model_flags.json` from a
  stranger cannot reach any other code.

  Raises:
    UserError: there is no such class; the message lists those there are.
  """
  choices = concrete_classes(modules, base)
  if name not in choices:
    raise UserError(
      f"--{flag_name}: unknown {name!r}. "
      f"Available: {', '.join(sorted(choices))}."
    )
  return choices[name]


def error_text(error: Exception) -> str:
  """An exception's message without TensorFlow's graph coordinates."""
  if isinstance(error, OSError) and error.strerror:
    # In the form of TensorFlow's own messages.
    return f"{error.filename or 'file'}; {error.strerror}"
  message = getattr(error, "message", None) or str(error)
  message = message.split("[Op:")[0].split("}} ")[-1].strip()
  if scheme := _UNKNOWN_SCHEME.search(message):
    return (
      f"TensorFlow has no filesystem for {scheme[1]}://. Use a local path or "
      "gs://: copy the files there, or mount the other storage as a folder."
    )
  return _refusal_text(message) or message


def _refusal_text(message: str) -> str | None:
  """A refusal of Cloud Storage, and what to do; None if it is another error."""
  match = _HTTP_ERROR.search(message)
  if not match or match[1] not in _REFUSALS:
    return None
  status, body, bucket = match.groups()
  reasons = [a or b for a, b in _HTTP_REASON.findall(body)]
  if status == "404" and not any("bucket" in text for text in reasons):
    return None  # A file is missing, which TensorFlow says well enough.
  reason = reasons[-1].rstrip(".") if reasons else "no reason given"
  return f"bucket {bucket!r}: {reason} (HTTP {status}). {_REFUSALS[status]}"


@contextlib.contextmanager
def _clear_errors(what: str) -> Iterator[None]:
  """Turns an error of a file system into a UserError: `what`, and why."""
  try:
    yield
  except (tf.errors.OpError, OSError) as error:
    raise UserError(f"{what}: {error_text(error)}") from error


def _open_binary(path: str) -> tf.io.gfile.GFile:
  return tf.io.gfile.GFile(path, "wb")


@contextlib.contextmanager
def replacing(
  path: str,
  opener: Callable[[str], Any] = _open_binary,
  follows_links: bool = False,
) -> Iterator["_Output"]:
  """A file that takes `path`'s place when it is complete.

  It is written under a temporary name beside `path`; an exception or a kill
  leaves what was at `path` untouched. A temporary file that a kill left is
  deleted when the same file is written again. A stream (`is_stream`) is written
  to at once.

  Args:
    path: local or gs://, or `-` for standard output.
    opener: called with the temporary name, gives a context manager to write
      through; a binary file when not given.
    follows_links: whether to replace the file that a link leads to, for a path
      that a user names; in a train dir a link may be a stranger's.

  Raises:
    UserError: the file cannot be written.
  """
  # Checked first: otherwise only the final rename would fail.
  if not os.path.basename(path) or tf.io.gfile.isdir(path):
    raise UserError(
      f"{path!r} cannot be written: a file's name is needed, not a folder's."
    )
  what = f"{path!r} cannot be written"
  if is_stream(path):
    with _writing_at_once(path, what) as output:
      yield output
    return
  if follows_links and is_local(path):
    path = os.path.realpath(path)
  temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
  with contextlib.ExitStack() as stack:
    try:
      with _clear_errors(what):
        # Only a local disk shows incomplete files: gs:// names complete ones.
        if is_local(path) and fcntl:
          _delete_what_kills_left(path)
          stack.callback(os.close, _open_locked(temporary))
        file = opener(temporary)
      try:
        yield _Output(file, what)
      finally:
        with _clear_errors(what):
          file.close()
      with _clear_errors(what):
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except BaseException:
      with contextlib.suppress(tf.errors.OpError, OSError):
        tf.io.gfile.remove(temporary)
      raise


@contextlib.contextmanager
def _writing_at_once(path: str, what: str) -> Iterator["_Output"]:
  with _clear_errors(what):
    # Appending, since a shell may have opened a file with `>>`.
    is_stdout = path == "-"
    file = sys.stdout.buffer if is_stdout else tf.io.gfile.GFile(path, "ab")
  try:
    yield _Output(file, what)
  finally:
    with _clear_errors(what):
      if is_stdout:
        file.flush()
      else:
        file.close()


def is_stream(path: str) -> bool:
  """Whether a path is standard output (`-`), a device or a pipe.

  To replace it by renaming a file would destroy it.
  """
  if path == "-":
    return True
  if not is_local(path):
    return False
  try:
    mode = os.stat(path).st_mode
  except (OSError, ValueError):
    return False
  is_file_or_folder = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
  return path.startswith(("/dev/", "/proc/")) or not is_file_or_folder


def beside(path: str, name: str) -> str:
  """predictions.csv -> predictions.NAME."""
  return f"{os.path.splitext(path)[0]}.{name}"


def refuse_overwriting(outputs: Sequence[str], inputs: Iterable[str | None]):
  """Refuses an output that is an input, or another output, by whatever name.

  Raises:
    UserError: there is one.
  """

  def place(path):
    is_file = is_local(path) and not is_stream(path)
    return os.path.realpath(path) if is_file else path

  read = {place(path) for path in inputs if path}
  written = set()
  for path in outputs:
    if place(path) in read:
      raise UserError(
        f"{path!r} is to be written, and is read, too. Write to another file."
      )
    if place(path) in written:
      raise UserError(f"Two files are to be written to {path!r}. Name others.")
    written.add(place(path))


def is_local(path: str) -> bool:
  """Whether a path is of this machine's own filesystems."""
  return "://" not in path


def _open_locked(path: str) -> int:
  """Makes a local file that is locked while its writer lives; its descriptor.

  The kernel frees the lock when the process ends, whatever ends it.
  """
  descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
  # Some file systems have no locks; then nothing can be deleted there, either.
  with contextlib.suppress(OSError):
    fcntl.flock(descriptor, fcntl.LOCK_EX)
  return descriptor


def _delete_what_kills_left(path: str):
  """Deletes temporary files of `replacing(path)` that no process has locked."""
  folder, name = os.path.split(path)
  temporary = re.compile(re.escape(name) + r"\.[0-9a-f]{8}\.tmp")
  names = []
  with contextlib.suppress(tf.errors.OpError):  # Writing will say so.
    names = tf.io.gfile.listdir(folder or ".")
  for other in filter(temporary.fullmatch, names):
    # An error means that the file is locked, gone, or no regular file.
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
      other = os.path.join(folder, other)
      flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
      descriptor = os.open(other, flags)
      stack.callback(os.close, descriptor)
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
      os.remove(other)


class _Output:
  """A file whose own errors are clear ones; those of its user stay theirs."""

  def __init__(self, file, what: str):
    self._file = file
    self._what = what

  def write(self, data: bytes) -> int:
    """Writes bytes, or a TFRecord; returns the number of bytes."""
    with _clear_errors(self._what):
      self._file.write(data)
    return len(data)

  def flush(self):
    """Hands over what was written, so that an error shows now."""
    with _clear_errors(self._what):
      self._file.flush()


def make_folder(path: str, flag_name: str):
  """Makes a folder and those above it; one that exists is fine.

  Raises:
    UserError: it cannot be made, or a file is in its place.
  """
  with _clear_errors(f"--{flag_name}={path!r} cannot be made"):
    if not is_local(path):
      # Without a bucket, writing would be tried again for many minutes.
      tf.io.gfile.glob(os.path.join(path, "*"))
    if not tf.io.gfile.exists(path):
      tf.io.gfile.makedirs(path)
  if not tf.io.gfile.isdir(path):
    raise UserError(f"--{flag_name}={path!r} is a file; a folder is needed.")


def make_writable_folder(path: str, flag_name: str):
  """Makes a folder as `make_folder`, in which files can be written.

  Raises:
    UserError: it cannot be made, or you may not write to it.
  """
  make_folder(path, flag_name)
  if is_local(path) and not os.access(path, os.W_OK | os.X_OK):
    raise UserError(
      f"--{flag_name}={path!r}: you may not write to it. Use another folder."
    )


@contextlib.contextmanager
def new_folder(
  path: str, flag_name: str, last: str, replaces: bool = False
) -> Iterator[str]:
  """A context to write a folder, which appears at `path` once it is complete.

  It is written under a temporary name beside `path`, which is what the context
  gives; an exception or a kill leaves what was at `path` untouched. Cloud
  Storage has no folders that could be renamed: there, the files are renamed one
  by one.

  Args:
    path: local or gs://. A link is followed, but for one that is replaced.
    flag_name: the setting that it comes from.
    last: the file that shows readers that the folder is complete.
    replaces: whether to replace what is there, which must be the caller's alone
      to write; otherwise a folder that is not empty is an error.

  Raises:
    UserError: the folder cannot be written.
  """
  what = f"--{flag_name}={path!r} cannot be written"
  if not path:
    raise UserError(f"--{flag_name} is empty. Name a folder.")
  path = path.rstrip("/")
  if is_local(path) and not replaces:
    path = os.path.realpath(path)
  name = "" if replaces else f".{uuid.uuid4().hex[:8]}"
  temporary, old = f"{path}{name}.tmp", f"{path}{name}.old.tmp"
  _delete_if_there(temporary, old)  # What a kill has left.
  make_folder(temporary, flag_name)
  try:
    with _clear_errors(what):
      yield temporary
      if not is_local(path):
        _delete_if_there(*([path] if replaces else []))
        _rename_files(temporary, path, last)
        return
      if replaces and os.path.lexists(path):
        os.rename(path, old)
      elif tf.io.gfile.isdir(path):
        os.rmdir(path)  # An error where it is not empty.
      os.rename(temporary, path)
  finally:
    with contextlib.suppress(UserError):
      _delete_if_there(temporary, old)


def _delete_if_there(*paths: str):
  for path in paths:
    if os.path.islink(path) or exists(path):
      delete(path)


def _rename_files(source: str, target: str, last: str):
  files = [
    os.path.join(folder, name)
    for folder, _, names in tf.io.gfile.walk(source)
    for name in names
  ]
  for path in sorted(files, key=lambda path: path.endswith(f"/{last}")):
    tf.io.gfile.rename(path, f"{target}{path.removeprefix(source)}")


def shown(text: bytes) -> str:
  """The beginning of some bytes of a file, quoted for a message."""
  more = "..." if len(text) > _SHOWN_BYTES else ""
  return repr(text[:_SHOWN_BYTES].decode(errors="replace") + more)


def exists(path: str) -> bool:
  """Whether there is a file or folder.

  Raises:
    UserError: the file system cannot tell, for want of a permission maybe.
  """
  with _clear_errors(f"{path!r} cannot be read"):
    return tf.io.gfile.exists(path)


def is_file(path: str) -> bool:
  """Whether there is a file, not a folder; raises as `exists`."""
  return exists(path) and not tf.io.gfile.isdir(path)


def file_size(path: str) -> int:
  """Bytes of a file.

  Raises:
    UserError: the file system cannot tell.
  """
  with _clear_errors(f"{path!r} cannot be read"):
    return tf.io.gfile.stat(path).length


def mean_file_size(paths: Sequence[str]) -> float:
  """About the mean size in bytes of one or more files, from a sample of them.

  A file that is gone counts as 0: who reads it will say so.
  """
  sizes = []
  for path in paths[:: max(1, len(paths) // _SAMPLED_FILES)]:
    try:
      sizes.append(file_size(path))
    except UserError:
      sizes.append(0)
  return sum(sizes) / len(sizes)


def list_folder(path: str) -> list[str]:
  """Names in a folder, without the path; none if there is no such folder.

  Raises:
    UserError: it cannot be listed.
  """
  if not exists(path):
    return []
  if not tf.io.gfile.isdir(path):
    raise UserError(f"{path!r} is a file; a folder is needed.")
  with _clear_errors(f"{path!r} cannot be listed"):
    return [name.rstrip("/") for name in tf.io.gfile.listdir(path)]


def delete(path: str):
  """Deletes a file, or a folder with all that is in it.

  Raises:
    UserError: it cannot be deleted.
  """
  with _clear_errors(f"{path!r} cannot be deleted"):
    # TensorFlow's own rmtree empties folders that symbolic links lead to.
    if os.path.islink(path) or not tf.io.gfile.isdir(path):
      tf.io.gfile.remove(path)
    elif is_local(path):
      shutil.rmtree(path)
    else:
      tf.io.gfile.rmtree(path)


def write_json(path: str, value: Any):
  """Writes `value` as indented JSON; the file changes at once or not at all."""
  with replacing(path) as file:
    file.write((json.dumps(value, indent=2) + "\n").encode())


def read_json(path: str) -> Any:
  """The value that a JSON file holds.

  Raises:
    UserError: the file cannot be read, is no JSON, or far too large.
  """
  if file_size(path) > _MAX_JSON_BYTES:
    raise UserError(f"{path!r} has more than {_MAX_JSON_BYTES:,} bytes.")
  with _clear_errors(f"{path!r} cannot be read"):
    with tf.io.gfile.GFile(path, "rb") as file:
      content = file.read(_MAX_JSON_BYTES)
  try:
    return json.loads(content)
  except (ValueError, RecursionError) as error:
    raise UserError(f"{path!r} is not valid JSON: {error}") from error


def read_lines(path: str, flag_name: str | None) -> Iterator[bytes]:
  """Yields the lines of a file of any size, without their ends.

  A byte order mark, with which spreadsheets begin a file, is left out.

  Args:
    path: local or gs://.
    flag_name: the flag that the path came from, for the error messages; None
      where it is an argument of the program.

  Raises:
    UserError: the file cannot be read, or has a line of more than 64 MB.
  """
  for number, block in enumerate(read_blocks(path, flag_name)):
    lines = block.split(b"\n")
    if number == 0:
      lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
    if not lines[-1]:  # What is behind the last line's end.
      lines.pop()
    yield from (line.removesuffix(b"\r") for line in lines)


def read_blocks(path: str, flag_name: str | None) -> Iterator[bytes]:
  """Yields a file in blocks of whole lines, of some megabytes.

  The arguments and the errors are those of `read_lines`.
  """
  source = _source(path, flag_name)
  with _clear_errors(f"{source} cannot be read"):
    with tf.io.gfile.GFile(path, "rb") as file:
      rest = b""
      while data := file.read(_READ_BYTES):
        lines, end, rest = (rest + data).rpartition(b"\n")
        if end:
          yield lines + end
        if len(rest) > _MAX_LINE_BYTES:
          raise UserError(f"{source} is no text: a line has more than 64 MB.")
  if rest:
    yield rest


def _source(path: str, flag_name: str | None) -> str:
  """A file as error messages name it."""
  return f"--{flag_name}={path!r}" if flag_name else f"{path!r}"


@contextlib.contextmanager
def reading(path: str, flag_name: str) -> Iterator["_Input"]:
  """A file whose parts are read in any order.

  Args:
    path: local or gs://.
    flag_name: the flag that the path came from, for the error messages.
  """
  with tf.io.gfile.GFile(path, "rb") as file:
    yield _Input(file, f"{_source(path, flag_name)} cannot be read")


class _Input:
  """A file as `zipfile` reads it, whose errors are clear ones."""

  def __init__(self, file: tf.io.gfile.GFile, what: str):
    self._file = file
    self._what = what

  def read(self, size: int = -1) -> bytes:
    """The next bytes, all that are left without a size."""
    with _clear_errors(self._what):
      return self._file.read(size)

  def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
    """Goes to a place, counted from the beginning or the end; returns it.

    Raises:
      OSError: it is before the beginning, which `zipfile` tries in files that
        are no archives.
    """
    with _clear_errors(self._what):
      place = offset + (self._file.size() if whence == os.SEEK_END else 0)
    if place < 0:
      raise OSError(f"{self._what}: it has no byte {place}")
    with _clear_errors(self._what):
      self._file.seek(place)
    return place

  def tell(self) -> int:
    """The place of the next byte."""
    return self._file.tell()

  def seekable(self) -> bool:
    """Whether `seek` can be called."""
    return True


class Spool:
  """Bytes that wait on a disk until what stands before them is known.

  The file has no name: whatever ends the program, nothing is left of it.

  Args:
    path: the file that they are for, whose disk is used if it is a local one.

  Raises:
    UserError: they cannot be written.
  """

  def __init__(self, path: str):
    self._what = f"{path!r} cannot be written"
    folder = os.path.dirname(os.path.abspath(path)) if is_local(path) else None
    with _clear_errors(self._what):
      self._file = tempfile.TemporaryFile(dir=folder)

  def __enter__(self):
    return self

  def __exit__(self, *unused_error):
    with _clear_errors(self._what):  # What is buffered is written.
      self._file.close()

  def write(self, data: bytes):
    """Adds bytes."""
    with _clear_errors(self._what):
      self._file.write(data)

  def chunks(self) -> Iterator[bytes]:
    """Yields all that was written, some megabytes at a time."""
    with _clear_errors(self._what):
      self._file.seek(0)
      while data := self._file.read(_READ_BYTES):
        yield data


def read_csv(
  path: str, flag_name: str, kind: str, parse: Callable[[csv.DictReader], Any]
) -> Any:
  """What `parse` makes of the rows of a small CSV file with a header.

  Args:
    path: local or gs://.
    flag_name: the flag that the path came from, for the error messages.
    kind: what the file should be, for the error messages.
    parse: raises KeyError, TypeError or ValueError where it is something else.

  Raises:
    UserError: the file cannot be read, or is something else.
  """
  source = _source(path, flag_name)
  with _clear_errors(f"{source} cannot be read"):
    with tf.io.gfile.GFile(path, "rb") as file:
      data = file.read()
  try:
    text = data.decode("utf-8-sig")
    if "\0" in text:
      raise ValueError("it has NUL characters")
    # Strict parsing: in a file that was cut, an open quote would swallow rows.
    return parse(csv.DictReader(io.StringIO(text, newline=""), strict=True))
  except (KeyError, TypeError, ValueError, csv.Error) as error:
    raise UserError(f"{source} is not {kind}: {error}.") from error


def csv_field(value: bytes) -> bytes:
  """A field of a CSV file, in quotes where RFC 4180 wants them."""
  if _NEEDS_QUOTES.search(value):
    return b'"' + value.replace(b'"', b'""') + b'"'
  return value
