# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""How every program starts and ends; imported before TensorFlow.

TensorFlow and Keras read some environment variables once, when they are
imported, so programs import this module first and everything else after it.

`run` parses the flags, calls a program's `main`, and turns a user's mistake
into one line and an exit code. Only our own bugs show a stack trace.
"""

import contextlib
import ctypes
import functools
import logging as standard_logging
import math
import os
import pathlib
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator

_IGNORED_BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")

# C++ start-up notes would bury the one line that an error message is; what
# matters arrives as a Python exception. Set it to 0 to see everything.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Also overrides ~/.keras/keras.json: the models here need TensorFlow's ops.
os.environ["KERAS_BACKEND"] = "tensorflow"

# Block size, in megabytes, of TensorFlow's reads from gs://. Its default, 64,
# makes the first record wait long.
CLOUD_BLOCK_MB = 8
_PRODUCT_NAME_FILE = "/sys/class/dmi/id/product_name"


def _set_up_cloud_storage(product_name_file: str = _PRODUCT_NAME_FILE):
  """Sets what TensorFlow's gs:// reads when it is imported.

  Without other credentials, TensorFlow asks the metadata server that Google's
  machines have; elsewhere it would wait ten seconds for an answer. Google's
  machines are told by their firmware's product name, as google-auth does.
  """
  if "GCS_READAHEAD_BUFFER_SIZE_BYTES" not in os.environ:
    os.environ.setdefault("GCS_READ_CACHE_BLOCK_SIZE_MB", str(CLOUD_BLOCK_MB))
  try:
    # A path of this machine, so that tf.io.gfile is not needed.
    name = pathlib.Path(product_name_file).read_text(errors="replace")
    is_elsewhere = not name.startswith("Google")
  except OSError:
    is_elsewhere = sys.platform == "darwin"
  if is_elsewhere and "GCE_METADATA_HOST" not in os.environ:
    os.environ.setdefault("NO_GCE_CHECK", "true")


_set_up_cloud_storage()


# Settings of glibc's malloc: the variable with which a user has one, its number
# for mallopt, and our value.
_MALLOC_SETTINGS = (
  ("MALLOC_TRIM_THRESHOLD_", -1, -1),  # Never.
  ("MALLOC_MMAP_MAX_", -4, 0),
  ("MALLOC_ARENA_MAX", -8, max(1, (os.cpu_count() or 1) // 8)),
)


def _keep_freed_memory():
  """Has the C library keep freed memory, and use it again for the next batch.

  By default each batch would be new memory, which the kernel has to clear: that
  takes longer than reading a frame-level batch into it. The arenas of threads
  would give memory back, too, so there are few of them.
  """
  if platform.libc_ver()[0] != "glibc" or "GLIBC_TUNABLES" in os.environ:
    return
  c_library = ctypes.CDLL(None)
  for variable, number, value in _MALLOC_SETTINGS:
    if variable not in os.environ:
      c_library.mallopt(number, value)


_keep_freed_memory()


def _open_closed_streams():
  """Has output to a stream that the caller closed (`2>&-`) go nowhere.

  Otherwise the next file to be opened would get the stream's number, and
  receive what C++ code writes to stderr.
  """
  while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
    pass
  os.close(number)
  for name, number in (("stdout", 1), ("stderr", 2)):
    if getattr(sys, name) is None:
      setattr(sys, name, os.fdopen(number, "w", closefd=False))


_open_closed_streams()


def exit_code(signum: int) -> int:
  """The exit code of a program that a signal ended, as shells have it."""
  return 128 + signum


def _exit_at_once(signum, frame):
  del frame
  os._exit(exit_code(signum))


# Signals by which users, terminals that close and schedulers end a program.
_ENDING_SIGNALS = tuple(
  getattr(signal, name)
  for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGXCPU")
  if hasattr(signal, name)
)


@contextlib.contextmanager
def _handling_signals(
  handler: Callable, signums: Iterable[int] = _ENDING_SIGNALS
) -> Iterator[None]:
  """Has signals that end a program handled by `handler`, then as before.

  A signal that is ignored stays so (`nohup`). Only the main thread can handle
  signals; in another one nothing changes.
  """
  previous = {}
  if threading.current_thread() is threading.main_thread():
    previous = {
      signum: signal.signal(signum, handler)
      for signum in signums
      if signal.getsignal(signum) is not signal.SIG_IGN
    }
  try:
    yield
  finally:
    for signum, before in previous.items():
      signal.signal(signum, before)


@contextlib.contextmanager
def _quiet_imports() -> Iterator[None]:
  """Hides what C++ code writes to stderr, and the traces that signals leave.

  Importing TensorFlow takes seconds, in which nothing can be lost yet. A
  program that handles signals itself, or imports this from another thread than
  the main one, keeps its handlers.
  """
  is_ours = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
  with contextlib.ExitStack() as stack:
    if is_ours:
      stack.enter_context(_handling_signals(_exit_at_once))
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] != "0":
      stderr = os.dup(2)
      stack.callback(os.close, stderr)
      stack.callback(os.dup2, stderr, 2)
      null = os.open(os.devnull, os.O_WRONLY)
      os.dup2(null, 2)
      os.close(null)
    yield


# TensorFlow's static initialisers log before any setting can stop them.
with _quiet_imports():
  import keras  # noqa: F401 Loaded here, where signals are looked after.
  import tensorflow as tf

import tqdm  # noqa: E402
from absl import app, flags, logging  # noqa: E402

# Its thread, which wakes bars that are not shown any more, would stay.
tqdm.tqdm.monitor_interval = 0

EXIT_FAILURE = 1
EXIT_USAGE = 2


class UserError(ValueError):
  """A mistake in flags, files or data, explained well enough to mend it."""


def run(
  main: Callable[..., int | None],
  define_flags: Callable[[], None],
  argument: str | None = None,
):
  """Runs a program and exits with its code.

  Args:
    main: reads `flags.FLAGS`, and returns the exit code (None means 0). A
      `UserError` from it is printed as one line.
    define_flags: defines the program's flags; `module_name` groups them in
      `--help`.
    argument: what the arguments beside the flags are called. There must be at
      least one then, and `main` gets a list of them. None: there are none.
  """
  description = sys.modules[main.__module__].__doc__ or ""
  with _own_flags(define_flags), _a_lost_log_is_fine():
    app.run(
      lambda argv: _main_with_clear_errors(
        functools.partial(main, argv[1:]) if argument else main
      ),
      flags_parser=lambda argv: _parse_flags(argv, description, argument),
    )


@contextlib.contextmanager
def _own_flags(define_flags: Callable[[], None]) -> Iterator[None]:
  """Context with a program's flags; a notebook may run several programs."""
  others = {*flags.FLAGS}
  define_flags()
  own = {*flags.FLAGS} - others
  try:
    yield
  finally:
    for name in own:
      delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()


def _main_with_clear_errors(main) -> int:
  _set_up_logging()
  if _IGNORED_BACKEND != "tensorflow":
    logging.warning(
      "KERAS_BACKEND=%s is ignored: this suite runs on TensorFlow.",
      _IGNORED_BACKEND,
    )
  # Python itself turns SIGINT into a KeyboardInterrupt.
  signums = [number for number in _ENDING_SIGNALS if number != signal.SIGINT]
  try:
    with _handling_signals(_exit_on_signal, signums):
      return main() or 0
  except UserError as error:
    return _end(f"error: {error}", EXIT_FAILURE)
  except tf.errors.ResourceExhaustedError as error:
    reason = _allocation(error)
    return _end(
      f"error: out of memory ({reason}). Try a lower batch size.", EXIT_FAILURE
    )
  except BaseException as error:
    signum = _signal_behind(error)
    if signum is None:
      raise
    return _end(f"stopped by signal {signum:d}.", exit_code(signum))


def _signal_behind(error: BaseException | None) -> int | None:
  """The signal that an exception stands for, or that it followed; or None.

  A signal may come while a lock is taken, whose release then fails.
  """
  while error is not None:
    if isinstance(error, KeyboardInterrupt):
      return signal.SIGINT
    if isinstance(error, _Terminated):
      return error.signum
    error = error.__context__
  return None


def _allocation(error) -> str:
  """The allocation that failed in TensorFlow, or the error's first line."""
  lines = str(error.message).splitlines() or ["no message"]
  return next((line for line in lines if "allocat" in line), lines[0])


class _Terminated(SystemExit):
  """A signal, as an exception: half-written files are removed on its way."""

  def __init__(self, signum: int):
    super().__init__(exit_code(signum))
    self.signum = signum


def _exit_on_signal(signum, frame):
  del frame
  raise _Terminated(signum)


def raise_signal(signum: int):
  """Ends the program as if it had got a signal itself."""
  if signum == signal.SIGINT:
    raise KeyboardInterrupt
  _exit_on_signal(signum, None)


class StopSignals:
  """Notes signals that end a program in its context, so a loop can end well.

  A second signal ends the program at once.

  Attributes:
    received: the signal's number, or None. May be set to that of another
      process, after which the first signal to this process is no second one.
    is_enough: whether to stop without a signal, since the work is done.
  """

  def __init__(self):
    self.received: int | None = None
    self.is_enough = False
    self._has_come = False
    self._handling = _handling_signals(self._note)

  def __enter__(self):
    self._handling.__enter__()
    return self

  def __exit__(self, *error):
    return self._handling.__exit__(*error)

  @property
  def should_stop(self) -> bool:
    """Whether the loop is to end."""
    return self.received is not None or self.is_enough

  def _note(self, signum, frame):
    if self._has_come:
      _exit_at_once(signum, frame)
    self._has_come = True
    self.received = self.received or signum


def _lost_terminal_is_fine():
  """Context that ignores errors of a terminal that has gone."""
  return contextlib.suppress(OSError)


@contextlib.contextmanager
def _a_lost_log_is_fine() -> Iterator[None]:
  """Context that drops, at its end, what stderr can no longer take.

  Python flushes stderr when it exits. Where that fails, as it does for a pipe
  that nobody reads any more, the exit code would be 120 instead of ours.
  """
  try:
    yield
  finally:
    try:
      sys.stderr.flush()
    except OSError:
      null = os.open(os.devnull, os.O_WRONLY)
      os.dup2(null, 2)
      os.close(null)


class ProgressDisplay:
  """A bar under a terminal, log lines elsewhere.

  Args:
    unit: what is counted, for instance "step".
    total: how many there will be, or None.
    initial: how many have been done before.
    is_amount: whether the bar shows large numbers short: 1.5M for 1,500,000.
    every_secs: what comes sooner after what was shown is not shown.
  """

  def __init__(
    self,
    unit: str,
    total: int | None = None,
    initial: int = 0,
    is_amount: bool = False,
    every_secs: float = 0.0,
  ):
    self._every_secs = every_secs
    self._last_shown = -math.inf
    self._bar = tqdm.tqdm(
      unit=f" {unit}",
      total=total,
      initial=initial,
      unit_scale=is_amount,
      dynamic_ncols=True,
      disable=None,  # Where stderr is no terminal.
    )

  def __enter__(self):
    return self

  def __exit__(self, *unused_error):
    self.close()

  @property
  def is_bar(self) -> bool:
    """Whether there is a bar, which may be shown often."""
    return not self._bar.disable

  def close(self):
    """Leaves the terminal as it was."""
    with _lost_terminal_is_fine():
      self._bar.close()

  def show(self, position: int, line: str, **figures):
    """Shows how far a program has come.

    Args:
      position: units done, counted from the very first.
      line: what to log where there is no bar.
      **figures: names and values shown behind the bar.
    """
    now = time.monotonic()
    if now - self._last_shown < self._every_secs:
      return
    self._last_shown = now
    if not self.is_bar:
      logging.info(line)
      return
    with _lost_terminal_is_fine():
      self._bar.set_postfix(figures, refresh=False)
      self._bar.update(position - self._bar.n)

  def note(self, line: str):
    """Shows a line that stays."""
    if self.is_bar:
      with _lost_terminal_is_fine():
        self._bar.write(line, file=sys.stderr)
    else:
      logging.info(line)


def _set_up_logging():
  """Log lines that show the time and the message, and only ours."""
  logging.set_verbosity(logging.INFO)
  handler = logging.get_absl_handler()
  handler.setFormatter(
    standard_logging.Formatter(
      "%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"
    )
  )
  # TensorFlow's own handler shows once more, in another format, what absl's
  # shows already.
  standard_logging.getLogger("tensorflow").handlers.clear()
  # TensorFlow logs the microseconds of each checkpoint through absl, too, and
  # each value of a checkpoint that could not be restored, after our message;
  # and each step of writing a SavedModel.
  unwanted = (
    *("functional_saver.py", "checkpoint.py", "cross_device_ops.py"),
    *("builder_impl.py", "fingerprinting_utils.py"),
    "signature_serialization.py",
  )
  handler.addFilter(lambda record: record.filename not in unwanted)


def _parse_flags(
  argv: list[str], description: str, argument: str | None
) -> list[str]:
  """Parses flags; ends the program on `--help` and on usage errors."""
  if {"--help", "-help", "-h"} & set(argv[1:]):
    sys.stdout.write(_help_text(description))
    sys.exit(0)
  try:
    others = flags.FLAGS(argv)[1:]
    if argument and not others:
      raise flags.Error(f"{argument} is missing")
  except flags.Error as error:
    sys.exit(_end(f"error: {str(error).rstrip('.')}. See --help.", EXIT_USAGE))
  if others and not argument:
    message = (
      f"error: unexpected argument {others[0]!r}. Flags are written "
      "--name=value; quote a pattern that contains * so that the shell leaves "
      "it alone."
    )
    sys.exit(_end(message, EXIT_USAGE))
  return [argv[0], *others]


def _help_text(description: str) -> str:
  """The help text: the program's docstring and its flags, group by group."""
  groups = flags.FLAGS.flags_by_module_dict()
  ours = [name for name in groups if name[:1].isupper()]
  lines = [description.strip()]
  for group in ours:
    lines.append(f"\n{group}:")
    for flag in groups[group]:
      default = "" if flag.default is None else f" Default: {flag.default}."
      text = f"--{flag.name}: {flag.help}{default}"
      lines.append(flags.text_wrap(text, indent="    ", firstline_indent="  "))
  return "\n".join(lines) + "\n\n--helpfull lists the libraries' flags too.\n"


def _end(message: str, code: int) -> int:
  """Writes a program's last words as one line; returns its exit code."""
  name, one_line = os.path.basename(sys.argv[0]), " ".join(message.split())
  with _lost_terminal_is_fine():
    sys.stderr.write(f"{name}: {one_line}\n")
  return code
