"""MLflow logger: pass the rows of `metrics.csv` to Lightning's `MLFlowLogger`."""

from importlib.util import find_spec

from pytorch_lightning.loggers import MLFlowLogger

from unbraid.training.loggers.logger import LightningRows


class MLflow(LightningRows):
    """Log a run as a run of MLflow. By default, the log is written to a folder of this machine.

    Args:
        experiment_name: name of the experiment in MLflow.
        run_name: name of the run in MLflow.
        save_dir: folder of the local file store.
        tracking_uri: address of an MLflow server; None: the run is stored in `save_dir`.

    Raises:
        ModuleNotFoundError: the package mlflow is not installed.
    """

    def __init__(self, experiment_name: str, run_name: str, save_dir: str, tracking_uri: str | None) -> None:
        if find_spec("mlflow") is None:
            raise ModuleNotFoundError("the package mlflow is not installed; type: pip install 'unbraid[mlflow]'")
        super().__init__(MLFlowLogger(experiment_name, run_name, tracking_uri, save_dir=save_dir))
