"""Does MLflow's own client, unchanged, find everything it wrote, and do Leyden's own table and folders have it too?"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException, RestException

from leyden.track.read import read_run
from tests.conformance.until import until
from tests.server.running import Running

SCRIPT = Path(__file__).with_name("script.py")
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def client(server: Running, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    found = server.published()
    for name, value in {**QUIET, "MLFLOW_TRACKING_TOKEN": found["token"]}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", found["url"])
    return MlflowClient(found["url"])


def the_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], env=dict(os.environ), capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_script_of_mlflows_runs_unchanged(server: Running, client: MlflowClient) -> None:
    done = the_script()
    assert done.returncode == 0, done.stderr
    run_id = done.stdout.split()[-1]
    run = client.get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert run.info.end_time >= run.info.start_time
    assert client.get_experiment_by_name("streets").experiment_id == run.info.experiment_id
    assert run.data.params == {"lr": "0.1", "net/width": "64", "name": "tree", "flag": "True", "tiny": "1e-3"}
    assert {key: run.data.metrics[key] for key in ("loss", "val loss", "acc", "slow", "odd")} == {
        "loss": 0.05, "val loss": 0.5, "acc": 0.75, "slow": 1.0, "odd": math.inf,
    }  # fmt: skip
    history = client.get_metric_history(run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(step, 1 / (step + 1)) for step in range(20)]
    assert math.isnan(client.get_metric_history(run_id, "odd")[0].value)
    assert (run.data.tags["team"], run.data.tags["mlflow.note.content"]) == ("maps", "what it is")
    assert [one.dataset.name for one in run.inputs.dataset_inputs] == ["x"]
    assert {one.path for one in client.list_artifacts(run_id)} == {"a.json", "images", "models", "notes"}
    [model] = client.list_artifacts(run_id, "models")
    assert (model.path, model.file_size) == ("models/model.bin", 100_000)
    assert Path(client.download_artifacts(run_id, "notes/hello.txt", ".")).read_text() == "hello"
    [picture] = server.get(f"/api/runs/{run_id}/media")
    assert (picture["kind"], picture["name"], picture["step"]) == ("image", "val/pred", 7)
    [inner] = client.search_runs([run.info.experiment_id], f"tags.mlflow.parentRunId = '{run_id}'")
    assert client.get_parent_run(inner.info.run_id).info.run_id == run_id

    def listed() -> Any:
        rows = server.get("/api/runs?columns=loss,config.lr,config.net%2Fwidth")["rows"]
        return next((row for row in rows if row["id"] == run_id and row["state"] == "finished"), None)

    row = until(listed)
    assert (row["name"], row["project"], row["tags"]) == ("first", "streets", ["team=maps", "baseline", "k=v"])
    assert row["values"] == {"loss": 0.05, "config.lr": 0.1, "config.net/width": 64}
    assert row["note"] == "what it is"
    assert read_run(server.home / "runs" / run_id)["loss"].values[19] == 0.05
    assert (server.home / "runs" / run_id / "artifacts" / "models" / "model.bin").stat().st_size == 100_000


@pytest.mark.slow
def test_a_script_that_fails_has_failed(client: MlflowClient) -> None:
    assert the_script("fail").returncode == 1
    runs = client.search_runs([client.get_experiment_by_name("streets").experiment_id])
    assert [(one.info.run_name, one.info.status) for one in runs] == [("inner", "FINISHED"), ("first", "FAILED")]


@pytest.mark.slow
def test_everything_outlives_the_server(server: Running, client: MlflowClient) -> None:
    experiment = client.create_experiment("e", tags={"a": "b"})
    run = client.create_run(experiment, run_name="r")
    client.log_batch(run.info.run_id, [Metric("m", 1.5, 1000, 3), Metric("m", 2.5, 2000, 4)], [Param("p", "q")])
    server.kill()
    server.start()
    again = MlflowClient(server.published()["url"])
    os.environ["MLFLOW_TRACKING_TOKEN"] = server.published()["token"]
    found = again.get_run(run.info.run_id)
    assert (found.data.metrics, found.data.params, found.info.status) == ({"m": 2.5}, {"p": "q"}, "RUNNING")
    assert again.get_experiment(experiment).tags == {"a": "b"}
    again.log_metric(run.info.run_id, "m", 3.5, step=5)
    again.set_terminated(run.info.run_id)
    assert [one.value for one in again.get_metric_history(run.info.run_id, "m")] == [1.5, 2.5, 3.5]
    again.log_metric(run.info.run_id, "late", 1.0)  # after its end, and maybe after it was sealed
    assert again.get_run(run.info.run_id).data.metrics == {"m": 3.5, "late": 1.0}


@pytest.fixture(scope="module")
def three(shared: Running) -> Iterator[tuple[MlflowClient, str]]:
    """Three runs in a server for all tests that only look."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**QUIET, "MLFLOW_TRACKING_TOKEN": shared.published()["token"]}.items():
            patch.setenv(name, value)
        yield three_runs(MlflowClient(shared.published()["url"]))


def three_runs(client: MlflowClient) -> tuple[MlflowClient, str]:
    experiment = client.create_experiment("three")
    for name, loss, model in (("a", 0.1, "tree"), ("b", 0.5, "Forest"), ("c", None, "tree's")):
        run = client.create_run(experiment, run_name=name, start_time=ord(name), tags={"t": name})
        client.log_batch(
            run.info.run_id, [] if loss is None else [Metric("val loss", loss, 0, 0)], [Param("model", model)]
        )
    return client, experiment


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "cba"),
        ("metrics.`val loss` < 0.3", "a"),
        ("metrics.\"val loss\" >= 1e-1 and params.model != 'tree'", "b"),
        ("params.model = 'tree'", "a"),
        ("params.model = 'tree''s'", "c"),
        ("params.model LIKE 'tree%'", "ca"),
        ("params.model ILIKE 'FOREST'", "b"),
        ("tags.t IN ('a', 'c')", "ca"),
        ("run_name = 'b'", "b"),
        ("attributes.run_name NOT IN ('a')", "cb"),
        ("attributes.start_time > 97", "cb"),
        ("attributes.status = 'RUNNING' AND tags.t != 'a'", "cb"),
        ("params.absent IS NULL", "cba"),
        ("params.absent IS NOT NULL", ""),
    ],
)
def test_search(three: tuple[MlflowClient, str], text: str, names: str) -> None:
    client, experiment = three
    assert "".join(one.info.run_name for one in client.search_runs([experiment], text)) == names


def test_order_and_pages(client: MlflowClient) -> None:
    client, experiment = three_runs(client)

    def names(*order: str) -> str:
        return "".join(one.info.run_name for one in client.search_runs([experiment], order_by=list(order)))

    assert names("metrics.`val loss` DESC") == "bac"
    assert names("metrics.`val loss`") == "abc"
    assert names("attributes.start_time ASC") == "abc"
    assert names("params.model") == "bac"
    page = client.search_runs([experiment], max_results=2)
    rest = client.search_runs([experiment], max_results=2, page_token=page.token)
    assert ("".join(one.info.run_name for one in [*page, *rest]), rest.token) == ("cba", None)
    client.delete_run(page[0].info.run_id)
    assert names() == "ba"
    [gone] = client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)
    client.restore_run(gone.info.run_id)
    assert names() == "cba"


@pytest.mark.parametrize(
    "text",
    [
        "metrics.loss",
        "metrics.loss < 'a'",
        "params.a = 1",
        "x.y = 'a'",
        "params.a ~ 'b'",
        "metrics.a < 1 or metrics.b < 1",
        "params.a IN 'b'",
        "params.a IN ('b'",
        "'",
    ],
)
def test_filters_that_are_none(three: tuple[MlflowClient, str], text: str) -> None:
    client, experiment = three
    with pytest.raises(MlflowException, match="INVALID_PARAMETER_VALUE"):
        client.search_runs([experiment], text)


def test_experiments(client: MlflowClient) -> None:
    assert client.get_experiment("0").name == "Default"
    one = client.create_experiment("one", tags={"kind": "x"})
    two = client.create_experiment("two")
    assert [found.name for found in client.search_experiments(order_by=["name"])] == ["Default", "one", "two"]
    assert [found.name for found in client.search_experiments(filter_string="tags.kind = 'x'")] == ["one"]
    assert [found.name for found in client.search_experiments(filter_string="name LIKE 't%'")] == ["two"]
    with pytest.raises(RestException, match="RESOURCE_ALREADY_EXISTS"):
        client.create_experiment("one")
    client.rename_experiment(two, "zwei")
    client.set_experiment_tag(two, "a", "b")
    run = client.create_run(two)
    client.delete_experiment(two)
    assert client.get_experiment(two).lifecycle_stage == "deleted"
    assert client.get_run(run.info.run_id).info.lifecycle_stage == "deleted"
    client.restore_experiment(two)
    assert client.get_experiment(two).tags == {"a": "b"}
    assert client.get_experiment_by_name("nothing") is None
    assert client.get_experiment(one).lifecycle_stage == "active"


def test_models(server: Running, client: MlflowClient, tmp_path: Path) -> None:
    run_id = client.create_run("0").info.run_id
    files = tmp_path / "files"
    files.mkdir()
    (files / "MLmodel").write_text("flavors: {}")
    for name in ("net", "net", "tree"):
        made = client.create_logged_model("0", name, source_run_id=run_id, params={"lr": "0.1"}, tags={"a": "b"})
        client.log_model_artifacts(made.model_id, str(files))
        client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
        client.log_outputs(run_id, [LoggedModelOutput(made.model_id, 3)])
    nets = client.search_logged_models(["0"], "name = 'net' AND params.lr = '0.1'")
    assert [(one.name, one.status, one.source_run_id) for one in nets] == [("net", LoggedModelStatus.READY, run_id)] * 2
    assert [one.path for one in client.list_artifacts(run_id, "models")] == [
        "models/net",
        "models/net-2",
        "models/tree",
    ]
    assert client.get_run(run_id).outputs.model_outputs[2].model_id == made.model_id
    found = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/tree/MLmodel", dst_path=str(tmp_path / "back"))
    assert Path(found).read_text() == "flavors: {}"
    first = client.search_logged_models(["0"], max_results=1, order_by=[{"field_name": "name", "ascending": False}])
    assert ([one.name for one in first], bool(first.token)) == (["tree"], True)
    client.set_logged_model_tags(made.model_id, {"c": "d"})
    client.delete_logged_model_tag(made.model_id, "a")
    server.kill()
    server.start()
    again = MlflowClient(server.published()["url"])
    os.environ["MLFLOW_TRACKING_TOKEN"] = server.published()["token"]
    kept = again.get_logged_model(made.model_id)
    assert (kept.tags, kept.params) == ({"c": "d"}, {"lr": "0.1"})
    again.delete_logged_model(made.model_id)
    with pytest.raises(MlflowException, match="RESOURCE_DOES_NOT_EXIST"):
        again.get_logged_model(made.model_id)
    with pytest.raises(MlflowException, match=r"within mlflow\.start_run"):
        again.create_logged_model("0", "alone")
    with pytest.raises(MlflowException, match="name of a model"):
        again.create_logged_model("0", "../x", source_run_id=run_id)


@pytest.mark.slow
def test_the_trainers_logger(client: MlflowClient, tmp_path: Path) -> None:
    """It fails in its second epoch; when training goes on, so does its run, without being asked to."""
    import leyden
    from leyden.train.loggers import MLFlowLogger
    from tests.train.models import Line, loader

    class Fails(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            if self.trainer.global_step == 9 and not client.get_run(str(first.run_id)).data.tags.get("again"):
                raise ValueError("as asked")
            return loss

        def on_train_start(self) -> None:
            assert isinstance(self.trainer.logger, MLFlowLogger)
            self.trainer.logger.experiment.log_dict(self.trainer.logger.run_id, {"a": 1}, "a.json")

    def train(logger: MLFlowLogger, checkpoint: str | None) -> None:
        run = leyden.Trainer(
            max_epochs=2, accelerator="cpu", logger=logger, enable_progress_bar=False, default_root_dir=tmp_path
        )
        try:
            run.fit(Fails(), loader(), ckpt_path=checkpoint)
        finally:
            assert run.run is not None
            run.run.finish()

    def steps() -> list[int]:
        return [one.step for one in client.get_metric_history(str(first.run_id), "train_loss_step")]

    first = MLFlowLogger("lines", run_name="first")
    with pytest.raises(ValueError, match="as asked"):
        train(first, None)
    run = client.get_run(str(first.run_id))
    assert (run.info.run_name, run.info.status) == ("first", "FAILED")
    assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["a.json"]
    assert steps() == list(range(10))
    client.set_tag(run.info.run_id, "again", "yes")
    second = MLFlowLogger("lines")
    train(second, "last")
    assert second.run_id == first.run_id
    assert client.get_run(run.info.run_id).info.status == "FINISHED"
    assert steps() == [*range(10), *range(8, 16)]
    anew = MLFlowLogger("lines")
    train(anew, None)
    assert anew.run_id not in (None, first.run_id)


def test_what_cannot_be_done(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = client.create_run("0").info.run_id
    client.log_param(run_id, "lr", 1)
    client.log_param(run_id, "lr", 1)
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        client.log_param(run_id, "lr", 2)
    with pytest.raises(MlflowException, match="RESOURCE_DOES_NOT_EXIST"):
        client.get_run("0" * 10)
    with pytest.raises(MlflowException, match="ENDPOINT_NOT_FOUND"):
        client.create_registered_model("m")
    client.set_tag(run_id, "t", "x")
    client.delete_tag(run_id, "t")
    with pytest.raises(MlflowException, match="RESOURCE_DOES_NOT_EXIST"):
        client.delete_tag(run_id, "t")
    client.delete_run(run_id)
    with pytest.raises(MlflowException, match="active"):
        client.log_metric(run_id, "a", 1.0)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "wrong")
    with pytest.raises(MlflowException, match="the token is wrong"):
        client.get_run(run_id)


def test_nothing_half_done_and_nothing_outside(server: Running, client: MlflowClient) -> None:
    run_id = client.create_run("0").info.run_id
    bad = [Metric("good", 1.0, 0, 0), Metric("x" * 300, 1.0, 0, 0)]
    status, said = server.ask("POST", "/api/2.0/mlflow/runs/log-batch", {
        "run_id": run_id, "metrics": [dict(one) for one in bad], "params": [{"key": "p", "value": "q"}],
    })  # fmt: skip
    assert (status, said["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert (client.get_run(run_id).data.metrics, client.get_run(run_id).data.params) == ({}, {})
    assert server.ask("PUT", f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/a", b"x")[0] == 200
    for path in ("../../../secret", "a/../../b", "%2e%2e/%2e%2e/b", "a/below-a-file", "x" * 300):
        status, _ = server.ask("PUT", f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/{path}", b"x")
        assert status in (400, 404)
    for body in (b"{", b"[]", b'{"run_id": 3, "metrics": 4}'):
        assert server.ask("POST", "/api/2.0/mlflow/runs/log-batch", body)[0] in (400, 404)
    client.log_batch(run_id, tags=[RunTag("<script>", "alert(1)")])
    assert client.get_run(run_id).data.tags["<script>"] == "alert(1)"
