# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Several workers: who they are, as TF_CONFIG says, and what they agree on.

TF_CONFIG is the variable with which Google Cloud's training services, gcloud
and Kubernetes operators tell each process of a job its part:

  {"cluster": {"chief": ["host:port"], "worker": ["host:port", ...]},
   "task": {"type": "worker", "index": 0}}

Each worker is a process with a replica of the model for each of its GPUs, or
one on its CPU. All of them take the same step at the same time.
"""

import contextlib
import faulthandler
import io
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import program
from program import UserError

import keras
import numpy as np
import tensorflow as tf
from absl import logging

TASK_VARIABLE = "TF_CONFIG"
PARAMETER_SERVER, EVALUATOR, WORKER = "ps", "evaluator", "worker"
# `master` is the chief's name of older services.
_CHIEFS = ("chief", "master")
_POLL_SECS = 0.1
# The cause in TensorFlow's long message about a lost worker.
_LOSS_CAUSE = re.compile(r"aborted by: (.+)")
_ROLES = (*_CHIEFS, WORKER, PARAMETER_SERVER, EVALUATOR)
# Errors that TensorFlow raises when another process of the job is gone.
_LOST_WORKER_ERRORS = (
  tf.errors.UnavailableError,
  tf.errors.AbortedError,
  tf.errors.CancelledError,
  tf.errors.DeadlineExceededError,
)


class Task(NamedTuple):
  """A process's part in a job.

  Attributes:
    role: `WORKER`, `PARAMETER_SERVER` or `EVALUATOR`.
    index: the worker's number; 0 is the chief, which alone writes files.
    addresses: host:port of each worker; of none where there is only one.
  """

  role: str = WORKER
  index: int = 0
  addresses: tuple[str, ...] = ()


def read_task() -> Task:
  """This process's part, from TF_CONFIG.

  A variable that names no other process, which a platform may have left over,
  makes this one work alone.

  Raises:
    UserError: TF_CONFIG says nothing that makes sense.
  """
  text = os.environ.get(TASK_VARIABLE, "")
  try:
    config = json.loads(text.strip() or "{}") or {}
    cluster = {
      role: _check_addresses(addresses)
      for role, addresses in (config.get("cluster") or {}).items()
    }
    task = config.get("task") or {}
    role, index = str(task.get("type", "")), int(str(task.get("index", 0)))
  except (ValueError, TypeError, AttributeError) as error:
    raise UserError(
      f"{TASK_VARIABLE}={text!r} is not as expected: {error}. An example: "
      '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": '
      '"worker", "index": 0}}.'
    ) from error
  if sum(map(len, cluster.values())) < 2 and role != EVALUATOR:
    return Task()
  if unknown := {role, *cluster} - {*_ROLES, ""}:
    raise UserError(
      f"{TASK_VARIABLE} names {unknown.pop()!r}; the roles are "
      f"{', '.join(_ROLES)}."
    )
  return _make_task(role, index, cluster)


def _check_addresses(addresses) -> list[str]:
  """A role's addresses; a ValueError if they are something else."""
  addresses = addresses or []
  if not isinstance(addresses, list) or not all(
    re.fullmatch(r".+:\d+", str(address)) for address in addresses
  ):
    raise ValueError(f"{addresses!r} should be a list of addresses, host:port")
  return addresses


def _make_task(role: str, index: int, cluster: dict[str, list[str]]) -> Task:
  if role in (PARAMETER_SERVER, EVALUATOR):
    return Task(role, index)
  chiefs = [address for name in _CHIEFS for address in cluster.get(name, ())]
  workers = cluster.get(WORKER, [])
  addresses = (*chiefs, *workers)
  if len(chiefs) > 1 or len(set(addresses)) < len(addresses):
    raise UserError(
      f"{TASK_VARIABLE} names {len(chiefs)} chiefs and the workers "
      f"{', '.join(addresses)}: there is one chief, and each address is of one "
      "worker."
    )
  if len(addresses) < 2:
    return Task()
  if not role:
    raise UserError(
      f"{TASK_VARIABLE} has no task: it does not say which of the "
      f"{len(addresses)} workers this is."
    )
  of_role = workers if role == WORKER else chiefs
  if not 0 <= index < len(of_role):
    raise UserError(
      f"{TASK_VARIABLE} says that this is {role} {index}, counted from 0, but "
      f"its cluster has {len(of_role)} of that role."
    )
  offset = len(chiefs) if role == WORKER else 0
  return Task(WORKER, offset + index, addresses)


def has_work(task: Task, roles: Sequence[str] = (WORKER, EVALUATOR)) -> bool:
  """Whether a task has one of these roles; logs a line if it has not."""
  if task.role in roles:
    return True
  name = {PARAMETER_SERVER: "a parameter server", EVALUATOR: "an evaluator"}
  logging.info("This is %s, which has nothing to do here.", name[task.role])
  return False


class Workers:
  """The processes that work together; or this one, which works alone.

  Attributes:
    strategy: tf.distribute.Strategy with all their replicas.
    index: this worker's number.
    count: how many workers there are.
  """

  def __init__(self, strategy: tf.distribute.Strategy, index=0, count=1):
    self.strategy = strategy
    self.index = index
    self.count = count
    self._num_local = strategy.num_replicas_in_sync // count
    self._stop: program.StopSignals | None = None
    self._add_up = _make_add_up(strategy, self._num_local)
    self._join = _make_join(strategy)

  @property
  def is_chief(self) -> bool:
    """Whether this is the worker that writes files."""
    return self.index == 0

  def part_of(self, batch_size: int) -> int:
    """This worker's rows of a batch; the parts differ by one at most."""
    return batch_size // self.count + (self.index < batch_size % self.count)

  def agree(
    self, values: Sequence[float] = (), error: Exception | None = None
  ) -> np.ndarray:
    """An all-gather of a few numbers, which all workers call at the same point.

    Args:
      values: as many as every other worker gives.
      error: why this worker has to stop; all the others stop with it.

    Returns:
      [count, len(values)] float64, the numbers of each worker.

    Raises:
      Exception: `error`.
      UserError: another worker has an error.
      KeyboardInterrupt, SystemExit: a worker has got a signal.
    """
    if self.count == 1:
      if error:
        raise error
      return np.array([values], np.float64)
    signum = (self._stop and self._stop.received) or 0
    table = np.zeros((self.count, len(values) + 2))
    table[self.index] = *values, bool(error), signum
    table = self._add_up(table.ravel()).numpy().reshape(table.shape)
    *_, errors, signums = table.T
    if errors.any():
      self._barrier_before_exit()
      raise error or UserError("Another worker stops; its messages say why.")
    if signums.any():
      self._stop = None  # The next all-gather may be that of the exit.
      self._barrier_before_exit()
      program.raise_signal(int(signums.max()))
    return table[:, :-2]

  def share(self, text: str | None) -> str:
    """The chief's text; what the others give is not looked at."""
    codes = (text or "").encode() if self.is_chief else b""
    return self.gather(codes)[0].decode()

  def wait_for_all(self):
    """Barrier: returns once every worker has come here; all may exit then."""
    self.agree()
    self._barrier_before_exit()

  def _barrier_before_exit(self):
    """A worker that exits may drop messages that its peers still wait for."""
    if self.count > 1:
      with contextlib.suppress(*_LOST_WORKER_ERRORS):
        self._add_up(np.zeros(1))

  def gather(self, data: bytes, error: Exception | None = None) -> list[bytes]:
    """An all-gather of bytes, in the order of the workers' numbers.

    Args:
      data: of any length.
      error: as in `agree`.

    Returns:
      The data of each worker.
    """
    lengths = self.agree([len(data)], error)[:, 0]
    if self.count == 1 or not lengths.any():
      return [data] * self.count
    num_words = -(-int(lengths.max()) // 8)
    words = np.frombuffer(data.ljust(8 * num_words, b"\0"), np.int64)
    # All replicas of a worker gave the same row: one of them is taken.
    table = self._join(words).numpy().reshape(-1, num_words)[:: self._num_local]
    return [
      row.tobytes()[: int(length)]
      for row, length in zip(table, lengths, strict=True)
    ]

  def collect(
    self, items: Iterable[Sequence[np.ndarray]]
  ) -> Iterator[Sequence[np.ndarray]]:
    """Yields the chief the items of all workers, in lockstep.

    Only the chief yields items. (It is an all-gather: TensorFlow has no
    gather-to-one.) What one worker's items raise stops all workers.

    Args:
      items: this worker's, as many as there are; each some arrays.
    """
    if self.count == 1:
      yield from items
      return
    iterator = iter(items)
    while True:
      item, error = next_or_error(iterator)
      gathered = self.gather(b"" if item is None else _pack(item), error)
      if not any(gathered):
        return
      if self.is_chief:
        yield from map(_unpack, filter(None, gathered))

  def copy_from_chief(self, variables: Sequence[tf.Variable | keras.Variable]):
    """Gives variables the values that they have at the chief."""
    if self.count == 1:
      return

    @tf.function(autograph=False)
    def chiefs_values():
      def add_up(*values):
        context = tf.distribute.get_replica_context()
        # The sum of the chief's values and of zeros from all other replicas.
        is_chiefs = context.replica_id_in_sync_group == 0
        # One all-reduce each: TensorFlow can join only tensors of one type.
        return [
          add_over_replicas(value * tf.cast(is_chiefs, value.dtype))
          for value in values
        ]

      values = map(tf.convert_to_tensor, variables)
      sums = self.strategy.run(add_up, tuple(values))
      return [self.first(value) for value in sums]

    for variable, value in zip(variables, chiefs_values(), strict=True):
      variable.assign(value)

  def first(self, values):
    """The value at this worker's first replica, of what each replica has."""
    return self.strategy.experimental_local_results(values)[0]

  def join_parts(self, values):
    """The rows of this worker, of what is split over its replicas."""
    return tf.concat(self.strategy.experimental_local_results(values), axis=0)

  def split(self, batch: dict) -> dict:
    """Splits the rows of a batch over this worker's replicas."""
    if self._num_local == 1:
      return batch

    def split_value(value):
      edges = np.arange(self._num_local + 1) * len(value) // self._num_local

      def part(context):
        replica = context.replica_id_in_sync_group % self._num_local
        return value[edges[replica] : edges[replica + 1]]

      return self.strategy.experimental_distribute_values_from_function(part)

    return tf.nest.map_structure(split_value, batch)


def next_or_error(iterator: Iterator) -> tuple[Any, Exception | None]:
  """The next item, None at the end; and what getting it raises, or None.

  A worker must not stop alone: the others would wait for it in the next
  all-reduce. It takes part in that one first, and says that it stops.
  """
  try:
    return next(iterator, None), None
  except Exception as error:
    return None, error


def add_over_replicas(tensors):
  """One all-reduce of a nest of tensors, in a replica of `strategy.run`."""
  context = tf.distribute.get_replica_context()
  return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)


class Lockstep:
  """The steps of one pass, which all workers take together.

  Each step has one all-reduce, so all workers must take the same number of
  steps, though their parts of the data differ in size. With the gradients of a
  step the workers add up two flags: who has a batch for the step after the
  next, and who has to stop. They are looked at when the next step has been
  started, so that nothing waits for the device, and still in time: every worker
  knows before each step that one of them at least has rows for it. A worker
  whose part has ended, or cannot be read, goes on with padding.

  Args:
    workers: those that take the steps; one that is alone needs none of this.
    batches: this worker's batches.
    make_blank: makes a batch of padding.
    stop: the signals; has the one that another worker got, too, in the end.

  Attributes:
    is_cut_short: whether the pass has ended before its last batch.
  """

  def __init__(
    self,
    workers: Workers,
    batches: Iterable[dict],
    make_blank: Callable[[], dict],
    stop: program.StopSignals,
  ):
    self.is_cut_short = False
    self._workers = workers
    self._batches = iter(batches)
    self._make_blank = make_blank
    self._stop = stop
    self._error: Exception | None = None
    self._sums: list = []

  def steps(self, most: int) -> Iterator[tuple[dict, np.ndarray]]:
    """Yields a batch and the [2] float32 flags of its step.

    Args:
      most: the number of steps after which to cut the pass short.
    """
    is_alone = self._workers.count == 1
    pairs = self._of_one_worker() if is_alone else self._of_many_workers()
    for number, (batch, flags) in enumerate(pairs):
      if number >= most or (is_alone and self._stop.should_stop):
        self.is_cut_short = True
        return
      yield self._workers.split(batch), flags

  def _of_one_worker(self):
    for batch in self._batches:
      yield batch, np.zeros(2, np.float32)

  def _of_many_workers(self):
    ahead = [self._next(), self._next()]
    given = [*(batch is not None for batch in ahead), self._has_to_stop()]
    *is_left, has_to_stop = self._workers.agree(given).any(axis=0)
    while is_left.pop(0):
      if has_to_stop:
        self.is_cut_short = True
        return
      batch = ahead.pop(0)
      ahead.append(self._next())
      flags = [ahead[-1] is not None, self._has_to_stop()]
      if batch is None:
        batch = self._make_blank()
      yield batch, np.array(flags, np.float32)
      if len(self._sums) > 1:
        has_more, has_to_stop = np.asarray(self._sums.pop(0)) > 0
        is_left.append(has_more)

  def _next(self) -> dict | None:
    """The next batch; None at the end, and where reading has failed."""
    if self._error:
      return None
    batch, self._error = next_or_error(self._batches)
    return batch

  def _has_to_stop(self) -> bool:
    return bool(self._stop.should_stop or self._error)

  def note(self, sums):
    """Takes the [2] sums of the flags of all workers, from the last step."""
    if self._workers.count > 1:
      self._sums.append(sums)

  def agree_on_end(self):
    """Tells all workers why the pass has ended.

    Raises:
      Exception: what kept this worker from reading.
      UserError: another worker could not read.
    """
    given = [self._stop.received or 0, self._stop.is_enough]
    signum, is_enough = self._workers.agree(given, self._error).max(axis=0)
    self._stop.received = self._stop.received or int(signum) or None
    self._stop.is_enough = bool(is_enough)
    self.is_cut_short |= self._stop.should_stop


def _make_add_up(strategy: tf.distribute.Strategy, num_local: int):
  """A function that adds up [n] float64 of the workers.

  Args:
    strategy: with all their replicas.
    num_local: replicas of each worker, of which the first speaks for it.
  """

  def add_up(values):
    context = tf.distribute.get_replica_context()
    speaks = context.replica_id_in_sync_group % num_local == 0
    return add_over_replicas(values * tf.cast(speaks, tf.float64))

  return _run_in_replicas(strategy, add_up, tf.float64)


def _make_join(strategy: tf.distribute.Strategy):
  """A function that joins [n] int64 of all replicas, in their order."""

  def join_values(values):
    context = tf.distribute.get_replica_context()
    # An argument has no device, and TensorFlow finds the replicas by device.
    return context.all_gather(tf.identity(values), axis=0)

  return _run_in_replicas(strategy, join_values, tf.int64)


def _run_in_replicas(strategy, function, dtype):
  """A function of a vector, with the result that all replicas have."""

  @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], dtype)])
  def run(values):
    results = strategy.run(function, (values,))
    return strategy.experimental_local_results(results)[0]

  return run


def _pack(arrays: Sequence[np.ndarray]) -> bytes:
  buffer = io.BytesIO()
  np.savez(buffer, *arrays)
  return buffer.getvalue()


def _unpack(data: bytes) -> list[np.ndarray]:
  with np.load(io.BytesIO(data)) as arrays:
    return list(arrays.values())


@contextlib.contextmanager
def join(task: Task, timeout_secs: float) -> Iterator[Workers]:
  """Context in which a task's workers work together, or this one alone.

  They end together: a signal to one of them ends all when they next agree on
  something, and none leaves the context before all have come to its end.

  Args:
    task: from `read_task`; of a worker.
    timeout_secs: how long to wait for the others.

  Raises:
    UserError: one of them does not come in time or is lost, or this one's
      address cannot be listened at.
  """
  if not task.addresses:
    os.environ.pop(TASK_VARIABLE, None)
    yield alone()
    return
  try:
    workers = _meet(task, timeout_secs)
    with program.StopSignals() as workers._stop:
      yield workers
      workers.wait_for_all()
  except _LOST_WORKER_ERRORS as error:
    raise _lost_worker(error) from error


def _meet(task: Task, timeout_secs: float) -> Workers:
  """Waits for a task's other workers; before TensorFlow does anything else."""
  os.environ[TASK_VARIABLE] = json.dumps(
    # Reduced to the workers: TensorFlow would wait for parameter servers, and
    # fails on other keys that services write.
    {
      "cluster": {WORKER: list(task.addresses)},
      "task": {"type": WORKER, "index": task.index},
    }
  )
  logging.info(
    "This is worker %d of %d; waiting for the others.",
    task.index,
    len(task.addresses),
  )
  _wait_for_others(task, timeout_secs)
  logging.info(
    "All are there, and join. Should one not answer now, this ends after %g s "
    "with the word 'Timeout' and a stack: start all workers again then.",
    timeout_secs,
  )
  with _signals_that_end(), _time_limit(timeout_secs):
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    workers = Workers(strategy, task.index, len(task.addresses))
    workers.wait_for_all()
  return workers


def alone() -> Workers:
  """This process without others, with a replica for each GPU that it sees."""
  if len(tf.config.get_visible_devices("GPU")) > 1:
    return Workers(tf.distribute.MirroredStrategy())
  return Workers(tf.distribute.get_strategy())


def _wait_for_others(task: Task, timeout_secs: float):
  """Waits until all workers are there, each listening at its address.

  TensorFlow would wait for ever, and let nothing else run meanwhile.

  Raises:
    UserError: some do not come in time.
  """
  deadline = time.monotonic() + timeout_secs
  absent = {*task.addresses} - {task.addresses[task.index]}
  with _listening(task.addresses[task.index]):
    while absent := {name for name in absent if not _is_listening(name)}:
      if time.monotonic() > deadline:
        raise UserError(
          f"After {timeout_secs:g} s (--worker_timeout_secs), these workers of "
          f"{TASK_VARIABLE} have not come up: {', '.join(sorted(absent))}. "
          "Start all workers within that time, with the same addresses."
        )
      time.sleep(_POLL_SECS)


@contextlib.contextmanager
def _listening(address: str) -> Iterator[None]:
  """Listens at this worker's address, until TensorFlow does so."""
  host, _, port = address.rpartition(":")
  # On all interfaces, as TensorFlow listens: the name may be a gateway's, or
  # one that resolves to the loopback interface.
  name = host if host in ("localhost", "127.0.0.1") else ""
  try:
    server = socket.create_server((name, int(port)), backlog=1024)
  except (OSError, ValueError, OverflowError) as error:
    raise UserError(
      f"This worker's address in {TASK_VARIABLE}, {address!r}, cannot be "
      f"listened at: {getattr(error, 'strerror', None) or error}."
    ) from error
  with server:
    yield


@contextlib.contextmanager
def _signals_that_end() -> Iterator[None]:
  """Lets signals end the process without Python, which may have to wait."""
  previous = {
    signum: signal.signal(signum, signal.SIG_DFL)
    for signum in (signal.SIGINT, signal.SIGTERM)
  }
  try:
    yield
  finally:
    for signum, handler in previous.items():
      signal.signal(signum, handler)


@contextlib.contextmanager
def _time_limit(timeout_secs: float) -> Iterator[None]:
  """Ends the process with its stack if the block takes longer.

  That is where a worker is gone again as soon as it has come.
  """
  faulthandler.dump_traceback_later(timeout_secs, exit=True)
  try:
    yield
  finally:
    faulthandler.cancel_dump_traceback_later()


def _is_listening(address: str) -> bool:
  host, _, port = address.rpartition(":")
  try:
    socket.create_connection((host, int(port)), timeout=1).close()
  except (OSError, ValueError):
    return False
  return True


def _lost_worker(error: Exception) -> UserError:
  cause = _LOSS_CAUSE.search(str(error))
  return UserError(
    "Another worker has ended or cannot be reached; its own messages say why. "
    "Start all workers again; a training goes on from its last checkpoint."
    + (f" (TensorFlow says: {cause[1][:200]})" if cause else "")
  )
