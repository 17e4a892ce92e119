"""What every folder of tests may use."""

import pytest
from fakes.anthropic_server import AnthropicServer
from private_postgres import HOW_TO_INSTALL, PrivatePostgres, server_binaries

from ktrdr.database.engine import open_database
from ktrdr.operations.store import migrate_database


@pytest.fixture
def anthropic_server():
    """A provider that has nothing to say yet: set its `turns` or its `script`."""
    server = AnthropicServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres_server():
    """One PostgreSQL server for the whole run, with nothing in it."""
    binaries = server_binaries()
    if binaries is None:
        pytest.skip(HOW_TO_INSTALL)
    server = PrivatePostgres(binaries)
    yield server
    server.remove()


@pytest.fixture(scope="session")
def migrated_template(postgres_server):
    """A database with all tables, to copy: a copy takes a tenth of the migrations' time."""
    name = postgres_server.new_database()
    database = open_database(postgres_server.url(name))
    migrate_database(database)
    database.close()
    return name


@pytest.fixture
def postgres_url(postgres_server, migrated_template):
    """A PostgreSQL database of the test's own, with all tables."""
    name = postgres_server.new_database(template=migrated_template)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """A database of either kind; the file is not there yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.sqlite'}"
    return request.getfixturevalue("postgres_url")
