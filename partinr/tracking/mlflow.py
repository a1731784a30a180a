"""An MLflow run for each run directory, in MLflow's database or on its server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L

from partinr.callbacks.base import regime
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import MLFLOW_ID
from partinr.tracking.guests import MAX_IMAGES, note_kept
from partinr.tracking.sending import Sender
from partinr.tracking.summary import PICTURES, pictures
from partinr.tracking.words import leaves, shown_config

if TYPE_CHECKING:
    from partinr.tracking.logger import MLflow

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
}
"""MLflow's variables where they are not set: no telemetry, no messages, and no minutes of waiting for a server."""

ROWS, PARAMETERS = 50, 100
"""Of the curve and of the configuration, what MLflow gets at once; it takes 1,000 metrics and 100 parameters."""

LONGEST = 500
"""Characters of a parameter's value that all versions of MLflow take."""

DATABASE = "sqlite:///"


class MLflowPlace:
    """An open MLflow run. A resumed run continues its own, which it knows by ``mlflow.id`` in the run directory.

    Args:
        run: the run directory.
        settings: settings of the logger.
        name: name of the MLflow run if the settings have none.
        config: the composed configuration of the run, plain containers.
    """

    def __init__(self, run: RunDirectory, settings: MLflow, name: str, config: Mapping[str, Any]) -> None:
        for variable, value in QUIET.items():
            os.environ.setdefault(variable, value)
        import mlflow

        self._run, self._entities = run, mlflow.entities
        self._database = _database(settings.tracking_uri)
        self._client = mlflow.MlflowClient(settings.tracking_uri)
        made = self._known()
        self.known_step = -1.0 if made is None else float(made.data.metrics.get("step", -1.0))
        if made is None:
            made = self._client.create_run(self._experiment(settings.experiment), run_name=settings.name or name)
            run.write(MLFLOW_ID, made.info.run_id.encode())
        self._id, self._begun = made.info.run_id, made.info.start_time
        self._client.update_run(self._id, status="RUNNING")
        if self.known_step < 0:
            self._parameters(shown_config(config, run.regime))

    def rows(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Log rows of the curve. MLflow's time is that of the training, so that it can be an axis, too."""
        rows = list(rows)
        for at in range(0, len(rows), ROWS):
            metrics = [
                self._entities.Metric(_name(name), value, self._begun + round(1000 * row["seconds"]), int(row["step"]))
                for row in rows[at : at + ROWS]
                for name, value in row.items()
            ]
            self._client.log_batch(self._id, metrics=metrics)

    def close(self, exit_code: int) -> None:
        """Log the pictures, and end."""
        try:
            for name, files in pictures(self._run, PICTURES, MAX_IMAGES).items():
                for image, path in files:
                    self._client.log_artifact(self._id, str(path), None if image is None else f"{name}/{image}")
        finally:
            self.abandon(exit_code)

    def abandon(self, exit_code: int) -> None:
        """End as finished, failed, or killed by a signal."""
        status = {0: "FINISHED", 1: "FAILED"}.get(exit_code, "KILLED")
        self._client.set_terminated(self._id, status)

    def _known(self) -> Any:
        """The MLflow run that the run directory has; None if it has none, or MLflow has it no more."""
        from mlflow.exceptions import MlflowException

        path = self._run.file(MLFLOW_ID)
        if not path.is_file():
            return None
        try:
            found = self._client.get_run(path.read_text(encoding="ascii").strip())
        except MlflowException:
            return None
        return found if found.info.lifecycle_stage == "active" else None

    def _experiment(self, name: str) -> str:
        """The id of an experiment, which is made if it does not exist."""
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        # MLflow would put files beside a local database into the working directory.
        place = None if self._database is None else (self._database.parent / "mlartifacts").as_uri()
        return str(self._client.create_experiment(name, artifact_location=place))

    def _parameters(self, config: Mapping[str, Any]) -> None:
        found = [self._entities.Param(_name(key), str(value)[:LONGEST]) for key, value in leaves(config)]
        for at in range(0, len(found), PARAMETERS):
            self._client.log_batch(self._id, params=found[at : at + PARAMETERS])


def _name(key: str) -> str:
    """A name of the characters that MLflow takes."""
    return re.sub(r"[^\w/. :-]", "_", key)


def _database(uri: str | None) -> Path | None:
    """The file of a local database, in a folder that exists from now on."""
    if uri is None or not uri.startswith(DATABASE):
        return None
    path = Path(uri.removeprefix(DATABASE)).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


class MLflowSender(Sender):
    """Sends the curve of a run to MLflow as it grows, and at the end the pictures.

    Args:
        settings: settings of the logger.
        name: readable name of the run.
        config: the composed configuration, plain containers.
    """

    def __init__(self, settings: MLflow, name: str, config: Mapping[str, Any]) -> None:
        super().__init__("MLflow", note_kept)
        self._settings = settings
        self._name = name
        self._config = config

    def open(self, pl_module: L.LightningModule) -> MLflowPlace:
        """The MLflow run; a resumed run continues its own."""
        return MLflowPlace(self.run, self._settings, f"{self._name}, seed {regime(pl_module).seed}", self._config)
