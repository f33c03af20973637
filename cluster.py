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
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import program
from program import UserError

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging

TASK_VARIABLE = "TF_CONFIG"
PARAMETER_SERVER, EVALUATOR, WORKER = "ps", "evaluator", "worker"
# `master` is the chief's name of older services.
_CHIEFS = ("chief", "master")
_POLL_SECS = 0.1
# What is worth showing of TensorFlow's many lines where a worker is lost.
_LOSS_CAUSE = re.compile(r"aborted by: (.+)")
_ROLES = (*_CHIEFS, WORKER, PARAMETER_SERVER, EVALUATOR)
# What TensorFlow raises where another process of the job is gone.
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

  Raises:
    UserError: TF_CONFIG says nothing that makes sense.
  """
  text = os.environ.get(TASK_VARIABLE, "")
  try:
    config = json.loads(text or "{}")
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
  if unknown := {role, *cluster} - {*_ROLES, ""}:
    raise UserError(
      f"{TASK_VARIABLE} names {unknown.pop()!r}; the roles are "
      f"{', '.join(_ROLES)}."
    )
  return _make_task(role, index, cluster)


def _check_addresses(addresses) -> list[str]:
  """A role's addresses; a ValueError if they are something else."""
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


class Place(NamedTuple):
  """How far a worker has come in its part of the data.

  Attributes:
    epoch: the pass that is under way.
    videos: how many of its records the worker has read for it.
  """

  epoch: int
  videos: int

  def after(self, epochs: np.ndarray) -> "Place":
    """The place behind a batch.

    Args:
      epochs: [batch] int, as `checkpoints.Position.advance` has them.
    """
    last = max(int(epochs.max()), self.epoch)
    before = self.videos if last == self.epoch else 0
    return Place(last, before + int(np.count_nonzero(epochs == last)))


def has_work(task: Task, roles: Sequence[str] = (WORKER, EVALUATOR)) -> bool:
  """Whether a task is of one of these roles; says so if it is not."""
  if task.role in roles:
    return True
  name = {PARAMETER_SERVER: "a parameter server", EVALUATOR: "an evaluator"}
  logging.info("This is %s, which has nothing to do here.", name[task.role])
  return False


def define_flags():
  """Flags of programs that may run on several workers."""
  flags.DEFINE_integer(
    "worker_timeout_secs",
    300,
    "How long to wait for the other workers that TF_CONFIG names to start.",
    lower_bound=1,
    module_name="Machine",
  )


class Notes(Protocol):
  """What each worker notes, and tells the others when they agree."""

  def take_news(self) -> bytes:
    """What was noted since this was called last; b"" for nothing."""

  def add_news(self, news: bytes):
    """Notes what another worker has noted."""

  def check(self):
    """Called when there was news; may raise a UserError."""


class Workers:
  """The processes that work together; or this one, which works alone.

  Attributes:
    strategy: tf.distribute.Strategy with all their replicas.
    index: this one's number.
    count: how many there are.
  """

  def __init__(self, strategy: tf.distribute.Strategy, index=0, count=1):
    self.strategy = strategy
    self.index = index
    self.count = count
    self._num_local = strategy.num_replicas_in_sync // count
    self._stop: program.StopSignals | None = None
    self._notes: Notes | None = None
    self._add_up = _make_add_up(strategy, self._num_local)
    self._join = _make_join(strategy)

  @property
  def is_chief(self) -> bool:
    """Whether this is the worker that writes files."""
    return self.index == 0

  def part_of(self, batch_size: int) -> int:
    """This worker's part of a batch; the parts differ by one at most."""
    return batch_size // self.count + (self.index < batch_size % self.count)

  @contextlib.contextmanager
  def stopping_together(self) -> Iterator[None]:
    """A signal to one worker ends all, when they next agree on something."""
    if self.count == 1:
      yield
      return
    with program.StopSignals() as self._stop:
      try:
        yield
      finally:
        self._stop = None

  @contextlib.contextmanager
  def sharing(self, notes: Notes) -> Iterator[None]:
    """What one worker notes, all know when they next agree on something."""
    self._notes = notes
    try:
      yield
    finally:
      self._notes = None

  def agree(self, values: Sequence[float]) -> np.ndarray:
    """Tells the others some numbers; waits for theirs.

    In one go with what `stopping_together` and `sharing` need.

    Args:
      values: as many as every other worker gives.

    Returns:
      [count, len(values)] float64, the numbers of each worker.

    Raises:
      KeyboardInterrupt, SystemExit: one has got a signal, where they stop
        together.
      UserError: of the `check` of what they share.
    """
    if self.count == 1:
      return np.array([values], np.float64)
    news = self._notes.take_news() if self._notes else b""
    signum = (self._stop and self._stop.received) or 0
    table = np.zeros((self.count, len(values) + 2))
    table[self.index] = *values, len(news), signum
    table = self._add_up(table.ravel()).numpy().reshape(table.shape)
    self._tell(news, table[:, -2])
    if signum := int(table[:, -1].max()):
      self._stop = None  # Once; the block may still have to agree on its end.
      self.make_sure_all_know()
      program.raise_signal(signum)
    return table[:, :-2]

  def _tell(self, news: bytes, lengths: np.ndarray):
    """Tells the others what is new; `lengths` says how much each has to say."""
    if not lengths.any():
      return
    for index, others in enumerate(self._gather(news, lengths)):
      if self._notes and others and index != self.index:
        self._notes.add_news(others)
    self._check_notes()

  def _check_notes(self):
    """Raises the UserError of the notes' `check`, in all workers or in none."""
    error = None
    try:
      if self._notes:  # One may have begun to note, and another not yet.
        self._notes.check()
    except UserError as own_error:
      error = own_error
    if self._add_up(np.array([float(bool(error))])).numpy().any():
      self.make_sure_all_know()
      raise error or UserError("Another worker stops; its messages say why.")

  def share(self, text: str | None) -> str:
    """The chief's text; what the others give is not looked at."""
    codes = (text or "").encode() if self.is_chief else b""
    return self.gather(codes)[0].decode()

  def wait_for_all(self):
    """Returns once every worker has come here; they may end then."""
    self.agree([0])
    self.make_sure_all_know()

  def make_sure_all_know(self):
    """To be called by all before they end because of what they agreed on.

    What this worker has sent the others may still be under way when it has all
    it needs itself, and would not arrive if it ended. Of this second time, all
    that counts is that everyone has come to it: the first is over then.
    """
    if self.count > 1:
      with contextlib.suppress(*_LOST_WORKER_ERRORS):
        self._add_up(np.zeros(1))

  def gather(self, data: bytes) -> list[bytes]:
    """Gives all workers what each of them has, in the order of their numbers.

    Args:
      data: of any length.

    Returns:
      The data of each worker.
    """
    lengths = self.agree([len(data)])[:, 0]
    if self.count == 1 or not lengths.any():
      return [data] * self.count
    return self._gather(data, lengths)

  def _gather(self, data: bytes, lengths: np.ndarray) -> list[bytes]:
    """As `gather`, where all know the [count] lengths."""
    num_words = -(-int(lengths.max()) // 8)
    words = np.frombuffer(data.ljust(8 * num_words, b"\0"), np.int64)
    # All replicas of a worker have given the same.
    table = self._join(words).numpy().reshape(-1, num_words)[:: self._num_local]
    return [
      row.tobytes()[: int(length)]
      for row, length in zip(table, lengths, strict=True)
    ]

  def collect(
    self, items: Iterable[Sequence[np.ndarray]]
  ) -> Iterator[Sequence[np.ndarray]]:
    """Gives the chief what all workers have, item by item, in step.

    The others get nothing. (But all of it goes to all of them: TensorFlow has
    nothing else.)

    Args:
      items: this worker's, as many as there are; each some arrays.
    """
    if self.count == 1:
      yield from items
      return
    iterator = iter(items)
    while True:
      item = next(iterator, None)
      gathered = self.gather(b"" if item is None else _pack(item))
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
        # Zeros of all others do not change a sum.
        is_chiefs = context.replica_id_in_sync_group == 0
        return [
          context.all_reduce(
            tf.distribute.ReduceOp.SUM, value * tf.cast(is_chiefs, value.dtype)
          )
          for value in values
        ]

      values = map(tf.convert_to_tensor, variables)
      sums = self.strategy.run(add_up, tuple(values))
      of_replicas = self.strategy.experimental_local_results
      return [of_replicas(value)[0] for value in sums]

    for variable, value in zip(variables, chiefs_values(), strict=True):
      variable.assign(value)

  def in_step(
    self, batches, place: Place, stop: program.StopSignals
  ) -> Iterator[tuple[dict, tf.Tensor | float, list[Place]]]:
    """Batches, as long as any worker has one and none was told to stop.

    A worker without data goes on with batches without videos.

    Args:
      batches: `sources.Batches`, this worker's part of the data.
      place: where they begin in it.
      stop: the signals; has the one that another worker got, too.

    Yields:
      A batch; how many videos the others have in theirs, a scalar; and the
      places of all behind it, none where there is one worker.
    """
    if self.count == 1:
      yield from ((batch, 0.0, []) for batch in stop.until_received(batches))
      return
    iterator = iter(batches)
    while True:
      batch = next(iterator, None)
      is_end = batch is None
      if is_end:
        batch = batches.blank()
      num_videos = np.count_nonzero(batch["weights"])
      place = place.after(np.asarray(batch["epochs"]))
      table = self.agree([num_videos, is_end, stop.received or 0, *place])
      if signum := int(table[:, 2].max()):
        stop.received = stop.received or signum
        return
      if table[:, 1].all():
        return
      other_videos = table[:, 0].sum() - num_videos
      places = [Place(*map(int, row)) for row in table[:, 3:]]
      yield self._split(batch), tf.constant(other_videos, tf.float32), places

  def _split(self, batch: dict) -> dict:
    """A batch's parts for this worker's replicas."""
    if self._num_local == 1:
      return batch

    def part(value):
      def of_replica(context):
        replica = context.replica_id_in_sync_group % self._num_local
        edges = np.arange(self._num_local + 1) * len(value) // self._num_local
        return value[edges[replica] : edges[replica + 1]]

      return self.strategy.experimental_distribute_values_from_function(
        of_replica
      )

    return tf.nest.map_structure(part, batch)


def _make_add_up(strategy: tf.distribute.Strategy, num_local: int):
  """A function that adds up [n] float64 of the workers.

  Args:
    strategy: with all their replicas.
    num_local: replicas of each worker, of which the first speaks for it.
  """

  def add_up(values):
    context = tf.distribute.get_replica_context()
    speaks = context.replica_id_in_sync_group % num_local == 0
    return context.all_reduce(
      tf.distribute.ReduceOp.SUM, values * tf.cast(speaks, tf.float64)
    )

  return _run_in_replicas(strategy, add_up, tf.float64)


def _make_join(strategy: tf.distribute.Strategy):
  """A function that joins [n] int64 of all replicas, in their order."""

  def join(values):
    context = tf.distribute.get_replica_context()
    # An argument has no device, by which TensorFlow finds the others.
    return context.all_gather(tf.identity(values), axis=0)

  return _run_in_replicas(strategy, join, tf.int64)


def _run_in_replicas(strategy, function, dtype):
  """A function of a vector, with the result that all replicas have."""

  @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], dtype)])
  def run(values):
    results = strategy.run(function, (values,))
    return strategy.experimental_local_results(results)[0]

  return run


def _pack(arrays: Sequence[np.ndarray]) -> bytes:
  """Arrays as bytes, never none."""
  buffer = io.BytesIO()
  np.lib.format.write_array(buffer, np.array(len(arrays)))
  for array in arrays:
    np.lib.format.write_array(buffer, array)
  return buffer.getvalue()


def _unpack(data: bytes) -> list[np.ndarray]:
  buffer = io.BytesIO(data)
  count = np.lib.format.read_array(buffer)
  return [np.lib.format.read_array(buffer) for _ in range(count)]


def start(task: Task, timeout_secs: float) -> Workers:
  """Meets the other workers of a task; before TensorFlow does anything else.

  Args:
    task: from `read_task`; of a worker.
    timeout_secs: how long to wait. If they all come, and one of them is gone
      before TensorFlow has met it, the process ends after that time again.

  Returns:
    All of them; or this one alone.

  Raises:
    UserError: one of them does not come in time, or this one's address cannot
      be listened at.
  """
  if not task.addresses:
    os.environ.pop(TASK_VARIABLE, None)
    return Workers(_strategy_of_one())
  os.environ[TASK_VARIABLE] = json.dumps(
    # TensorFlow would wait for parameter servers, and stumbles over other
    # things that services write.
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
    try:
      strategy = tf.distribute.MultiWorkerMirroredStrategy()
      workers = Workers(strategy, task.index, len(task.addresses))
      workers.wait_for_all()
    except tf.errors.OpError as error:
      raise _lost_worker(error) from error
  return workers


@contextlib.contextmanager
def joined(task: Task, timeout_secs: float) -> Iterator[Workers]:
  """As `start`, for a block in which the workers stop together.

  Raises:
    UserError: one of them is lost.
  """
  workers = start(task, timeout_secs)
  with clear_errors(workers), workers.stopping_together():
    yield workers
    workers.wait_for_all()
  if not workers.is_chief:
    logging.info("Worker %d has finished.", workers.index)


def _strategy_of_one() -> tf.distribute.Strategy:
  """A replica for each GPU that TensorFlow may see."""
  if len(tf.config.get_visible_devices("GPU")) > 1:
    return tf.distribute.MirroredStrategy()
  return tf.distribute.get_strategy()


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
  # As TensorFlow, on all interfaces: the name may be that of a gateway, or, as
  # a machine's own name often, lead to it alone.
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


@contextlib.contextmanager
def clear_errors(workers: Workers) -> Iterator[None]:
  """Says what it means that TensorFlow cannot reach a worker."""
  try:
    yield
  except _LOST_WORKER_ERRORS as error:
    if workers.count == 1:
      raise
    raise _lost_worker(error) from error


def _lost_worker(error: Exception) -> UserError:
  cause = _LOSS_CAUSE.search(str(error))
  return UserError(
    "Another worker has ended or cannot be reached; its own messages say why. "
    "Start all workers again; a training goes on from its last checkpoint."
    + (f" (TensorFlow says: {cause[1][:200]})" if cause else "")
  )
