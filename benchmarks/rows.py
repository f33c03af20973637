# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The table's rows: which figure, beside which limit, with which target."""

import dataclasses
import statistics
from collections.abc import Collection, Mapping, Sequence

# What a target may be for.
BFLOAT16 = "processors with bfloat16 instructions"
REAL_SHARDS = "real shards, --video_shards and --video_eval_shards"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """A row; figures are named "measurement.figure", see measurements.py.

  Attributes:
    name: what --rows calls it.
    title: what the figure is, with its unit.
    figure: the figure.
    limit_title: what it is compared with, in the same unit.
    limit: that figure; None where the target is for the figure itself.
    at_least: the least that the ratio of figure to limit should be.
    at_most: the most that it should be. Neither: the row only reports.
    condition: what the target is for, one of the constants below; None for
      any run.
  """

  name: str
  title: str
  figure: str
  limit_title: str = "-"
  limit: str | None = None
  at_least: float | None = None
  at_most: float | None = None
  condition: str | None = None

  @property
  def figures(self) -> list[str]:
    """The names of the figure and of its limit, if it has one."""
    return [self.figure, self.limit] if self.limit else [self.figure]

  @property
  def target(self) -> str:
    """The target, as the table shows it."""
    if self.at_least is not None:
      return f">= {self.at_least:g}"
    if self.at_most is not None:
      return f"<= {self.at_most:g}"
    return "report"

  def is_met_by(self, value: float) -> bool | None:
    """Whether a ratio, or figure without limit, is as it should be."""
    if self.at_least is not None:
      return value >= self.at_least
    if self.at_most is not None:
      return value <= self.at_most
    return None


def _rate_row(key: str, title: str) -> Row:
  return Row(
    name=f"{key}_rate",
    title=f"{title}, all frames, end to end, videos/s",
    figure=f"{key}_train.rate",
    limit_title="its fp32 matmuls",
    limit=f"{key}_limits.matmul_rate",
    at_least=0.5,
  )


def _model_rows(key: str, title: str) -> tuple[Row, ...]:
  """What is asked of each model beside its speed in training."""
  return (
    Row(
      name=f"{key}_inference",
      title=f"{title}: inference.py, videos/s",
      figure=f"{key}_inference.rate",
      limit_title="its train.py",
      limit=f"{key}_train.rate",
      at_least=1.0,
    ),
    Row(
      name=f"{key}_memory",
      title=f"{title}: train.py, peak MB",
      figure=f"{key}_train.peak_mb",
      limit_title="weights, batches, activations",
      limit=f"{key}_limits.memory_mb",
      at_most=1.5,
    ),
  )


ROWS = (
  Row(
    name="video_step",
    title="video-level train.py, ms a step",
    figure="video_train.step_ms",
    limit_title="its two fp32 matmuls",
    limit="video_parts.matmul_ms",
    at_most=1.3,
  ),
  Row(
    name="video_keras",
    title="video-level train.py, examples/s",
    figure="video_train.rate",
    limit_title="plain Keras loop, ready batch",
    limit="video_parts.keras_rate",
    at_least=1.2,
  ),
  Row(
    name="video_pipeline",
    title="video-level train.py, examples/s",
    figure="video_train.rate",
    limit_title="the same, one batch repeated",
    limit="video_repeated.rate",
    at_least=0.9,
  ),
  Row(
    name="video_workers",
    title="the same, two workers on this machine",
    figure="video_workers.rate",
    limit_title="one process",
    limit="video_train.rate",
  ),
  Row(
    name="video_mixed",
    title="the same, --mixed_precision",
    figure="video_mixed.rate",
    limit_title="fp32 run",
    limit="video_train.rate",
    at_least=1.25,
    condition=BFLOAT16,
  ),
  Row(
    name="video_mixed_gap",
    title="GAP, --mixed_precision against fp32",
    figure="video_gap.difference",
    at_most=0.002,
    condition=REAL_SHARDS,
  ),
  Row(
    name="frame_reading",
    title="frame-level train.py, videos/s",
    figure="frame_train.rate",
    limit_title="TFRecordDataset, reading only",
    limit="frame_parts.raw_rate",
    at_least=0.2,
  ),
  Row(
    name="frame_sampling",
    title="decoding 30 of the 300 frames of a video, us",
    figure="frame_sampling.sample_us",
    limit_title="decoding all 300",
    limit="frame_sampling.decode_us",
    at_most=0.34,
  ),
  Row(
    name="frame_float32",
    title="frame-level train.py, videos/s",
    figure="frame_train.rate",
    limit_title="per-example float32 pipeline, reading only",
    limit="frame_reference.float32_rate",
    at_least=3.0,
  ),
  Row(
    name="frame_reference",
    title="frame-level train.py, videos/s",
    figure="frame_train.rate",
    limit_title="training on that pipeline, plain TensorFlow",
    limit="frame_reference.reference_rate",
    at_least=3.0,
  ),
  Row(
    name="frame_workers",
    title="the same, two workers on this machine",
    figure="frame_workers.rate",
    limit_title="one process",
    limit="frame_train.rate",
  ),
  Row(
    name="gs_latency",
    title="the same from gs://, 50 ms a request",
    figure="gs_far.rate",
    limit_title="from gs:// without latency",
    limit="gs_near.rate",
    at_least=0.75,
  ),
  Row(
    name="frame_mixed",
    title="the same, --mixed_precision",
    figure="frame_mixed.rate",
    limit_title="fp32 run",
    limit="frame_train.rate",
  ),
  Row(
    name="frame_eval",
    title="frame-level eval.py, videos/s",
    figure="frame_eval.rate",
    limit_title="frame-level train.py",
    limit="frame_train.rate",
    at_least=1.1,
  ),
  Row(
    name="frame_inference",
    title="frame-level inference.py, videos/s",
    figure="frame_inference.rate",
    limit_title="frame-level train.py",
    limit="frame_train.rate",
    at_least=1.1,
  ),
  Row(
    name="frame_export",
    title="frame-level exported model, ready batch, videos/s",
    figure="frame_export.export_rate",
    limit_title="the model of inference.py",
    limit="frame_export.model_rate",
  ),
  Row(
    name="video_eval",
    title="video-level eval.py, examples/s",
    figure="video_eval.rate",
    limit_title="forward matmul and sigmoid",
    limit="video_parts.forward_rate",
    at_least=0.5,
  ),
  Row(
    name="video_inference",
    title="video-level inference.py, examples/s",
    figure="video_inference.rate",
    limit_title="forward matmul and sigmoid",
    limit="video_parts.forward_rate",
    at_least=0.5,
  ),
  Row(
    name="moe_step",
    title="MoeModel, ms a step",
    figure="moe_train.step_ms",
    limit_title="its fp32 matmuls",
    limit="moe_limits.matmul_ms",
    at_most=1.3,
  ),
  *_model_rows("moe", "MoeModel"),
  Row(
    name="dbof_rate",
    title="DbofModel, 30 frames, end to end, videos/s",
    figure="dbof_train.rate",
    limit_title="its fp32 matmuls, or reading",
    limit="dbof_limits.rate",
    at_least=0.6,
  ),
  *_model_rows("dbof", "DbofModel"),
  _rate_row("lstm", "LstmModel"),
  *_model_rows("lstm", "LstmModel"),
  _rate_row("gru", "GruModel"),
  *_model_rows("gru", "GruModel"),
  _rate_row("attention", "AttentionPoolingModel"),
  *_model_rows("attention", "AttentionPoolingModel"),
  Row(
    name="verify_video",
    title="video-level verify_shards.py, videos/s",
    figure="video_verify.rate",
    limit_title="TFRecordDataset, reading only",
    limit="video_raw.raw_rate",
    at_least=0.5,
  ),
  Row(
    name="verify_frame",
    title="frame-level verify_shards.py, videos/s",
    figure="frame_verify.rate",
    limit_title="TFRecordDataset, reading only",
    limit="frame_raw.raw_rate",
    at_least=0.5,
  ),
  Row(
    name="metrics_100k",
    title="metrics of 100K videos, us a video",
    figure="metrics_small.metrics_us",
    limit_title="np.argpartition",
    limit="metrics_small.argpartition_us",
    at_most=1.5,
  ),
  Row(
    name="metrics_1m",
    title="metrics of 1M videos, us a video",
    figure="metrics_large.metrics_us",
    limit_title="np.argpartition",
    limit="metrics_large.argpartition_us",
    at_most=1.5,
  ),
  Row(
    name="metrics_growth",
    title="metrics of 1M videos, s",
    figure="metrics_large.seconds",
    limit_title="of 100K videos",
    limit="metrics_small.seconds",
    at_most=12.0,
  ),
  Row(
    name="metrics_memory",
    title="metrics of 1M videos, bytes a video",
    figure="metrics_large.bytes_per_video",
    at_most=250.0,
  ),
  Row(
    name="segments_reading",
    title="reading rated segments, MB/s of the shards",
    figure="segment_reading.segments_rate",
    limit_title="the same shards as videos",
    limit="segment_reading.videos_rate",
    at_least=0.7,
  ),
  Row(
    name="segments_map",
    title="MAP@K of 10M ranked segments, ms",
    figure="segments_map.map_ms",
    limit_title="np.sort of them",
    limit="segments_map.sort_ms",
    at_most=3.0,
  ),
  Row(
    name="startup",
    title="train.py to the end of step 1, s",
    figure="first_step.seconds",
    limit_title="import tensorflow",
    limit="import_tensorflow.seconds",
    at_most=2.5,
  ),
  Row(
    name="frame_train_memory",
    title="frame-level train.py, peak MB",
    figure="frame_train.peak_mb",
    limit_title="two batches of codes",
    limit="frame_train.two_batches_mb",
  ),
  Row(
    name="frame_train_growth",
    title="frame-level train.py, MB resident",
    figure="frame_train.late_mb",
    limit_title="50 batches before",
    limit="frame_train.early_mb",
    at_most=1.05,
  ),
  Row(
    name="frame_inference_memory",
    title="frame-level inference.py, peak MB",
    figure="frame_inference.peak_mb",
    limit_title="two batches of codes",
    limit="frame_inference.two_batches_mb",
  ),
  Row(
    name="frame_inference_growth",
    title="frame-level inference.py, MB resident",
    figure="frame_inference.late_mb",
    limit_title="50 batches before",
    limit="frame_inference.early_mb",
    at_most=1.05,
  ),
)


def choose(names: Sequence[str]) -> list[Row]:
  """The rows with these names, or whose names begin with one and "_".

  Raises:
    ValueError: a name fits no row.
  """
  for name in names:
    if not any(_fits(row, name) for row in ROWS):
      known = ", ".join(row.name for row in ROWS)
      raise ValueError(f"no row {name!r}; there are {known}")
  return [row for row in ROWS if any(_fits(row, name) for name in names)]


def _fits(row: Row, name: str) -> bool:
  return row.name == name or row.name.startswith(f"{name}_")


def evaluate(
  row: Row,
  samples: Mapping[str, Sequence[float]],
  problems: Mapping[str, str],
  conditions: Collection[str],
) -> dict:
  """What the JSON file holds of a row.

  Args:
    row: the row.
    samples: a figure's name -> its values, one a round.
    problems: a measurement's name -> why it has no figures.
    conditions: those of the rows' conditions that hold.

  Returns:
    A dict of the row's texts; "figure", "limit" and "ratio", each None or
    {"median", "min", "max", "samples"}; "met", True, False or None; "note".
  """
  figures = samples.get(row.figure)
  limits = samples.get(row.limit) if row.limit else None
  ratios = None
  if figures and limits:
    # Round by round, so that a slower hour slows both down.
    ratios = [a / b for a, b in zip(figures, limits, strict=False)]
  judged = ratios if row.limit else figures
  target, note = row.target, None
  met = row.is_met_by(statistics.median(judged)) if judged else None
  if not judged:
    note = "not measured: the run was too short, or the system does not tell"
  elif row.condition and row.condition not in conditions:
    target, met = "report", None
    note = f"the target, {row.target}, is for {row.condition}"
  # Even beside figures: they may be from rounds before the one that failed.
  for name in row.figures:
    note = problems.get(name.split(".")[0], note)
  return {
    "name": row.name,
    "title": row.title,
    "figure": _summary(figures),
    "limit_title": row.limit_title,
    "limit": _summary(limits),
    "ratio": _summary(ratios),
    "target": target,
    "met": met,
    "note": note,
  }


def _summary(values: Sequence[float] | None) -> dict | None:
  if not values:
    return None
  return {
    "median": statistics.median(values),
    "min": min(values),
    "max": max(values),
    "samples": list(values),
  }


def format_table(results: Sequence[Mapping]) -> str:
  """The table as text that is Markdown, too; notes come below it."""
  lines = [
    (
      *("row", "figure", "median [min, max]"),
      *("limit in the same run", "median [min, max]"),
      *("ratio", "target", "met"),
    )
  ]
  for result in results:
    lines.append(
      (
        result["name"],
        result["title"],
        _shown(result["figure"]),
        result["limit_title"],
        _shown(result["limit"]),
        _shown(result["ratio"]),
        result["target"],
        {True: "yes", False: "no", None: "-"}[result["met"]],
      )
    )
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  lines.insert(1, tuple("-" * width for width in widths))
  table = [
    f"| {' | '.join(map(str.ljust, line, widths))} |".rstrip() for line in lines
  ]
  notes = [
    f"{result['name']}: {result['note']}"
    for result in results
    if result["note"]
  ]
  return "\n".join([*table, *([""] if notes else []), *notes])


def _shown(summary: Mapping | None) -> str:
  if summary is None:
    return "-"
  keys = ("median", "min", "max")
  median, low, high = (_number(summary[key]) for key in keys)
  if len(summary["samples"]) == 1:
    return median
  return f"{median} [{low}, {high}]"


def _number(value: float) -> str:
  """Three digits at least, and thousands apart."""
  return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
