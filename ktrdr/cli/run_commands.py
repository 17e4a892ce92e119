"""`ktrdr train` and `ktrdr backtest`: one phase by itself."""

from typing import Annotated

import typer

from ktrdr.cli.options import Detach, Json, Seed, StrategyName, command_group

Sweep = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATH=VALUES",
        help="Try values of decision and risk: decision.enter=0.5:0.7:0.02 (both ends), risk.stop_loss=none,1,2, "
        "decision.direction=long,both. Repeatable; all combinations.",
    ),
]

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
def backtest(name: StrategyName, sweep: Sweep = None, detach: Detach = False, as_json: Json = False) -> None:
    """Backtest a trained strategy on its own out-of-sample predictions, net of costs.

    With --sweep every combination of the values is a variant, and every variant counts as a trial: the best of many
    looks good by luck, and each one more raises what the best must show. The strategy's own backtest stays as it is. A
    variant becomes a strategy when you save it under a name of its own, train and backtest it.
    """
    from ktrdr.cli.run_actions import backtest_strategy, sweep_strategy

    if sweep:
        sweep_strategy(name, sweep, detach, as_json)
    else:
        backtest_strategy(name, detach, as_json)
