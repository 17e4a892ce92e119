"""The tables that are ours: ledgers, whose rows are never removed, and small books. Operations live in DBOS's own."""

import sqlalchemy as sa

from ktrdr.database.engine import Database

metadata = sa.MetaData()

# One row per event: a trial is opened, later closed, and both again where its operation goes on after its end.
# Rows are never changed; each holds the hash of the one before.
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

# One row per event: a look at sealed bars is opened before it, and closed with what it came to. `identity` names the
# examined specification and weights; rows are never changed, and each holds the hash of the one before.
exam_events = sa.Table(
    "ktrdr_exam_events",
    metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("identity", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("recorded_at_ms", sa.BigInteger, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("previous_hash", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.UniqueConstraint("identity", "event", name="ktrdr_exam_events_once"),
)

# Money is whole nano-dollars: sums are exact, and a token may cost as little as ten of them.
# One row per paid cycle. It is written when the cycle is triggered; the end of the cycle closes it, and setting the
# cycle going again opens it.
budget_envelopes = sa.Table(
    "ktrdr_budget_envelopes",
    metadata,
    sa.Column("cycle_id", sa.Text, primary_key=True),
    sa.Column("opened_on", sa.Date, nullable=False),
    sa.Column("opened_at_ms", sa.BigInteger, nullable=False),
    sa.Column("closed_at_ms", sa.BigInteger),
    sa.Column("limit_nano_usd", sa.BigInteger, nullable=False),
)

# One row per HTTP attempt. It is written before the call and changed once, when the outcome is known. What was
# settled is null until then, and stays null where the outcome is never known: the reservation is the charge.
budget_attempts = sa.Table(
    "ktrdr_budget_attempts",
    metadata,
    sa.Column("attempt_id", sa.Text, primary_key=True),
    sa.Column("cycle_id", sa.Text, nullable=False, index=True),
    sa.Column("operation_id", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("day", sa.Date, nullable=False, index=True),
    sa.Column("reserved_at_ms", sa.BigInteger, nullable=False),
    sa.Column("reserved_nano_usd", sa.BigInteger, nullable=False),
    sa.Column("settled_at_ms", sa.BigInteger),
    sa.Column("settled_nano_usd", sa.BigInteger),
    sa.Column("input_tokens", sa.BigInteger),
    sa.Column("output_tokens", sa.BigInteger),
    sa.Column("cache_read_tokens", sa.BigInteger),
    sa.Column("cache_write_tokens", sa.BigInteger),
)

# One row per schedule: what it asks, and when it is next due. How its cycles fare stands on them alone. Rows are
# changed under the trigger's lock, and removed with the schedule. `counted_from_ms`: failures before it are forgiven.
schedules = sa.Table(
    "ktrdr_schedules",
    metadata,
    sa.Column("schedule_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("every_s", sa.BigInteger),
    sa.Column("cron", sa.Text),
    sa.Column("timezone", sa.Text),
    sa.Column("brief", sa.Text),
    sa.Column("model", sa.Text),
    sa.Column("seed", sa.BigInteger),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("counted_from_ms", sa.BigInteger, nullable=False),
    sa.Column("next_due_ms", sa.BigInteger, nullable=False),
    sa.Column("paused_at_ms", sa.BigInteger),
    sa.Column("pause_reason", sa.Text),
    sa.Column("pause_message", sa.Text),
)

# The newest whole answer of a language model to each operation, written with its settlement: a process that dies
# before it has recorded the call as a step finds here what it has paid for. No ledger; removed when the cycle ends.
llm_answers = sa.Table(
    "ktrdr_llm_answers",
    metadata,
    sa.Column("operation_id", sa.Text, primary_key=True),
    sa.Column("cycle_id", sa.Text, nullable=False, index=True),
    sa.Column("call_number", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)

# One row per worker that has not been given up, on PostgreSQL; on SQLite a worker holds a lock on a file. Times are the
# database's. What a worker runs, and how that stands, is on the operations alone.
postgres_metadata = sa.MetaData()
workers = sa.Table(
    "ktrdr_workers",
    postgres_metadata,
    sa.Column("executor_id", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False, unique=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("queues", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("steady_since", sa.DateTime(timezone=True), nullable=False),  # since when no silence was too long
)
# Workers that were given up, each for a day: what was lost overnight is seen in the morning.
lost_workers = sa.Table(
    "ktrdr_lost_workers",
    postgres_metadata,
    sa.Column("executor_id", sa.Text, primary_key=True),
    sa.Column("lost_at", sa.DateTime(timezone=True), nullable=False),
)


def create_tables(database: Database) -> None:
    """Create what is missing. Safe when several processes start at once."""
    with database.engine.begin() as connection:
        if database.is_sqlite:
            # pysqlite begins a transaction only at the first change, so two starters would both see no table.
            connection.execute(sa.text("BEGIN IMMEDIATE"))
        else:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7242101)"))
            postgres_metadata.create_all(connection)
        metadata.create_all(connection)
