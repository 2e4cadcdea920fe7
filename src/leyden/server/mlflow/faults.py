"""How does MLflow's client learn that something is wrong? By a code of MLflow's and a sentence."""

from __future__ import annotations

from typing import final


@final
class MlflowError(Exception):
    """A request that cannot be done; `code` is one of mlflow.protos.databricks_pb2.ErrorCode."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


def invalid(message: str) -> MlflowError:
    """What was sent is wrong."""
    return MlflowError("INVALID_PARAMETER_VALUE", message)


def missing(what: str) -> MlflowError:
    """There is no such thing."""
    return MlflowError("RESOURCE_DOES_NOT_EXIST", f"{what} does not exist on this server.", 404)


def exists(what: str) -> MlflowError:
    """There is one of that name already."""
    return MlflowError("RESOURCE_ALREADY_EXISTS", f"{what} already exists.", 400)
