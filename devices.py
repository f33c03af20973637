# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The devices that compute, and GPUs that TensorFlow cannot use."""

import contextlib
import math
import os
import pathlib
import re
import subprocess
import sys

from program import UserError

import tensorflow as tf
from absl import logging

# The NVIDIA driver keeps a folder for each of its GPUs here.
_DRIVER_FOLDER = pathlib.Path("/proc/driver/nvidia/gpus")
_CPU_INFO = pathlib.Path("/proc/cpuinfo")
# Flags of processors with instructions for a type of numbers ("bf16" is ARM's),
# and the compute capability from which on NVIDIA's GPUs have them.
_INSTRUCTIONS = {
  "bfloat16": ({"avx512_bf16", "amx_bf16", "bf16"}, (8, 0)),
  "float16": ({"avx512_fp16", "amx_fp16"}, (6, 0)),
}
# Limits of a container's memory: of control groups version 2 and 1.
_MEMORY_LIMITS = (
  pathlib.Path("/sys/fs/cgroup/memory.max"),
  pathlib.Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_LIST_GPUS = "import tensorflow as tf; tf.config.list_physical_devices('GPU')"
_TIMEOUT_SECS = 120

# A log line of TensorFlow's C++ code: "E0000 00:00:17 52 cuda_dnn.cc:9] Text".
_CPP_LINE = re.compile(r"^[IWEF].*?\.cc:\d+\] (?P<message>.*)$", re.MULTILINE)
_ABOUT_GPUS = re.compile(r"cuda|cudnn|gpu|nvidia|lib(cu|nv)\w+\.so", re.I)


def available_cpus() -> int:
  """CPUs this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def memory_bytes() -> int:
  """Bytes of memory of this machine or container; many where none tells."""
  found = [2**40]
  with contextlib.suppress(AttributeError, OSError, ValueError):
    found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
  for path in _MEMORY_LIMITS:
    with contextlib.suppress(OSError, ValueError):  # It may say "max".
      # A path of this machine, so that tf.io.gfile is not needed.
      found.append(int(path.read_text(errors="replace")))
  return min(found)


def gpu_memory_bytes() -> float:
  """Bytes of the memory of the largest GPU; infinite where none tells.

  TensorFlow does not tell, nor which of the driver's GPUs is one of its own.
  """
  found = [re.match(r"(\d+) MiB", line) for line in _nvidia_smi("memory.total")]
  return max((int(size[1]) * 2**20 for size in found if size), default=math.inf)


def warn_of_slow_type(name: str):
  """Warns where what computes has no instructions for a type of numbers.

  Args:
    name: "bfloat16" or "float16".
  """
  cpu_flags, capability = _INSTRUCTIONS[name]
  gpus = tf.config.get_visible_devices("GPU")
  details = map(tf.config.experimental.get_device_details, gpus)
  is_fast = all(
    gpu.get("compute_capability", capability) >= capability for gpu in details
  )
  if not gpus:
    try:
      # A path of this machine, so that tf.io.gfile is not needed.
      text = _CPU_INFO.read_text(errors="replace")
    except OSError:
      return  # Nothing is known of this processor.
    is_fast = bool(cpu_flags & {*text.split()})
  if not is_fast:
    logging.warning(
      "--mixed_precision=%s: this %s has no instructions for %s, so that "
      "training takes longer with it than without it.%s",
      name,
      "GPU" if gpus else "processor",
      name,
      " Try --mixed_precision=float16." if gpus and name == "bfloat16" else "",
    )


def choose(num_gpu: int | None = None):
  """Lets TensorFlow see the GPUs to use; call it before a device is used.

  Memory of a GPU is taken as it is needed, since a trainer and an evaluator may
  share a GPU. A GPU of this machine that TensorFlow cannot use is warned of.

  Args:
    num_gpu: how many GPUs to use; None means all, 0 the CPU.

  Raises:
    UserError: more GPUs were asked for than there are.
  """
  gpus = tf.config.list_physical_devices("GPU")
  if not gpus and num_gpu != 0:
    _warn_of_unusable_gpus()
  wanted = len(gpus) if num_gpu is None else num_gpu
  if wanted > len(gpus):
    raise UserError(f"--num_gpu={num_gpu}, but {len(gpus)} are visible.")
  tf.config.set_visible_devices(gpus[:wanted], "GPU")
  for gpu in gpus[:wanted]:
    tf.config.experimental.set_memory_growth(gpu, True)


def log(verb: str = "Training"):
  """Logs what computes.

  Args:
    verb: what the program does, for the beginning of the line.
  """
  names = [
    tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
    for gpu in tf.config.get_visible_devices("GPU")
  ]
  if names:
    logging.info("%s on GPU %s.", verb, ", ".join(names))
  else:
    count = available_cpus()
    plural = "s" if count > 1 else ""
    logging.info("%s on %d CPU core%s.", verb, count, plural)


def _warn_of_unusable_gpus():
  """Warns where the machine has GPUs, but TensorFlow lists none."""
  if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
    return  # The user has hidden them.
  names = _driver_gpus() or _nvidia_smi("name")
  if names:
    logging.warning(
      "This machine has a GPU (%s), but TensorFlow cannot use it, so the CPU "
      "computes. TensorFlow says: %s. Install the CUDA libraries: pip install "
      "'tensorflow[and-cuda]'. In a container, see that it is given the GPU.",
      ", ".join(names),
      _tensorflow_reason().rstrip("."),
    )


def _driver_gpus() -> list[str]:
  """Names of the GPUs that the NVIDIA driver's folder shows."""
  names = []
  for path in sorted(_DRIVER_FOLDER.glob("*/information")):
    try:
      # A path of this machine, so that tf.io.gfile is not needed.
      text = path.read_text(errors="replace")
    except OSError:
      continue
    model = re.search(r"^Model:\s*(.*\S)", text, re.MULTILINE)
    names.append(model[1] if model else "NVIDIA")
  return names


def _nvidia_smi(field: str) -> list[str]:
  """What nvidia-smi says of each GPU, where there is that program."""
  command = ("nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader")
  try:
    result = subprocess.run(  # noqa: S603 Nothing of it is a user's.
      command, capture_output=True, text=True, timeout=_TIMEOUT_SECS
    )
  except (OSError, subprocess.TimeoutExpired):
    return []
  return result.stdout.splitlines() if result.returncode == 0 else []


def _tensorflow_reason() -> str:
  """The messages about GPUs that TensorFlow logs when it starts.

  program.py hides those lines, and they cannot be had afterwards, so that
  another process starts TensorFlow.
  """
  try:
    result = subprocess.run(  # noqa: S603 Nothing of it is a user's.
      [sys.executable, "-c", _LIST_GPUS],
      env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"},
      capture_output=True,
      text=True,
      timeout=_TIMEOUT_SECS,
    )
  except (OSError, subprocess.TimeoutExpired) as error:
    return f"nothing ({error})"
  messages = [
    message
    for message in _CPP_LINE.findall(result.stderr)
    if _ABOUT_GPUS.search(message) and "Unable to register" not in message
  ]
  return " ".join(dict.fromkeys(messages)) or "nothing"
