"""The tables that are ours: ledgers, append-only. Operations live in DBOS's own tables."""

import sqlalchemy as sa

from ktrdr.database.engine import Database

metadata = sa.MetaData()

# One row per event: a trial is opened, later closed. Rows are never changed; each holds the hash of the one before.
trial_events = sa.Table(
    "ktrdr_trial_events",
    metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("trial_id", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("recorded_at_ms", sa.BigInteger, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("previous_hash", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.UniqueConstraint("trial_id", "event", name="ktrdr_trial_events_once"),
)


def create_tables(database: Database) -> None:
    """Create what is missing. Safe when several processes start at once."""
    with database.engine.begin() as connection:
        if database.is_sqlite:
            # pysqlite begins a transaction only at the first change, so two starters would both see no table.
            connection.execute(sa.text("BEGIN IMMEDIATE"))
        else:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7242101)"))
        metadata.create_all(connection)
