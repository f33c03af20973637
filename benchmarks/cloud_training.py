# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""train.py with its shards on gs://, at a stand-in on loopback.

  python -m benchmarks.cloud_training LATENCY_MS MB_PER_SECOND
    --train_data_pattern=GLOB, and train.py's other flags

Each request is answered after LATENCY_MS; 0 MB_PER_SECOND is no limit. The
stand-in (tests/cloud_server.py) takes a part of the machine, and encrypts as
the real service does: what latency costs is told by a run without any.
"""

import glob
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).parent.parent / "tests"))

from cloud_server import CloudServer  # noqa: E402 Of the tests' folder.

_PATTERN_FLAG = "--train_data_pattern="
# For passes that take a while, as those over real shards do.
_COPIES = 4


def main(arguments: list[str]) -> int:
  """Returns train.py's exit code."""
  latency_ms, megabytes_per_second, *flags = arguments
  (pattern,) = (
    flag.removeprefix(_PATTERN_FLAG)
    for flag in flags
    if flag.startswith(_PATTERN_FLAG)
  )
  with CloudServer() as server, tempfile.TemporaryDirectory() as folder:
    server.buckets.add("shards")
    for path in sorted(glob.glob(pattern)):
      content = pathlib.Path(path).read_bytes()
      for copy in range(_COPIES):
        server.objects["shards", f"{copy}-{os.path.basename(path)}"] = content
    server.latency_secs = float(latency_ms) / 1e3
    server.bytes_per_second = 1e6 * float(megabytes_per_second) or None
    environment = server.proxy_environment(pathlib.Path(folder))
    flags.append(f"{_PATTERN_FLAG}gs://shards/*.tfrecord")
    return subprocess.run(  # noqa: S603 Our own program.
      [sys.executable, "train.py", *flags], env={**os.environ, **environment}
    ).returncode


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
