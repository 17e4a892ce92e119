"""`ktrdr doctor`: what is wrong here, and what to do about it."""

from ktrdr.cli.options import Json, command_group

app = command_group("Find out what is wrong.")


@app.command("doctor")
def doctor(as_json: Json = False) -> None:
    """Look at the environment, the workspace, the database, the workers and what waits; exit 1 if something is broken.

    It works with and without a server.
    """
    from ktrdr.cli.doctor_actions import examine

    examine(as_json)
