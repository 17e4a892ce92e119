"""`ktrdr agent schedule`: research that starts by itself."""

from typing import Annotated

import typer

from ktrdr.cli.options import Designer, Json, Model, command_group

app = command_group(
    """Start cycles by themselves, again and again.

    --every or --cron makes a schedule. A cycle starts when it is due and a slot and the day's budget are free, else as
    soon as they are, once. A schedule has one cycle at a time. After failures it waits longer each time, up to a day; a
    refusing gate is no failure. Only a worker starts cycles: keep `ktrdr serve` running.

    A cron time that the clocks skip in spring is taken when they have moved, one that comes twice in autumn is taken
    once. Where the hour field begins with *, every hour that passes counts.
    """
)
_Name = Annotated[str, typer.Argument(metavar="NAME", help="Name or id, as `ktrdr agent schedule list` shows it.")]


@app.callback(invoke_without_command=True, no_args_is_help=True)
def add(
    context: typer.Context,
    every: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="So much elapsed time: 30m, 2h or 1d; at least 1m. First at once."),
    ] = None,
    cron: Annotated[
        str | None, typer.Option(metavar="FIELDS", help="Minute, hour, day, month, weekday: '0 22 * * 1-5'.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Whose clocks --cron means.  [default: UTC]")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What to call it.  [default: its id]")] = None,
    brief: Annotated[str | None, typer.Option(metavar="TEXT", help="What to look for, in words.")] = None,
    designer: Designer = None,
    model: Model = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, metavar="N", help="Of the first cycle; later ones count up.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a schedule, unless a command of the group is named."""
    from ktrdr.cli.schedule_actions import add_schedule
    from ktrdr.schemas.schedules import NewSchedule

    when = dict(every=every, cron=cron, timezone=timezone, name=name)
    values: dict[str, str | int | None] = {**when, "brief": brief, "designer": designer, "model": model, "seed": seed}
    given = [f"--{option}" for option, value in values.items() if value is not None]
    if context.invoked_subcommand is not None:
        if given or as_json:
            raise typer.BadParameter(
                f"{', '.join(given or ['--json'])} before {context.invoked_subcommand!r}: these make a schedule; "
                f"what belongs to {context.invoked_subcommand!r} stands behind it"
            )
        return
    if every is None and cron is None:
        raise typer.BadParameter("need --every, such as --every 30m, or --cron, such as --cron '0 22 * * 1-5'")
    add_schedule(NewSchedule.build(**values), as_json)


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """Show all schedules: when each is due, how its last cycle ended, what it waits for."""
    from ktrdr.cli.schedule_actions import list_schedules

    list_schedules(as_json)


@app.command("pause")
def pause(name: _Name, as_json: Json = False) -> None:
    """Keep a schedule from starting anything. A cycle that is active goes on."""
    from ktrdr.cli.schedule_actions import change_schedule

    change_schedule("pause", name, as_json)


@app.command("resume")
def resume(name: _Name, as_json: Json = False) -> None:
    """Let a schedule start again at its next time, its failures forgiven."""
    from ktrdr.cli.schedule_actions import change_schedule

    change_schedule("resume", name, as_json)


@app.command("remove")
def remove(name: _Name, as_json: Json = False) -> None:
    """Forget a schedule. A cycle that is active goes on; what it found stays."""
    from ktrdr.cli.schedule_actions import change_schedule

    change_schedule("remove", name, as_json)
