# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""What is measured: programs as users start them, and parts, each in a process.

Every function with a `Bench` as its only argument is a measurement. It runs
one or two processes and returns named figures, in the units of their names.
"""

import bisect
import contextlib
import dataclasses
import functools
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator

from benchmarks import processes

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_MEGABYTE = 1e6
_TRAIN_PROGRESS = re.compile(r"training step (\d+) ")
_INFERENCE_PROGRESS = re.compile(r"(?:num examples processed:|Wrote) (\d+)")
_INFERENCE_RATE = re.compile(r"Wrote \d+ videos .*\(([\d.]+) examples/sec\)")
_VERIFY_RATE = re.compile(r"Checked \d+ videos.*\(([\d.]+) videos/s\)")
# Resident memory goes up and down with the shuffle buffer, so its growth is
# that of the peak of this many batches.
_GROWTH_WINDOW = 10
_GROWTH_BATCHES = 50


class UnavailableError(Exception):
  """Cannot be measured here; the message says why."""


@dataclasses.dataclass(frozen=True)
class Sizes:
  """How much is measured; classes, features and frames are the real data's.

  Attributes:
    num_classes: classes of the made-up shards.
    feature_sizes: of rgb and audio.
    max_frames: of the frame-level videos, which have at least 40% of it.
    video_batch: batch size at video level.
    video_shards: video-level videos in the shards.
    video_steps: steps of each video-level training run.
    video_copies: how often eval.py and inference.py read the same shards.
    frame_batch: batch size at frame level.
    frame_shards: frame-level videos in the shards.
    frame_steps: steps of each frame-level training run.
    frame_copies: as `video_copies`.
    sequence_batch: batch size of models that compute much for each frame.
    sequence_shards: videos in the shards for these.
    sequence_steps: steps of each of their training runs, for a recurrent one.
    sequence_copies: as `video_copies`.
    metrics_small: videos of the smaller data set for the metrics.
    metrics_large: videos of the larger one.
    segment_pairs: ranked segments for MAP@K.
    part_repeats: repeats inside a process that measures parts.
  """

  num_classes: int = 3862
  feature_sizes: tuple[int, int] = (1024, 128)
  max_frames: int = 300
  video_batch: int = 1024
  video_shards: int = 20_000
  video_steps: int = 100
  video_copies: int = 15
  frame_batch: int = 256
  frame_shards: int = 1500
  frame_steps: int = 70
  frame_copies: int = 25
  sequence_batch: int = 64
  sequence_shards: int = 256
  sequence_steps: int = 6
  sequence_copies: int = 4
  metrics_small: int = 100_000
  metrics_large: int = 1_000_000
  segment_pairs: int = 10_000_000
  part_repeats: int = 20

  def scaled(self, scale: float) -> "Sizes":
    """The same with fewer (or more) videos, steps, copies and repeats."""

    def scaled(number: int, least: int) -> int:
      return max(least, round(number * scale))

    return dataclasses.replace(
      self,
      video_shards=scaled(self.video_shards, 100),
      video_steps=scaled(self.video_steps, 3),
      video_copies=scaled(self.video_copies, 1),
      frame_shards=scaled(self.frame_shards, 20),
      frame_steps=scaled(self.frame_steps, 3),
      frame_copies=scaled(self.frame_copies, 1),
      sequence_shards=scaled(self.sequence_shards, 20),
      sequence_steps=scaled(self.sequence_steps, 3),
      sequence_copies=scaled(self.sequence_copies, 1),
      metrics_small=scaled(self.metrics_small, self.video_batch),
      metrics_large=scaled(self.metrics_large, self.video_batch),
      segment_pairs=scaled(self.segment_pairs, 1000),
      part_repeats=scaled(self.part_repeats, 2),
    )

  @property
  def batch_of_codes_bytes(self) -> int:
    """Bytes of a frame-level batch's 8-bit codes."""
    return self.frame_batch * self.max_frames * sum(self.feature_sizes)


class Bench:
  """A folder with shards and models, and the ways to run things on them.

  Args:
    folder: shards that are in it already are used again.
    sizes: how much is measured.
    video_shards: a glob of video-level shards to train on instead of made-up
      ones; `sizes.video_shards` is ignored then.
    video_eval_shards: the same for evaluation and inference.
  """

  def __init__(
    self,
    folder: str,
    sizes: Sizes,
    video_shards: str | None = None,
    video_eval_shards: str | None = None,
  ):
    self.folder = os.path.abspath(folder)
    self.sizes = sizes
    self._given = {"video": video_shards, "video copies": video_eval_shards}

  def python(self, *arguments: str, until: str | None = None):
    """Runs the interpreter in the checkout; returns `processes.Finished`."""
    return processes.run([sys.executable, *arguments], ROOT, until)

  def part(self, module: str, **options) -> dict[str, float]:
    """Runs a module of this package; returns the JSON that it prints."""
    arguments = [f"--{name}={value}" for name, value in options.items()]
    finished = self.python("-m", f"benchmarks.{module}", *arguments)
    printed = [line for _, line in finished.lines if line.startswith("{")]
    return json.loads(printed[-1])

  def model(self, name: str) -> str:
    """The folder of one of the models."""
    return os.path.join(self.folder, "models", name)

  def train(self, model: str, level: str, *flags: str, program="train.py"):
    """Trains a model from the start.

    Returns:
      `processes.Finished`, and what `train_results.json` holds.
    """
    sizes = self.sizes
    batch_size = getattr(sizes, f"{level}_batch")
    steps = getattr(sizes, f"{level}_steps")
    shutil.rmtree(self.model(model), ignore_errors=True)
    finished = self.python(
      *program.split(),
      f"--train_data_pattern={self.shards(level)}",
      f"--train_dir={self.model(model)}",
      f"--num_classes={sizes.num_classes}",
      f"--batch_size={batch_size}",
      f"--max_steps={steps}",
      "--num_epochs=10000",
      "--seed=1",
      *flags,
    )
    return finished, self._read_json(model, "train_results.json")

  def evaluate(self, model: str, level: str) -> dict[str, float]:
    """Runs eval.py; returns what `eval_results.json` holds."""
    self.python(
      "eval.py",
      f"--eval_data_pattern={self.shards(level, copies=True)}",
      f"--train_dir={self.model(model)}",
      f"--batch_size={getattr(self.sizes, f'{level}_batch')}",
      "--run_once",
    )
    return self.evaluation(model)

  def evaluation(self, model: str) -> dict[str, float]:
    """What eval.py found out about a model last."""
    return self._read_json(model, "eval/eval_results.json")

  def infer(self, model: str, level: str) -> tuple[processes.Finished, float]:
    """Runs inference.py; returns what it said, and its videos per second."""
    finished = self.python(
      "inference.py",
      f"--input_data_pattern={self.shards(level, copies=True)}",
      f"--train_dir={self.model(model)}",
      f"--batch_size={getattr(self.sizes, f'{level}_batch')}",
      f"--output_file={os.path.join(self.folder, 'predictions.csv')}",
    )
    return finished, _find_rate(finished, _INFERENCE_RATE)

  def verify(self, level: str) -> float:
    """Runs verify_shards.py; returns its videos per second."""
    finished = self.python(
      *("-m", "tools.verify_shards"),
      self.shards(level, copies=True),
      f"--num_classes={self.sizes.num_classes}",
    )
    return _find_rate(finished, _VERIFY_RATE)

  def shards(self, level: str, copies: bool = False) -> str:
    """A glob of a level's shards, made when they are not there yet.

    Args:
      level: "video"; "frame" or "sequence", which are alike; "segments", the
        same with ratings of segments; or "full", the same with as many frames
        as there may be.
      copies: several links to each shard, to read more videos than there are.
    """
    given = self._given.get(f"{level} copies" if copies else level)
    if given:
      return given
    kind = {"segments": "frame", "full": "sequence"}.get(level, level)
    count = getattr(self.sizes, f"{kind}_shards")
    name = f"{level}-{count}-{self.sizes.num_classes}"
    shards_dir = os.path.join(self.folder, "shards", name)
    with _made_at_once(shards_dir) as temporary:
      if temporary:
        self._make_shards(temporary, level, count)
    if copies:
      number = getattr(self.sizes, f"{level}_copies")
      links_dir = f"{shards_dir}-{number}-copies"
      with _made_at_once(links_dir) as temporary:
        if temporary:
          _make_links(temporary, shards_dir, number)
      shards_dir = links_dir
    return os.path.join(shards_dir, "*.tfrecord")

  def _make_shards(self, output_dir: str, level: str, count: int):
    frames, dialect = [], "v2_video"
    if level != "video":
      dialect = "v2_frame"
      low = round((1.0 if level == "full" else 0.4) * self.sizes.max_frames)
      frames = [f"--min_frames={low}", f"--max_frames={self.sizes.max_frames}"]
      if level == "segments":
        frames.append("--segments")
    self.python(
      *("-m", "tools.sample_data"),
      f"--output_dir={output_dir}",
      f"--dialect={dialect}",
      f"--num_videos={count}",
      "--num_shards=8",
      f"--num_classes={self.sizes.num_classes}",
      f"--feature_sizes={','.join(map(str, self.sizes.feature_sizes))}",
      *frames,
    )

  def _read_json(self, model: str, name: str) -> dict[str, float]:
    with open(os.path.join(self.model(model), name)) as file:
      return json.load(file)


def _find_rate(finished: processes.Finished, pattern: re.Pattern) -> float:
  """The figure in the one line of a log that has it."""
  (rate,) = [
    float(match[1])
    for _, line in finished.lines
    if (match := pattern.search(line))
  ]
  return rate


@contextlib.contextmanager
def _made_at_once(folder: str) -> Iterator[str | None]:
  """A folder to fill, which then becomes `folder`; None if it is there."""
  if os.path.isdir(folder):
    yield None
    return
  temporary = f"{folder}.tmp"
  shutil.rmtree(temporary, ignore_errors=True)
  os.makedirs(temporary)
  yield temporary
  os.rename(temporary, folder)


def _make_links(output_dir: str, shards_dir: str, number: int):
  for copy in range(number):
    for name in os.listdir(shards_dir):
      link = os.path.join(output_dir, f"copy{copy}-{name}")
      os.symlink(os.path.join(shards_dir, name), link)


def video_parts(bench: Bench) -> dict[str, float]:
  """Matrix products, a plain Keras loop, a forward pass: on ready batches."""
  return bench.part(
    "video_parts",
    batch_size=bench.sizes.video_batch,
    feature_size=sum(bench.sizes.feature_sizes),
    num_classes=bench.sizes.num_classes,
    repeats=bench.sizes.part_repeats,
  )


def video_train(bench: Bench) -> dict[str, float]:
  """Video-level train.py in its steady state."""
  _, results = bench.train("video", "video")
  rate = results["examples_per_second"]
  return {"rate": rate, "step_ms": 1e3 * bench.sizes.video_batch / rate}


def video_repeated(bench: Bench) -> dict[str, float]:
  """The same with one batch repeated."""
  _, results = bench.train(
    "video_repeated", "video", program="-m benchmarks.repeated_batch"
  )
  return {"rate": results["examples_per_second"]}


def video_workers(bench: Bench) -> dict[str, float]:
  """The same as `video_train` with two workers."""
  return _train_on_two(bench, "video")


def frame_workers(bench: Bench) -> dict[str, float]:
  """The same as `frame_train` with two workers."""
  return _train_on_two(bench, "frame", "--model=FrameLevelLogisticModel")


def _train_on_two(bench: Bench, level: str, *flags: str) -> dict[str, float]:
  # Of few shards, each worker would read all, and leave out half the records.
  pattern = f"--train_data_pattern={bench.shards(level, copies=True)}"
  program = "-m benchmarks.two_workers"
  _, results = bench.train(
    f"{level}_workers", level, pattern, *flags, program=program
  )
  return {"rate": results["examples_per_second"]}


def gs_near(bench: Bench) -> dict[str, float]:
  """The same as `frame_train` from gs://, whose answers come at once."""
  return _train_on_cloud(bench, "gs_near", latency_ms=0)


def gs_far(bench: Bench) -> dict[str, float]:
  """The same with 50 ms for each request."""
  return _train_on_cloud(bench, "gs_far", latency_ms=50)


def _train_on_cloud(bench: Bench, model: str, latency_ms: int):
  _, results = bench.train(
    model,
    "frame",
    "--model=FrameLevelLogisticModel",
    program=f"-m benchmarks.cloud_training {latency_ms} 0",
  )
  return {"rate": results["examples_per_second"]}


def video_mixed(bench: Bench) -> dict[str, float]:
  """The same as `video_train` in mixed precision."""
  return _train_mixed(bench, "video")


def frame_mixed(bench: Bench) -> dict[str, float]:
  """The same as `frame_train` in mixed precision."""
  return _train_mixed(bench, "frame", "--model=FrameLevelLogisticModel")


def _train_mixed(bench: Bench, level: str, *flags: str) -> dict[str, float]:
  try:
    _, results = bench.train(
      f"{level}_mixed", level, "--mixed_precision", *flags
    )
  except processes.ProcessError as error:
    if "Unknown command line flag" in str(error):
      raise UnavailableError("train.py has no --mixed_precision") from error
    raise
  return {"rate": results["examples_per_second"]}


def video_gap(bench: Bench) -> dict[str, float]:
  """GAP of the models of `video_train` and `video_mixed`."""
  # The first was evaluated by `video_eval` just now.
  gap = bench.evaluation("video")["gap"]
  mixed_gap = bench.evaluate("video_mixed", "video")["gap"]
  return {
    "float32": gap,
    "mixed": mixed_gap,
    "difference": abs(mixed_gap - gap),
  }


def video_eval(bench: Bench) -> dict[str, float]:
  """Video-level eval.py."""
  return {"rate": bench.evaluate("video", "video")["videos_per_second"]}


def video_inference(bench: Bench) -> dict[str, float]:
  """Video-level inference.py."""
  _, rate = bench.infer("video", "video")
  return {"rate": rate}


def frame_parts(bench: Bench) -> dict[str, float]:
  """Reading only."""
  return bench.part("frame_parts", shards=bench.shards("frame"))


def frame_sampling(bench: Bench) -> dict[str, float]:
  """Decoding all frames of videos of the full length, and a few of them."""
  return bench.part("frame_sampling", shards=bench.shards("full"))


def frame_reference(bench: Bench) -> dict[str, float]:
  """Reading and training as the starter code does."""
  sizes = bench.sizes
  batches = max(1, sizes.frame_shards // sizes.frame_batch)
  rgb_size, audio_size = sizes.feature_sizes
  return bench.part(
    "frame_reference",
    shards=bench.shards("frame"),
    rgb_size=rgb_size,
    audio_size=audio_size,
    max_frames=sizes.max_frames,
    batch_size=sizes.frame_batch,
    num_classes=sizes.num_classes,
    batches=min(batches, 5),
  )


def frame_train(bench: Bench) -> dict[str, float]:
  """Frame-level train.py: its steady state and its memory."""
  finished, results = bench.train(
    "frame", "frame", "--model=FrameLevelLogisticModel"
  )
  return {
    "rate": results["examples_per_second"],
    **memory_figures(finished, _TRAIN_PROGRESS, 1, bench.sizes),
  }


def frame_eval(bench: Bench) -> dict[str, float]:
  """Frame-level eval.py."""
  return {"rate": bench.evaluate("frame", "frame")["videos_per_second"]}


def frame_inference(bench: Bench) -> dict[str, float]:
  """Frame-level inference.py: its speed and its memory."""
  finished, rate = bench.infer("frame", "frame")
  batch_size = bench.sizes.frame_batch
  return {
    "rate": rate,
    **memory_figures(finished, _INFERENCE_PROGRESS, batch_size, bench.sizes),
  }


def frame_export(bench: Bench) -> dict[str, float]:
  """An exported model, and that of inference.py, on a ready batch."""
  return bench.part(
    "export_parts",
    train_dir=bench.model("frame"),
    shards=bench.shards("frame"),
    batch_size=bench.sizes.frame_batch,
    repeats=bench.sizes.part_repeats,
  )


def video_raw(bench: Bench) -> dict[str, float]:
  """Reading all records of video-level shards."""
  return _read_raw(bench, "video")


def frame_raw(bench: Bench) -> dict[str, float]:
  """Reading all records of frame-level shards."""
  return _read_raw(bench, "frame")


def _read_raw(bench: Bench, level: str) -> dict[str, float]:
  return bench.part("raw_reading", shards=bench.shards(level, copies=True))


def video_verify(bench: Bench) -> dict[str, float]:
  """Video-level verify_shards.py."""
  return {"rate": bench.verify("video")}


def frame_verify(bench: Bench) -> dict[str, float]:
  """Frame-level verify_shards.py."""
  return {"rate": bench.verify("frame")}


def memory_figures(
  finished: processes.Finished,
  progress: re.Pattern,
  videos_per_unit: int,
  sizes: Sizes,
) -> dict[str, float]:
  """Peak memory, and resident memory at two times that are 50 batches apart.

  Args:
    finished: the process.
    progress: finds how far it has come in its log lines.
    videos_per_unit: what divides that number to give batches.
    sizes: for the bytes of a batch.

  Returns:
    "peak_mb", "two_batches_mb", and, where the process ran long enough and
    the system tells, "early_mb" and "late_mb": the most resident memory while
    ten batches went by, near the start and 50 batches later.
  """
  figures = {
    "peak_mb": finished.peak_bytes / _MEGABYTE,
    "two_batches_mb": 2 * sizes.batch_of_codes_bytes / _MEGABYTE,
  }
  points = [
    (int(match[1]) / videos_per_unit, seconds)
    for seconds, line in finished.lines
    if (match := progress.search(line))
  ]
  if not points:
    return figures
  last = points[-1][0]
  for name, end in (("early_mb", last - _GROWTH_BATCHES), ("late_mb", last)):
    begin = end - _GROWTH_WINDOW
    if begin >= points[0][0]:
      window = _time_at(points, begin), _time_at(points, end)
      samples = [n for t, n in finished.memory if window[0] <= t <= window[1]]
      if samples:
        figures[name] = max(samples) / _MEGABYTE
  return figures


def _time_at(points: list[tuple[float, float]], batch: float) -> float:
  """When a batch was done, between the log lines before and after it."""
  after = min(max(1, bisect.bisect_left(points, (batch, 0.0))), len(points) - 1)
  (first, start), (last, end) = points[after - 1], points[after]
  return start + (end - start) * (batch - first) / max(last - first, 1e-9)


@dataclasses.dataclass(frozen=True)
class MeasuredModel:
  """A model that has rows of its own.

  Attributes:
    name: its class.
    level: the sizes and shards it is measured with.
    steps_factor: by what its steps are more than those of its level.
  """

  name: str
  level: str
  steps_factor: int = 1


MODELS = {
  "moe": MeasuredModel("MoeModel", "video"),
  "dbof": MeasuredModel("DbofModel", "sequence", steps_factor=5),
  "lstm": MeasuredModel("LstmModel", "sequence"),
  "gru": MeasuredModel("GruModel", "sequence"),
  "attention": MeasuredModel(
    "AttentionPoolingModel", "sequence", steps_factor=10
  ),
}


def _model_limits(bench: Bench, key: str) -> dict[str, float]:
  """The matrix products of a step, and the memory that it cannot do without."""
  model, sizes = MODELS[key], bench.sizes
  limits = bench.part(
    "model_limits",
    model=model.name,
    batch_size=getattr(sizes, f"{model.level}_batch"),
    frames=1 if model.level == "video" else sizes.max_frames,
    feature_sizes=",".join(map(str, sizes.feature_sizes)),
    num_classes=sizes.num_classes,
    repeats=max(1, sizes.part_repeats // 4),
  )
  if key == "dbof":  # Of few frames: reading all may take longer.
    raw = bench.part("frame_parts", shards=bench.shards(model.level))
    limits["rate"] = min(limits["matmul_rate"], raw["raw_rate"])
  return limits


def _model_train(bench: Bench, key: str) -> dict[str, float]:
  """train.py with the model."""
  model = MODELS[key]
  steps = getattr(bench.sizes, f"{model.level}_steps") * model.steps_factor
  finished, results = bench.train(
    key, model.level, f"--model={model.name}", f"--max_steps={steps}"
  )
  rate = results["examples_per_second"]
  batch_size = getattr(bench.sizes, f"{model.level}_batch")
  return {
    "rate": rate,
    "step_ms": 1e3 * batch_size / rate,
    "peak_mb": finished.peak_bytes / _MEGABYTE,
  }


def _model_inference(bench: Bench, key: str) -> dict[str, float]:
  """inference.py with the model."""
  _, rate = bench.infer(key, MODELS[key].level)
  return {"rate": rate}


def metrics_small(bench: Bench) -> dict[str, float]:
  """EvaluationMetrics on the smaller number of videos."""
  return _metrics(bench, bench.sizes.metrics_small)


def metrics_large(bench: Bench) -> dict[str, float]:
  """EvaluationMetrics on the larger number of videos."""
  return _metrics(bench, bench.sizes.metrics_large)


def _metrics(bench: Bench, num_videos: int) -> dict[str, float]:
  return bench.part(
    "metrics_parts",
    videos=num_videos,
    num_classes=bench.sizes.num_classes,
    batch_size=bench.sizes.video_batch,
  )


def segment_reading(bench: Bench) -> dict[str, float]:
  """Rated segments, and videos, from the same shards."""
  return bench.part(
    "segment_reading",
    shards=bench.shards("segments"),
    num_classes=bench.sizes.num_classes,
    batch_size=bench.sizes.frame_batch,
    repeats=max(1, bench.sizes.part_repeats // 4),
  )


def segments_map(bench: Bench) -> dict[str, float]:
  """MAP@K of rankings of segments, and a sort of them."""
  return bench.part("segments_parts", pairs=bench.sizes.segment_pairs)


def import_tensorflow(bench: Bench) -> dict[str, float]:
  """A process that imports TensorFlow and ends."""
  return {"seconds": bench.python("-c", "import tensorflow").seconds}


def first_step(bench: Bench) -> dict[str, float]:
  """train.py from the start of the process to the end of its first step."""
  train_dir = bench.model("first_step")
  shutil.rmtree(train_dir, ignore_errors=True)
  finished = bench.python(
    "train.py",
    f"--train_data_pattern={bench.shards('video')}",
    f"--train_dir={train_dir}",
    f"--num_classes={bench.sizes.num_classes}",
    f"--batch_size={bench.sizes.video_batch}",
    "--max_steps=1",
    "--log_every_steps=1",  # Else the line would wait for a second batch.
    until=r"training step 1 ",
  )
  return {"seconds": finished.seconds}


@dataclasses.dataclass(frozen=True)
class Measurement:
  """A step of a round.

  Attributes:
    run: one of the functions above.
    needs: measurements that go before it, whose models it uses.
    once: it is not repeated: it takes long, would give the same, or is only
      reported.
    name: the name, as in the rows' "name.figure"; by default the function's.
  """

  run: Callable[[Bench], dict[str, float]]
  needs: tuple[str, ...] = ()
  once: bool = False
  name: str = ""

  def __post_init__(self):
    object.__setattr__(self, "name", self.name or self.run.__name__)


def _measurements_of(key: str) -> tuple[Measurement, ...]:
  """The measurements of one of `MODELS`."""

  def of_model(name, function, *needs):
    run = functools.partial(function, key=key)
    return Measurement(run, needs, once=key != "moe", name=f"{key}_{name}")

  return (
    of_model("limits", _model_limits),
    of_model("train", _model_train),
    of_model("inference", _model_inference, f"{key}_train"),
  )


# A round runs them in this order, so that little time passes between a figure
# and its limit.
MEASUREMENTS = (
  Measurement(video_parts),
  Measurement(video_train),
  Measurement(video_repeated),
  Measurement(video_workers, once=True),
  Measurement(video_mixed),
  Measurement(video_eval, needs=("video_train",)),
  Measurement(video_inference, needs=("video_train",)),
  Measurement(video_gap, needs=("video_eval", "video_mixed"), once=True),
  *_measurements_of("moe"),
  Measurement(frame_parts),
  Measurement(frame_sampling),
  Measurement(frame_reference),
  Measurement(frame_train),
  Measurement(frame_workers, once=True),
  Measurement(gs_near, once=True),
  Measurement(gs_far, once=True),
  Measurement(frame_mixed, once=True),
  Measurement(frame_eval, needs=("frame_train",)),
  Measurement(frame_inference, needs=("frame_train",)),
  Measurement(frame_export, needs=("frame_train",), once=True),
  Measurement(video_raw),
  Measurement(video_verify),
  Measurement(frame_raw),
  Measurement(frame_verify),
  *(part for key in MODELS if key != "moe" for part in _measurements_of(key)),
  Measurement(metrics_small),
  Measurement(metrics_large),
  Measurement(segment_reading),
  Measurement(segments_map),
  Measurement(import_tensorflow),
  Measurement(first_step),
)
