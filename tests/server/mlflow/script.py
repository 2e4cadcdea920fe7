"""A user's script: MLflow alone, nothing of Leyden's."""

import sys
from pathlib import Path

import mlflow
import numpy


def main() -> None:
    mlflow.set_experiment("streets")
    with mlflow.start_run(run_name="first", tags={"team": "maps"}, description="what it is") as run:
        mlflow.log_param("lr", 0.1)
        mlflow.log_params({"net/width": 64, "name": "tree", "flag": True, "tiny": "1e-3"})
        for step in range(20):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"val loss": 0.5, "acc": 0.75}, step=20)
        mlflow.log_metrics({"slow": 1.0}, step=1, synchronous=False)
        mlflow.flush_async_logging()
        mlflow.log_metric("odd", float("nan"))
        mlflow.log_metric("odd", float("inf"), step=1)
        mlflow.set_tag("baseline", "true")
        mlflow.set_tags({"k": "v"})
        mlflow.log_text("hello", "notes/hello.txt")
        mlflow.log_dict({"a": 1}, "a.json")
        Path("model.bin").write_bytes(b"x" * 100_000)
        mlflow.log_artifact("model.bin", "models")
        dataset = mlflow.data.meta_dataset.MetaDataset(
            mlflow.data.http_dataset_source.HTTPDatasetSource("http://example.com/x.csv"), name="x", digest="abc"
        )
        mlflow.log_input(dataset, context="training")
        mlflow.log_image(numpy.zeros((4, 4, 3), numpy.uint8), key="val/pred", step=7)
        with mlflow.start_run(run_name="inner", nested=True):
            mlflow.log_metric("loss", 0.5)
        if "fail" in sys.argv:
            raise ValueError("as asked")
    print(run.info.run_id)


if __name__ == "__main__":
    main()
