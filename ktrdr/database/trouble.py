"""When the database cannot be used: whether it is away or damaged, in words with the next step."""

import sqlalchemy as sa

from ktrdr.errors import WorkspaceUnusable

_DAMAGED = ("file is not a database", "malformed", "file is encrypted")
UNAVAILABLE, DAMAGED = "database_unavailable", "database_damaged"


def database_trouble(error: sa.exc.SQLAlchemyError, url: sa.URL) -> WorkspaceUnusable | None:
    """Return what an error means for whoever uses the database, None where it is a fault of ours.

    The reason is `database_unavailable` (it may be back in a moment) or `database_damaged`.
    """
    words = _first_line(error)
    if any(sign in words for sign in _DAMAGED):
        return WorkspaceUnusable(
            f"{url.database} is damaged, or no database ({words}). It was left as it is: restore a copy of it, or move "
            f"it away (mv {url.database} {url.database}.damaged) and begin without the operations and ledgers that it "
            "held; strategies and bars are files of their own",
            reason=DAMAGED,
        )
    if not isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.TimeoutError):
        return None
    place = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite":
        step = "Check that its folder can be written and the disk has room, or name another workspace with --workspace"
    else:
        step = "Check that the server runs and KTRDR_DATABASE_URL names it"
    return WorkspaceUnusable(f"the database {place} does not answer: {words}. {step}", reason=UNAVAILABLE)


def _first_line(error: sa.exc.SQLAlchemyError) -> str:
    origin = getattr(error, "orig", None) or error
    return (str(origin).strip() or type(origin).__name__).splitlines()[0]
