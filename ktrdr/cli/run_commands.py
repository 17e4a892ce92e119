"""`ktrdr train` and `ktrdr backtest`: one phase by itself."""

from typing import Annotated

import typer

from ktrdr.cli.options import Detach, Json, Seed, StrategyName, command_group

app = command_group("Train and backtest by hand.")


@app.command("train")
def train(
    file_or_name: Annotated[
        str, typer.Argument(metavar="FILE_OR_NAME", help="A strategy file (ends in .yaml, .yml, .json) or a name.")
    ],
    seed: Seed = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Train a strategy file, which is then stored, or a stored strategy. Counts as a trial.

    A file whose name is taken is refused, unless it is the file that is stored under it.
    """
    from ktrdr.cli.run_actions import train_strategy

    train_strategy(file_or_name, seed, detach, as_json)


@app.command("backtest")
def backtest(name: StrategyName, detach: Detach = False, as_json: Json = False) -> None:
    """Backtest a trained strategy on its own out-of-sample predictions, net of costs."""
    from ktrdr.cli.run_actions import backtest_strategy

    backtest_strategy(name, detach, as_json)
