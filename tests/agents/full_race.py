"""Twenty cycles on each of three workers, on SQLite and on PostgreSQL: `make budget-race`. Too long for every run."""

import pytest
import sqlalchemy as sa
from worker_race import check, race_both

CYCLES_EACH = 20


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("sample_bars")
def test_sixty_cycles_on_sqlite(tmp_path, bars_folder):
    check(*race_both(tmp_path, bars_folder, cycles_each=CYCLES_EACH))


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("sample_bars")
def test_sixty_cycles_on_postgresql(tmp_path, bars_folder, postgres_url):
    engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    urls = []
    with engine.connect() as connection:
        for name in ("race_ours", "race_naive"):
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
            urls.append(sa.make_url(postgres_url).set(database=name).render_as_string(hide_password=False))
    engine.dispose()
    check(*race_both(tmp_path, bars_folder, cycles_each=CYCLES_EACH, database_urls=urls))
