# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Measures how fast the suite is, beside what the machine could do.

  make bench
  python -m benchmarks.run --rows=video,startup --scale=0.2

Run it from the checkout's root, on a machine that does nothing else. README.md
in this folder says what the rows are and how to read them.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence

from benchmarks import measurements, processes, rows

# Of a program, or of what it left behind; the other rows are still measured.
_FAILURES = (processes.ProcessError, OSError, LookupError, ValueError)
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
# Instructions that decide how fast TensorFlow's products are; x86's and ARM's.
_FEATURES = (
  *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
  *("asimd", "sve", "bf16", "i8mm"),
)


def main(argv: Sequence[str] | None = None) -> int:
  """Measures, prints the table and writes the JSON; returns the exit code."""
  options = _parse_options(argv)
  if options.output_dir:
    return run(options, options.output_dir)
  with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
    return run(options, folder)


def _parse_options(argv):
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--rows",
    help="rows to measure, separated by commas, by name or by the beginning "
    "of the name, such as video; all of them when not given",
  )
  parser.add_argument(
    "--scale",
    type=float,
    default=1.0,
    help="0.1 measures a tenth of the videos and steps: quicker, and noisier",
  )
  parser.add_argument(
    "--rounds", type=int, default=3, help="repeats of everything (default 3)"
  )
  parser.add_argument(
    "--minutes",
    type=float,
    default=20.0,
    help="no further round is begun that would end later (default 20)",
  )
  parser.add_argument(
    "--output_dir",
    help="folder for shards, models and results, about 900 MB; shards that "
    "are there are used again. Not given: a temporary one",
  )
  parser.add_argument(
    "--json",
    help="where the results go; OUTPUT_DIR/benchmark_results.json when not "
    "given",
  )
  parser.add_argument(
    "--video_shards",
    help="video-level shards to train on instead of made-up ones, a glob",
  )
  parser.add_argument(
    "--video_eval_shards", help="the same for eval.py and inference.py"
  )
  options = parser.parse_args(argv)
  try:
    names = options.rows.split(",") if options.rows else []
    options.rows = rows.choose(names) if names else list(rows.ROWS)
  except ValueError as error:
    parser.error(str(error))
  if options.scale <= 0 or options.rounds < 1:
    parser.error("--scale must be above 0, and --rounds at least 1")
  return options


def run(options: argparse.Namespace, folder: str) -> int:
  """Measures in a folder; the rest is as in `main`."""
  start = time.monotonic()
  _make_folder(folder)
  bench = measurements.Bench(
    folder,
    measurements.Sizes().scaled(options.scale),
    options.video_shards,
    options.video_eval_shards,
  )
  machine = describe_machine(bench)
  samples, problems = measure(
    bench, options.rows, options.rounds, 60 * options.minutes
  )
  conditions = set()
  if not _BFLOAT16_FLAGS.isdisjoint(machine["features"]):
    conditions.add(rows.BFLOAT16)
  if options.video_shards and options.video_eval_shards:
    conditions.add(rows.REAL_SHARDS)
  results = [
    rows.evaluate(row, samples, problems, conditions) for row in options.rows
  ]
  contents = {
    "machine": machine,
    "scale": options.scale,
    "rounds": max(map(len, samples.values()), default=0),
    "seconds": time.monotonic() - start,
    "rows": results,
    "samples": samples,
    "problems": problems,
  }
  print(rows.format_table(results))
  print(f"\n{_describe_run(contents)}")
  path = options.json or os.path.join(
    options.output_dir or ".", "benchmark_results.json"
  )
  write_json(path, contents)
  print(f"Written to {path}")
  return int(any(text.startswith("failed") for text in problems.values()))


def _make_folder(folder: str):
  if not os.path.isdir(folder):
    os.makedirs(folder)
    with open(os.path.join(folder, ".gitignore"), "w") as file:
      file.write("*\n")


def write_json(path: str, contents: dict):
  """Writes the results."""
  with open(path, "w") as file:
    json.dump(contents, file, indent=2)
    file.write("\n")


def measure(
  bench: measurements.Bench,
  chosen: Sequence[rows.Row],
  rounds: int,
  seconds: float,
) -> tuple[dict[str, list[float]], dict[str, str]]:
  """Runs the rounds: A B C A B C, not A A B B C C.

  Args:
    bench: where and how much.
    chosen: the rows; only what they need is measured.
    rounds: how often.
    seconds: no round but the first is begun that would end later than this.

  Returns:
    A figure's name -> its values, one a round; a measurement's name -> why it
    failed or could not be made.
  """
  samples, problems = {}, {}
  steps = _needed_measurements(chosen)
  starts = [time.monotonic()]
  for number in range(rounds):
    if number:
      starts.append(time.monotonic())
      last_round = starts[-1] - starts[-2]
      if starts[-1] + last_round > starts[0] + seconds:
        _say(f"No time for more than {number} of {rounds} rounds.")
        break
    for step in steps:
      if step.once and number:
        continue
      _say(f"round {number + 1} of {rounds}: {step.name}")
      figures = _run_step(step, bench, problems)
      for name, value in figures.items():
        samples.setdefault(f"{step.name}.{name}", []).append(value)
  return samples, problems


def _needed_measurements(
  chosen: Sequence[rows.Row],
) -> list[measurements.Measurement]:
  needed = {name.split(".")[0] for row in chosen for name in row.figures}
  for step in reversed(measurements.MEASUREMENTS):
    if step.name in needed:
      needed.update(step.needs)
  return [step for step in measurements.MEASUREMENTS if step.name in needed]


def _run_step(
  step: measurements.Measurement,
  bench: measurements.Bench,
  problems: dict[str, str],
) -> dict[str, float]:
  """One measurement; none, and an entry in `problems`, where it fails."""
  for name in (step.name, *step.needs):
    if name in problems:
      problems.setdefault(step.name, problems[name])
      return {}
  try:
    return step.run(bench)
  except measurements.UnavailableError as error:
    problems[step.name] = f"skipped: {error}"
  except _FAILURES as error:
    problems[step.name] = f"failed: {error}"
  _say(problems[step.name])
  return {}


def describe_machine(bench: measurements.Bench) -> dict:
  """What the figures depend on; it also brings TensorFlow into memory."""
  load = os.getloadavg()[0]  # Before anything of ours adds to it.
  code = (
    "import tensorflow as tf, keras; print(tf.__version__, keras.__version__)"
  )
  versions = bench.python("-c", code).lines[-1][1].split()
  return {
    "processor": _read_cpu_info().get("model name", platform.processor()),
    "cpus": len(os.sched_getaffinity(0))
    if hasattr(os, "sched_getaffinity")
    else os.cpu_count(),
    "features": processor_features(),
    "python": platform.python_version(),
    "tensorflow": versions[0],
    "keras": versions[1],
    "load_average": load,
    "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
  }


def processor_features() -> list[str]:
  """The instructions of `_FEATURES` that there are, as far as Linux tells."""
  cpu_info = _read_cpu_info()
  # "flags" on x86, "Features" on ARM.
  flags = f"{cpu_info.get('flags', '')} {cpu_info.get('Features', '')}".split()
  return [name for name in _FEATURES if name in flags]


def _read_cpu_info() -> dict[str, str]:
  try:
    with open("/proc/cpuinfo") as file:
      lines = [line.partition(":") for line in file]
  except OSError:
    return {}
  return {key.strip(): value.strip() for key, _, value in lines}


def _describe_run(contents: dict) -> str:
  machine = contents["machine"]
  load = machine["load_average"]
  busy = " (it was busy: do not trust the figures)" if load > 0.5 else ""
  return (
    f"{machine['cpus']} CPUs, {machine['processor']} "
    f"({', '.join(machine['features']) or 'features unknown'}), TensorFlow "
    f"{machine['tensorflow']}; load at the start {load:.1f}{busy}; scale "
    f"{contents['scale']:g}, {contents['rounds']} rounds, "
    f"{contents['seconds']:.0f} s."
  )


def _say(line: str):
  sys.stderr.write(f"{datetime.datetime.now():%H:%M:%S} {line}\n")


if __name__ == "__main__":
  sys.exit(main())
