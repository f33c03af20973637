# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""What users get wrong, and the one line that they should get for it.

Every case is a program that runs as users start it: its exit code and all that
it writes are checked. They run in copies of one process (fork_programs.py),
which is quick; `FROM_SCRATCH` runs in one of its own.
"""

import gzip
import json
import pathlib
import re
import shutil
import string

import pytest
import tensorflow as tf

FAILURE, USAGE = 1, 2

# What is right; a case adds what is wrong, as the last of two equal flags wins.
RIGHT = {
  "train": (
    "--train_data_pattern=$video/train*",
    "--train_dir=$new",
    "--num_classes=25",
    "--num_epochs=1",
  ),
  "eval": (
    "--eval_data_pattern=$video/validate*",
    "--train_dir=$video_model",
    "--run_once",
  ),
  "inference": (
    "--input_data_pattern=$video/validate*",
    "--train_dir=$video_model",
    "--output_file=$output/predictions.csv",
  ),
}
FRAME_SHARDS = "--train_data_pattern=$frame/train* --num_classes=12"
FRAME_MODEL = "--model=FrameLevelLogisticModel"
FETCH_AGAIN = (
  "Shards are uncompressed TFRecord files; fetch this one again, or give "
  r"--on_bad_record=skip to leave out what cannot be read\.$"
)
HAS_MODEL = " contradicts the train dir, whose model has "
DAMAGED = (
  r"(model\.ckpt-\d+' cannot|No checkpoint in '.*' can) be read: Read less "
  "bytes than requested"
)

# (program, exit code) -> the flags that are wrong -> the message for them. The
# messages of docs/troubleshooting.md are in test_readme.py.
CASES = {
  ("train", FAILURE): {
    # Settings
    "--early_stop_evals=2": (
      "--early_stop_evals needs --eval_data_pattern, the shards on which"
    ),
    '--l2_penalty=1e-6 --model_kwargs={"l2_penalty":5}': (
      r"--l2_penalty is in --model_kwargs, too\. Give it once\.$"
    ),
    # Shards
    "--train_data_pattern=$video/trian*.tfrecord": (
      r"--train_data_pattern: no file matches '.*/trian\*\.tfrecord'\. Check"
    ),
    "--train_data_pattern=$folder/text.tfrecord": (
      r"'.*/text\.tfrecord', record 0: the file begins with the text "
      rf"b'This is not '\. {FETCH_AGAIN}"
    ),
    "--train_data_pattern=$folder/gzip.tfrecord": (
      r"'.*/gzip\.tfrecord', record 0: the file is compressed with gzip\. "
      f"{FETCH_AGAIN}"
    ),
    "--train_data_pattern=$folder/empty.tfrecord": (
      rf"'.*/empty\.tfrecord', record 0: the file is empty\. {FETCH_AGAIN}"
    ),
    "--train_data_pattern=$folder/other_records.tfrecord": (
      r"other_records\.tfrecord', record 0: it is neither a tf\.Example nor"
    ),
    "--train_data_pattern=$video/test*": (
      r"--train_data_pattern: '.*/test0000\.tfrecord' has no labels"
    ),
    "--eval_data_pattern=$video/test*": (
      r"--eval_data_pattern: '.*/test0000\.tfrecord' has no labels"
    ),
    "--eval_data_pattern=": "--eval_data_pattern is empty",
    # Features
    FRAME_MODEL: (
      "--model=FrameLevelLogisticModel takes frame-level features, but the "
      r"shards hold video-level ones \(mean_rgb, mean_audio\)"
    ),
    "--frame_features": (
      r"holds video-level features, but .*\(--frame_features=True\)"
    ),
    f"{FRAME_SHARDS} {FRAME_MODEL} --noframe_features": (
      "it has no video-level feature; it has frames of audio, rgb"
    ),
    "--feature_sizes=16": (
      r"--feature_names has 2 names \(mean_rgb,mean_audio\), --feature_sizes "
      "has 1 sizes"
    ),
    "--feature_sizes=16,x": "--feature_sizes='16,x' cannot be",
    "--feature_sizes=16,-8": "--feature_sizes=-8 should",
    "--feature_names=mean_rgb,mean_rgb": (
      "--feature_names=mean_rgb,mean_rgb names a feature twice"
    ),
    # Choices
    "--model=os.system": "Available: AttentionPoolingModel, Branches",
    "--label_loss=Hinge": (
      "--label_loss: unknown 'Hinge'. "
      "Available: CrossEntropyLoss, FocalLoss, HingeLoss, SoftmaxLoss"
    ),
    "--label_smoothing=1": "label_smoothing=1.0 should be at least 0 and below",
    "--gamma=3": "CrossEntropyLoss has no argument 'gamma'. Available: label_s",
    "--optimizer=Adma": (
      "--optimizer: unknown 'Adma'. Available: .*Adagrad.* Adam.* SGD"
    ),
    "--model_kwargs={l2_penalty:1}": (
      r"--model_kwargs='{l2_penalty:1}' cannot be parsed: "
    ),
    '--model_kwargs={"labels_per_video":-1}': (
      r"--model_kwargs=.* does not suit LogisticModel: labels_per_video=-1"
    ),
    '--model_kwargs={"l2_penalty":"high"}': (
      r'--model_kwargs: l2_penalty="high" of LogisticModel should be a number\.'
    ),
    "--num_gpu=99": r"--num_gpu=99, but \d+ are visible",
    # Train dirs
    "--train_dir=$frame_model": (
      "The model reads feature 'rgb'|--num_classes=25 contradicts"
    ),
    f"--train_dir=$video_model {FRAME_MODEL}": (
      f"{FRAME_MODEL}{HAS_MODEL}model=LogisticModel"
    ),
    "--train_dir=$video_model --optimizer=SGD": (
      f"--optimizer=SGD{HAS_MODEL}optimizer=AdamOptimizer"
    ),
    "--train_dir=$video_model --seed=4": f"--seed=4{HAS_MODEL}seed=3",
    "--train_dir=$no_json": r"model_flags\.json' is not valid",
    "--train_dir=$damaged": DAMAGED,
    "--train_dir=$folder/text.tfrecord": (
      r"'.*text\.tfrecord' is a file; a folder is needed"
    ),
    "--train_dir=$folder/text.tfrecord/model": (
      r"--train_dir='.*/model' cannot be made: "
    ),
  },
  ("train", USAGE): {
    "--batch_size=abc": "flag --batch_size=abc: ",
    "--num_epochs=0": "flag --num_epochs=0: ",
    "--base_learning_rate=-1": "--base_learning_rate=-1",
    "--start_new_model=maybe": "--start_new_model=maybe",
    "--bach_size=3": (
      r"Unknown command line flag 'bach_size'\. Did you mean: batch_size"
    ),
  },
  ("eval", FAILURE): {
    "--on_bad_record=skip --max_bad_fraction=nan": (
      "--max_bad_fraction=nan should be from 0 to 1."
    ),
    "--eval_data_pattern=$frame/validate*": (
      "The model reads feature 'mean_rgb' .--feature_names., but '.*"
      "validate0000.tfrecord' has the frame-level features audio, rgb"
    ),
    "--train_dir=$folder/none": (
      r"--train_dir='.*/none' has no model_flags\.json: no model was trained"
    ),
    "--train_dir=$no_checkpoint": (
      r"--train_dir='.*/no_checkpoint' has no checkpoint yet\. Train a model"
    ),
    '--model_kwargs={"l2_penalty":1}': (
      f"--model_kwargs=.*l2_penalty.*{HAS_MODEL}" r'model_kwargs={"l2_pen'
    ),
    "--train_dir=$other_json": (
      r"model_flags\.json' was not written by this trainer: expected an object"
    ),
    "--train_dir=$damaged": DAMAGED,
  },
  ("eval", USAGE): {
    "--batch_size=-1": "flag --batch_size=-1: ",
    "--max_bad_fraction=1.5": "--max_bad_fraction=1.5: ",
  },
  ("inference", FAILURE): {
    "--input_data_pattern=$folder/a_directory": (
      r"--input_data_pattern: '.*/a_directory' is a directory\. Name the files"
    ),
    # Half a record; the id is in its first bytes, as the sample shards have it.
    "--input_data_pattern=$folder/truncated.tfrecord": (
      r"'.*/truncated\.tfrecord', record 4 \(video '\w{4}'\): it should have "
      r"\d+ bytes and a checksum, but only \d+ bytes are left in the file\. "
      f"{FETCH_AGAIN}"
    ),
    "--train_dir=$frame_model": (
      "The model reads feature 'rgb' .--feature_names., but '.*validate0000"
      ".tfrecord' has the video-level features mean_audio, mean_rgb"
    ),
    "--num_classes=30": f"--num_classes=30{HAS_MODEL}num_classes=25",
    "--feature_names=mean_audio,mean_rgb": (
      f"--feature_names=mean_audio,mean_rgb{HAS_MODEL}"
      "feature_names=mean_rgb,mean_audio"
    ),
    "--train_dir=$wrong_type": (
      r"model_flags\.json': --num_classes='25' should be of type int"
    ),
    "--train_dir=$stranger": "Available: AttentionPoolingModel, Branches",
    "--train_dir=$giant": (
      r"--num_classes=9000000 times --feature_sizes=.* weights, more than"
    ),
    "--train_dir=$damaged": DAMAGED,
    "--output_file=$output/none/predictions.csv": (
      r"'.*/none/predictions\.csv' cannot be written: .*No such file"
    ),
    "--output_file=$output/": (
      "'.*/output/' cannot be written: a file's name is needed"
    ),
    "--vocabulary_file=$folder/none.csv": (
      r"--vocabulary_file='.*/none\.csv' cannot be read: "
    ),
    "--vocabulary_file=$folder/text.tfrecord": (
      r"--vocabulary_file='.*' is not the dataset's vocabulary\.csv"
    ),
  },
  ("inference", USAGE): {
    "--on_bad_record=ignore": (
      r"--on_bad_record=ignore: value should be one of <stop\|skip>"
    ),
    "--top_k=0": "flag --top_k=0: ",
  },
}
# This one runs in a process of its own, as the users' do.
FROM_SCRATCH = "--train_data_pattern=$video/trian*.tfrecord"

MISSING = [
  ("train", "train_data_pattern"),
  ("eval", "eval_data_pattern"),
  ("inference", "input_data_pattern"),
]


@pytest.fixture(scope="module")
def places(
  trained_video, trained_frame, tmp_path_factory
) -> dict[str, pathlib.Path]:
  """What the names after a $ in the flags stand for."""
  folder = tmp_path_factory.mktemp("wrong")
  places = {
    "folder": folder,
    "video": trained_video.shards.folder,
    "frame": trained_frame.shards.folder,
    "video_model": trained_video.train_dir,
    "frame_model": trained_frame.train_dir,
    **broken_train_dirs(trained_video.train_dir, folder),
  }
  (folder / "a_directory").mkdir()
  (folder / "empty.tfrecord").touch()
  text = "This is not a shard.\n" * 10
  (folder / "text.tfrecord").write_text(text)
  with tf.io.TFRecordWriter(str(folder / "other_records.tfrecord")) as writer:
    writer.write(text.encode())
  shard = (places["video"] / "validate0000.tfrecord").read_bytes()
  (folder / "gzip.tfrecord").write_bytes(gzip.compress(shard))
  # Of 20 records, which differ little in length.
  truncated = shard[: round(len(shard) * 4.5 / 20)]
  (folder / "truncated.tfrecord").write_bytes(truncated)
  return places


def broken_train_dirs(train_dir, folder) -> dict[str, pathlib.Path]:
  """Copies of a train dir, each with something wrong."""
  config = json.loads((train_dir / "model_flags.json").read_text())
  contents = {
    "no_json": '{"model": ',
    "other_json": json.dumps({**config, "colour": "red"}),
    "wrong_type": json.dumps({**config, "num_classes": "25"}),
    "stranger": json.dumps({**config, "model": "os.system"}),
    "giant": json.dumps(
      {**config, "num_classes": 9_000_000, "feature_sizes": [16, 9_000_000]}
    ),
    "no_checkpoint": json.dumps(config),
    "damaged": json.dumps(config),
  }
  for name, text in contents.items():
    copy = folder / name
    # Only what belongs to the trainer.
    shutil.copytree(
      train_dir, copy, ignore=shutil.ignore_patterns("eval", "events*")
    )
    (copy / "model_flags.json").write_text(text)
  for path in (folder / "no_checkpoint").glob("*c*k*p*t*"):
    path.unlink()
  for path in (folder / "damaged").glob("model.ckpt-*.data*"):
    path.write_bytes(path.read_bytes()[:-100])
  return {name: folder / name for name in contents}


@pytest.mark.parametrize(
  ("program", "code", "wrong"),
  [(*kind, wrong) for kind, cases in CASES.items() for wrong in cases],
)
def test_mistake_gets_one_line(program, code, wrong, places, request, tmp_path):
  run = request.getfixturevalue(
    "run_program" if wrong == FROM_SCRATCH else "fork_program"
  )
  output = tmp_path / "output"
  output.mkdir()
  values = {**places, "new": tmp_path / "new", "output": output}
  flags = [
    string.Template(flag).substitute(values)
    for flag in (*RIGHT[program], *wrong.split())
  ]
  message = CASES[program, code][wrong]
  assert_one_line(run(program, *flags, check=False), program, code, message)
  assert not list(output.iterdir())
  assert not list((tmp_path / "new").glob("model.ckpt*"))


@pytest.mark.parametrize(("program", "flag"), MISSING)
def test_required_flag(program, flag, fork_program):
  result = fork_program(program, check=False)
  assert_one_line(result, program, USAGE, f"--{flag}")


def assert_one_line(result, program, code, message):
  """Checks all that a user sees of a program that failed."""
  assert result.returncode == code, result.output
  assert result.stdout == ""
  # What computes is logged before; and a damaged checkpoint is warned of before
  # there is no older one.
  log = re.compile(r".* (WARNING |INFO (Evaluating|Predicting) on )")
  (line,) = [line for line in result.stderr.splitlines() if not log.match(line)]
  assert re.match(rf"{program}\.py: error: .*({message})", line)
