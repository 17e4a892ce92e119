import json

from training_samples import ignore_progress, random_walk, strategy

from ktrdr.training.artifacts import write_training
from ktrdr.training.report import TrainingReport, read_training_report
from ktrdr.training.train import train_strategy

BARS = random_walk(1500)


def test_two_equal_trainings_leave_the_same_bytes_in_every_file(tmp_path):
    for folder in ("one", "other"):
        outcome = train_strategy(strategy(), BARS, seed=2, on_progress=ignore_progress, n_shifts=3)
        write_training(tmp_path / folder, outcome, BARS)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    predictions = ["fitted_predictions.parquet", "predictions.parquet"]
    assert files == sorted([*predictions, "machine.json", "model.safetensors", "training.json"])
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_training_json_has_the_documented_fields_and_is_read_back_whole(tmp_path):
    outcome = train_strategy(strategy(), BARS, seed=2, on_progress=ignore_progress, n_shifts=3)
    write_training(tmp_path, outcome, BARS)
    text = (tmp_path / "training.json").read_text()
    document = json.loads(text)
    assert list(document) == [
        "accuracy",
        "final_loss",
        "accuracy_sd",
        "final_loss_sd",
        "folds",
        "nulls",
        "calibration",
        "coverage",
        "unlabelled_rows",
        "rules",
        "seed",
        "snapshot",
        "strategy_sha256",
        "snapshots",
    ]
    assert document["rules"]["rules"][0]["text"].endswith(f"p(up) = {document['rules']['rules'][0]['p']:.2f}")
    assert set(document["nulls"]["circular_shifts"]) == {"n", "accuracy_mean", "accuracy_p95"}
    assert document["folds"][0]["dates"]["fitted"][0].endswith("Z")
    assert TrainingReport.model_validate_json(text) == outcome.report
    (tmp_path / "training.json").write_text(json.dumps({**document, "rules": None}))  # as earlier versions left it
    assert read_training_report(tmp_path / "training.json").rules is None
