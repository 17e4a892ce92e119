"""What Tab offers, asked as bash asks."""

import os
import subprocess
import sys

from ktrdr.clock import utc_now
from ktrdr.database.engine import open_database
from ktrdr.operations.store import OperationStore, migrate_database

KTRDR = [sys.executable, "-m", "ktrdr.cli"]


def _offered(workspace, line):
    words = line.split(" ")
    environment = {
        **os.environ,
        "KTRDR_WORKSPACE": str(workspace),
        "_KTRDR_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(KTRDR, env=environment, capture_output=True, text=True, timeout=20)
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_ids_and_names_are_offered_and_what_is_not_there_is_silence(workspace):
    assert _offered(workspace, "ktrdr operations show op") == []
    assert not workspace.exists()
    database = open_database(f"sqlite:///{workspace / '.ktrdr' / 'state.sqlite'}")
    migrate_database(database)
    store = OperationStore(database, utc_now)
    ids = [store.enqueue(kind, queue="q", payload={}, metadata={}).operation_id for kind in ("training", "data_load")]
    database.close()
    (workspace / "strategies" / "plain_rsi").mkdir(parents=True)
    (workspace / "strategies" / "plain_rsi" / "strategy.yaml").touch()

    assert sorted(_offered(workspace, "ktrdr operations show op_")) == sorted(ids)
    assert _offered(workspace, f"ktrdr agent cancel {ids[0][:-3]}") == [ids[0]]
    assert _offered(workspace, "ktrdr operations list --parent op_tr") == [ids[0]]
    assert _offered(workspace, "ktrdr backtest pl") == ["plain_rsi"]
    assert _offered(workspace, "ktrdr operations pr") == ["prune"]
    assert _offered(workspace / "elsewhere", f"ktrdr --workspace {workspace} operations show op_tr") == [ids[0]]
    (workspace / ".ktrdr" / "state.sqlite").write_text("spoilt")
    assert _offered(workspace, "ktrdr operations show op_") == []
