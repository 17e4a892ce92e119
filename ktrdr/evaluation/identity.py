"""What an exam is of: a specification and its weights, by whatever name."""

import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ktrdr.errors import OperationFailed
from ktrdr.strategy.specification import StrategySpecification


def exam_identity(specification: StrategySpecification, model_file: Path) -> str:
    """Return the hash (hex) of all that decides a strategy's signals: not its name, not its hypothesis.

    Raises:
        OperationFailed: `model_unusable`: there is no model of a finished training.
    """
    digest = hashlib.sha256(f"ktrdr exam 1\n{specification.configuration_sha256()}\n".encode())
    try:
        with safe_open(model_file, framework="numpy") as file:
            for name in sorted(file.keys()):
                weights = file.get_tensor(name)
                digest.update(f"{name} {weights.dtype.str} {weights.shape}\n".encode())
                digest.update(weights.tobytes())
    except (OSError, SafetensorError) as error:
        raise OperationFailed(
            f"{model_file} cannot be used as a model: {error}; train and backtest the strategy again",
            reason="model_unusable",
        ) from error
    return digest.hexdigest()
