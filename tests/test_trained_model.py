# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Which checkpoint is used, and training that starts from a trained model."""

import json
import shutil

from program import UserError

import keras
import numpy as np
import pytest
from test_readers import make_record, write_shard

import checkpoints
import config as configs
import eval as eval_program
import experiment
import inference
import models
import train
from config import ExperimentConfig
from model_layers import logistic_layer


class HiddenModel(models.BaseModel):
  """A layer without a name of its own, one with, and the head."""

  frame_features = False

  def create_model(self, model_input, vocab_size, num_frames=None, size=24):
    """See `BaseModel`."""
    hidden = keras.layers.Dense(size, activation="relu")(model_input)
    hidden = keras.layers.BatchNormalization(name="norm")(hidden)
    return logistic_layer(hidden, vocab_size)


@pytest.fixture(autouse=True)
def hidden_model(monkeypatch):
  monkeypatch.setattr(models, "HiddenModel", HiddenModel, raising=False)


def train_on(shards, folder, given=None, **settings) -> int:
  settings = configs.TrainSettings(
    train_data_pattern=shards,
    train_dir=str(folder),
    jit_compile=False,
    **settings,
  )
  values = {
    "model": "HiddenModel",
    "batch_size": 16,
    "seed": 1,
    **(given or {}),
  }
  return train.train(values, settings)


def evaluate_on(shards, folder, **settings) -> dict:
  return eval_program.evaluate(
    configs.EvalSettings(
      eval_data_pattern=shards,
      train_dir=str(folder),
      jit_compile=False,
      **{"run_once": True, **settings},
    )
  )


def weights_in(folder) -> dict[str, np.ndarray]:
  model = experiment.build_model(ExperimentConfig.load(str(folder)))
  checkpoints.restore_latest_model(model, str(folder))
  named = checkpoints.weights_by_name(model)
  return {name: weight.numpy() for name, weight in named.items()}


NAMES = [
  *("dense/kernel", "dense/bias"),
  *("norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance"),
  *("logits/kernel", "logits/bias"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, video_shards):
  """A train dir with checkpoints of the steps 5 and 10, and a best one."""
  folder = tmp_path_factory.mktemp("trained")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(models, "HiddenModel", HiddenModel, raising=False)
    for steps in (5, 10):
      train_on(
        video_shards.train,
        folder,
        {"num_classes": 25, "max_steps": steps, "num_epochs": 9},
        eval_data_pattern=video_shards.validate,
      )
  return folder


class TestChoice:
  @pytest.mark.parametrize(
    ("chosen", "checkpoint"),
    [
      (None, "model.ckpt-10"),
      ("10", "model.ckpt-10"),
      ("5", "model.ckpt-5"),
      ("best", "best/model.ckpt-"),
    ],
  )
  def test_a_checkpoint_by_its_step(
    self, trained, video_shards, chosen, checkpoint
  ):
    results = evaluate_on(
      video_shards.validate,
      trained,
      checkpoint_step=chosen,
      run_once=chosen is None,
    )
    written = json.loads((trained / "eval" / "eval_results.json").read_text())
    assert written["checkpoint"].startswith(checkpoint)
    assert written["gap"] == results["gap"]
    if chosen == "best":
      best = json.loads((trained / "best" / "eval_results.json").read_text())
      assert results["gap"] == pytest.approx(best["gap"], abs=1e-6)
      assert written["checkpoint"].endswith(f"-{best['step']}")

  def test_there_is_no_best_one(self, video_shards, tmp_path):
    train_on(video_shards.train, tmp_path, {"num_classes": 25, "max_steps": 1})
    with pytest.raises(
      UserError, match="=best: .* has no best model; train.py"
    ):
      evaluate_on(video_shards.validate, tmp_path, checkpoint_step="best")

  @pytest.mark.parametrize(
    ("chosen", "message"),
    [
      ("7", "--checkpoint_step=7: .* has no such checkpoint; .*steps: 5, 10.$"),
      ("last", "--checkpoint_step='last' should be a step, .* or best.$"),
    ],
  )
  def test_others_are_refused(self, trained, video_shards, chosen, message):
    with pytest.raises(UserError, match=message):
      evaluate_on(video_shards.validate, trained, checkpoint_step=chosen)


def test_inference_of_a_step(trained, video_shards, tmp_path):
  texts = {}
  for step in ("5", "10", None):
    output = tmp_path / f"{step}.csv"
    inference.infer(
      configs.InferenceSettings(
        input_data_pattern=video_shards.test,
        train_dir=str(trained),
        output_file=str(output),
        checkpoint_step=step,
        jit_compile=False,
      )
    )
    texts[step] = output.read_text()
  assert texts["5"] != texts["10"] == texts[None]


class TestMeanOfCheckpoints:
  def test_is_the_mean_of_the_weights(self, trained, caplog):
    caplog.set_level("INFO")
    model = experiment.build_model(ExperimentConfig.load(str(trained)))

    def weights(step, count):
      checkpoints.restore_chosen_model(model, str(trained), step, count=count)
      return [weight.numpy() for weight in model.weights]

    first, second = weights("5", 1), weights(None, 1)
    assert not caplog.messages
    expected = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    for count in (2, 9):  # There are no more than two.
      for step in (None, "10"):
        for mean, found in zip(expected, weights(step, count), strict=True):
          assert found == pytest.approx(mean, abs=1e-7)
        assert caplog.messages[-1] == (
          "The weights are the mean of 2 checkpoints, of the steps 5, 10."
        )
    for mean, found in zip(first, weights("5", 2), strict=True):
      assert (found == mean).all()

  def test_of_averages(self, video_shards, tmp_path):
    for steps in (1, 4):
      given = {"num_classes": 25, "max_steps": steps, "num_epochs": 9}
      train_on(video_shards.train, tmp_path, {**given, "ema_decay": 0.5})
    kernels = {}
    for use_ema in (True, False):
      for count, step in ((1, "1"), (1, "4"), (2, None)):
        model = experiment.build_model(ExperimentConfig.load(str(tmp_path)))
        checkpoints.restore_chosen_model(
          model, str(tmp_path), step, use_ema, count
        )
        kernels[use_ema, step] = model.weights[0].numpy()
    for use_ema in (True, False):
      mean = (kernels[use_ema, "1"] + kernels[use_ema, "4"]) / 2
      assert kernels[use_ema, None] == pytest.approx(mean, abs=1e-7)
    assert (kernels[True, None] != kernels[False, None]).any()

  def test_a_damaged_one_is_left_out(self, trained, tmp_path, caplog):
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    (folder / "model.ckpt-5.data-00000-of-00001").write_bytes(b"")
    model = experiment.build_model(ExperimentConfig.load(str(trained)))
    checkpoints.restore_chosen_model(model, str(folder), count=2)
    expected = weights_in(trained)
    for name, weight in checkpoints.weights_by_name(model).items():
      assert (weight.numpy() == expected[name]).all()
    assert "It is left out of the mean: " in caplog.text

  def test_more_than_there_are(self, trained, caplog):
    model = experiment.build_model(ExperimentConfig.load(str(trained)))
    checkpoints.restore_chosen_model(model, str(trained), count=99)
    assert "--average_checkpoints=99: there are only " in caplog.text

  def test_in_evaluation_and_inference(self, trained, video_shards, tmp_path):
    gaps = [
      evaluate_on(video_shards.validate, trained, average_checkpoints=count)[
        "gap"
      ]
      for count in (1, 2)
    ]
    path = tmp_path / "p.npz"
    inference.infer(
      configs.InferenceSettings(
        input_data_pattern=video_shards.validate,
        train_dir=str(trained),
        predictions_file=str(path),
        predictions_dtype="float32",
        average_checkpoints=2,
        jit_compile=False,
      )
    )
    results = evaluate_on(video_shards.validate, "none", predictions=str(path))
    assert results["gap"] == pytest.approx(gaps[1], abs=1e-5)
    assert abs(gaps[0] - gaps[1]) > 1e-4


def test_names_do_not_depend_on_what_was_built_before(trained):
  assert list(weights_in(trained)) == NAMES
  config = ExperimentConfig.load(str(trained))
  for _ in range(2):
    model = experiment.build_model(config)
    assert list(checkpoints.weights_by_name(model)) == NAMES


class TestInitFrom:
  @pytest.mark.parametrize("name", ["", "/", "/model.ckpt-10"])
  def test_weights_that_fit_are_taken(
    self, trained, video_shards, tmp_path, name, caplog
  ):
    caplog.set_level("INFO")
    train_on(
      video_shards.train,
      tmp_path,
      {"num_classes": 30, "max_steps": 1, "freeze": ("dense/*", "norm/*")},
      init_from=f"{trained}{name}",
    )
    before, after = weights_in(trained), weights_in(tmp_path)
    # Frozen, they are what they were, the moving statistics too.
    for weight in NAMES[:6]:
      np.testing.assert_array_equal(after[weight], before[weight])
    text = " ".join(caplog.text.split())
    assert (
      "New: logits/kernel of shape (24, 30), which has shape (24, 25)" in text
    )
    assert "New: logits/bias of shape (30,), which has shape (25,)" in text
    assert f"Took 6 of 8 weights from {trained}/model.ckpt-10." in text
    # Optimizer and step start anew.
    assert checkpoints.latest_checkpoint(str(tmp_path)).endswith("-1")

  def test_a_resumed_run_does_not_start_anew(
    self, trained, video_shards, tmp_path, caplog
  ):
    given = {"num_classes": 25, "max_steps": 1, "num_epochs": 9}
    train_on(video_shards.train, tmp_path, given)
    caplog.set_level("INFO")
    given["max_steps"] = 2
    train_on(video_shards.train, tmp_path, given, init_from=str(trained))
    assert "Resuming from" in caplog.text
    assert "Took" not in caplog.text

  @pytest.mark.parametrize(
    ("given", "message"),
    [
      (
        {"feature_names": ("mean_rgb",)},
        "reads the features mean_rgb 16, mean_audio 8, but this run mean_rgb",
      ),
      ({"model": "LogisticModel"}, "no weight of that model fits but those of"),
      ({"model_kwargs": {"size": 7}}, "no weight of that model fits but those"),
    ],
  )
  def test_what_does_not_fit_is_refused(
    self, trained, video_shards, tmp_path, given, message
  ):
    with pytest.raises(UserError, match=message):
      train_on(
        video_shards.train,
        tmp_path / "new",
        {"num_classes": 25, **given},
        init_from=str(trained),
      )
    assert not (tmp_path / "new").exists()

  def test_no_model_is_there(self, video_shards, tmp_path):
    with pytest.raises(UserError, match="--init_from=.*no model was trained"):
      train_on(
        video_shards.train, tmp_path / "new", init_from=str(tmp_path / "other")
      )

  def test_a_model_that_is_to_be_deleted(self, video_shards, tmp_path):
    # What is taken from is read before it is deleted.
    given = {"num_classes": 25, "max_steps": 1}
    train_on(video_shards.train, tmp_path, given)
    before = weights_in(tmp_path)["dense/kernel"]
    train_on(
      video_shards.train,
      tmp_path,
      {**given, "freeze": ("dense/*",)},
      init_from=str(tmp_path),
      start_new_model=True,
    )
    np.testing.assert_array_equal(weights_in(tmp_path)["dense/kernel"], before)

  def test_fine_tuning_beats_a_new_model_on_few_examples(self, tmp_path):
    # The class is which of four directions a video lies in; the other classes
    # are of three of them. What a hidden layer has to find is the same.
    directions = np.random.default_rng(0).normal(size=(16, 4))

    def write(name, seed, count, class_of):
      rng = np.random.default_rng(seed)
      records = []
      for number in range(count):
        values = rng.normal(size=16)
        label = class_of(*(values @ directions > 0).astype(int))
        context = {"id": [b"%d" % number], "labels": [int(label)]}
        records.append(make_record({**context, "mean_rgb": values.tolist()}))
      return write_shard(tmp_path / f"{name}.tfrecord", records)

    def first_class(a, b, c, d):
      return a + 2 * b + 4 * c + 8 * d

    def other_class(a, b, c, d):
      return 7 - a - 2 * c - 4 * d

    first = write("first", 1, 2500, first_class)
    few = write("few", 2, 60, other_class)
    held_out = write("held_out", 3, 500, other_class)
    train_on(
      first,
      tmp_path / "first",
      {"num_classes": 16, "num_epochs": 6, "batch_size": 64},
    )
    gaps = {}
    for name, source in (("new", None), ("tuned", str(tmp_path / "first"))):
      train_on(
        few,
        tmp_path / name,
        {"num_classes": 8, "num_epochs": 20},
        init_from=source,
      )
      gaps[name] = evaluate_on(held_out, tmp_path / name)["gap"]
    assert gaps["tuned"] > gaps["new"] + 0.1, gaps


@pytest.mark.parametrize("patience", [1, 3])
def test_training_ends_early(video_shards, tmp_path, caplog, patience):
  caplog.set_level("INFO")
  # Nothing changes, so that no model is better than the first.
  given = {"num_classes": 25, "base_learning_rate": 0.0, "num_epochs": 9}
  code = train_on(
    video_shards.train,
    tmp_path,
    {**given, "model": "LogisticModel"},
    eval_data_pattern=video_shards.validate,
    eval_every_steps=2,
    early_stop_evals=patience,
  )
  assert code == 0
  last = 2 * (1 + patience)
  assert checkpoints.latest_checkpoint(str(tmp_path)).endswith(f"-{last}")
  assert f"No better GAP in {patience} evaluations: training" in caplog.text
  assert f"Finished training at step {last}." in caplog.text


def test_averages_of_weights(video_shards, tmp_path):
  given = {"num_classes": 25, "ema_decay": 0.9, "num_epochs": 9}
  for steps in (5, 8):  # Stopped, and resumed.
    train_on(
      video_shards.train,
      tmp_path / "model",
      {**given, "max_steps": steps, "model": "LogisticModel"},
      max_to_keep=20,
      save_checkpoint_secs=0,
      eval_data_pattern=video_shards.validate,
      eval_every_steps=100,
    )
  config = ExperimentConfig.load(str(tmp_path / "model"))
  model = experiment.build_model(config)

  def weights_of(step, use_averages):
    path = str(tmp_path / "model" / f"model.ckpt-{step}")
    checkpoints.restore_model(model, path, use_averages)
    return model.get_weights()

  # By hand, from the weights of each step and the decay of its number.
  expected = weights_of(1, False)
  for step in range(1, 9):
    decay = min(0.9, step / (step + 10))
    expected = [
      decay * average + (1 - decay) * weight if step > 1 else average
      for average, weight in zip(expected, weights_of(step, False), strict=True)
    ]
    if step == 1:
      expected = weights_of(1, True)
    for average, other in zip(expected, weights_of(step, True), strict=True):
      np.testing.assert_allclose(average, other, rtol=1e-4, atol=1e-6)
  results = [
    evaluate_on(video_shards.validate, tmp_path / "model", use_ema=use)
    for use in (True, False)
  ]
  assert results[0]["loss"] != results[1]["loss"]
  # What was evaluated while training, and kept as the best, are the averages.
  best = json.loads((tmp_path / "model/best/eval_results.json").read_text())
  assert best["step"] == 8
  assert best["loss"] == pytest.approx(results[0]["loss"], rel=1e-6)
  with pytest.raises(UserError, match="--ema_decay=0.5 contradicts the train"):
    train_on(
      video_shards.train,
      tmp_path / "model",
      {**given, "ema_decay": 0.5, "model": "LogisticModel"},
    )


class TestFreeze:
  @pytest.mark.parametrize(
    ("patterns", "message"),
    [
      (
        ("conv/*",),
        "--freeze='conv/.' matches none of the weights: dense/kern",
      ),
      (("*",), r"--freeze=\* leaves nothing to train"),
    ],
  )
  def test_wrong_patterns(self, video_shards, tmp_path, patterns, message):
    with pytest.raises(UserError, match=message):
      train_on(video_shards.train, tmp_path / "new", {"freeze": patterns})

  def test_one_weight_of_a_layer(self, video_shards, tmp_path):
    given = {"num_classes": 25, "max_steps": 2, "freeze": ("norm/beta",)}
    train_on(video_shards.train, tmp_path, given)
    weights = weights_in(tmp_path)
    assert not weights["norm/beta"].any()  # As they began.
    assert (weights["norm/gamma"] != 1).any()
    assert weights["norm/moving_mean"].any()
