"""Runs are found again, and nothing is logged twice; a real MLflow on SQLite."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra import tracking
from infra.errors import NightshiftError, UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """MLflow on SQLite, once: its start costs seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setattr(tracking, "_settings", None)
        tracking.configure(f"sqlite:///{folder}/deep/mlflow.db", folder / "artifacts")
        yield folder


@pytest.fixture
def run(root, request):
    return tracking.night_run("recipe", request.node.name.replace("'", ""), "night")


def read(run_id):
    return tracking.client().get_run(run_id)


def test_a_night_is_found_again_and_runs_again(run, request):
    tracking.finish(run, "FAILED")
    again = tracking.night_run("recipe", request.node.name, "another name", {"lineage": "x"})
    assert again == run
    assert read(run).info.status == "RUNNING"
    assert read(run).data.tags["lineage"] == "x"
    assert tracking.night_run("recipe", "another key", "night") != run
    assert tracking.night_run("another recipe", request.node.name, "night") != run


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NightshiftError("no memory"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (TimeoutError("told to stop"), "KILLED"),
    ],
)
def test_an_error_ends_the_run_and_is_raised(run, error, status):
    with pytest.raises(type(error)), tracking.ended_by_errors(run, TimeoutError):
        raise error
    assert read(run).info.status == status


def test_an_error_is_not_hidden_by_an_mlflow_that_is_away(run, monkeypatch):
    monkeypatch.setattr(tracking, "client", lambda: 1 / 0)
    with pytest.raises(NightshiftError, match="no memory"), tracking.ended_by_errors(run):
        raise NightshiftError("no memory")


def test_a_child_is_found_again_by_parent_kind_and_key(run, request):
    child = tracking.child_run(run, "stage", "easy", "k1", {"a": "b"})
    assert tracking.child_run(run, "stage", "easy", "k1") == child
    others = {tracking.child_run(run, "stage", "medium", "k2"), tracking.child_run(run, "scorecard", "easy", "k1")}
    assert len(others | {child, run}) == 4
    tags = read(child).data.tags
    assert (tags["mlflow.parentRunId"], tags["nightshift.night"], tags["a"]) == (run, request.node.name, "b")
    assert tracking.night_run("recipe", request.node.name, "night") == run


def test_artifacts_lie_below_the_given_root(root, run, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "report.html").write_text("hello")
    tracking.log_folder(run, tmp_path / "in", "docs")
    tracking.log_folder(run, tmp_path / "in", "docs")
    tracking.log_text(run, "text", "note.txt")
    assert read(run).info.artifact_uri.startswith((root / "artifacts" / "recipe").as_uri())
    assert [p.read_text() for p in (root / "artifacts").rglob(f"{run}/**/report.html")] == ["hello"]
    with pytest.raises(UserError, match="not a folder"):
        tracking.log_folder(run, tmp_path / "missing")


def test_a_curve_is_logged_once_completed_and_continued(run):
    client = tracking.client()
    points = [(step, 1 / (step + 1)) for step in range(1500)]
    tracking.log_curve(run, "loss", points[:700])
    tracking.log_curve(run, "loss", points)
    tracking.log_curve(run, "loss", points)
    history = client.get_metric_history(run, "loss")
    assert [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)] == points
    tracking.log_curve(run, "empty", [])


def test_a_curve_may_hold_a_broken_loss(run):
    tracking.log_curve(run, "loss", [(0, 1.0), (1, float("nan"))])
    assert math.isnan(tracking.client().get_metric_history(run, "loss")[-1].value)


def test_metrics_are_logged_again_only_when_they_change(run):
    for value in (0.5, 0.5, 0.6):
        tracking.log_metrics(run, {"execution_accuracy": value})
    assert [m.value for m in tracking.client().get_metric_history(run, "execution_accuracy")] == [0.5, 0.6]


def test_params_are_flat_batched_and_fixed(run):
    params = {"training": {"lr": 1e-4, "lora": {"r": 16}}, "note": "x" * 9000, "none": None}
    many = {f"p{n}": n for n in range(250)}
    for _ in range(2):
        tracking.log_params(run, params | many)
    logged = read(run).data.params
    assert (logged["training.lr"], logged["training.lora.r"], logged["none"]) == ("0.0001", "16", "None")
    assert len(logged["note"]) == 6000
    assert len(logged) == 254
    with pytest.raises(UserError, match=r"training\.lr .* is '0\.0001' and cannot become '0\.1'"):
        tracking.log_params(run, {"training": {"lr": 0.1}, "fresh": 1})
    assert "fresh" not in read(run).data.params


def test_a_dataset_is_an_input_once(run):
    for name, context in (("train", "training"), ("train", "training"), ("test", "evaluation")):
        tracking.log_dataset(run, name, "abc123", "datasets/abc123", context, {"num_rows": 3})
    inputs = read(run).inputs.dataset_inputs
    found = sorted((i.dataset.name, i.dataset.digest, i.tags[0].value) for i in inputs)
    assert found == [("test", "abc123", "evaluation"), ("train", "abc123", "training")]
    with pytest.raises(UserError, match="its own name"):
        tracking.log_dataset(run, "train", "abc123", "datasets/abc123", "evaluation")


def test_threads_do_not_write_into_each_others_runs(run):
    def part(number):
        child = tracking.child_run(run, "stage", f"s{number}", f"s{number}")
        tracking.log_curve(child, "loss", [(step, number) for step in range(20)])
        tracking.log_params(child, {"number": number})
        return child

    with ThreadPoolExecutor(4) as pool:
        children = list(pool.map(part, range(6)))
    for number, child in enumerate(children):
        assert {m.value for m in tracking.client().get_metric_history(child, "loss")} == {number}
        assert read(child).data.params["number"] == str(number)


def test_an_experiment_is_made_once_by_rivals_and_never_from_the_dead(root):
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(tracking.experiment_id, ["rivals"] * 4))) == 1
    tracking.client().delete_experiment(tracking.experiment_id("rivals"))
    with pytest.raises(UserError, match="restore it"):
        tracking.night_run("rivals", "k", "night")


def test_addresses_that_cannot_work_are_refused(monkeypatch):
    monkeypatch.setattr(tracking, "_settings", None)
    with pytest.raises(NightshiftError, match="not configured"):
        tracking.client()
    for uri in ("file:///tmp/mlruns", "mlruns"):
        with pytest.raises(UserError, match="sqlite"):
            tracking.configure(uri, "x")
    with pytest.raises(UserError, match="artifacts go"):
        tracking.configure("sqlite:///mlflow.db")
    tracking.configure("https://mlflow.example")
    assert tracking.tracking_uri() == "https://mlflow.example"
