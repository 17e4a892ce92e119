"""What every folder of tests may use."""

import pytest
from fakes.anthropic_server import AnthropicServer


@pytest.fixture
def anthropic_server():
    """A provider that has nothing to say yet: set its `turns` or its `script`."""
    server = AnthropicServer()
    yield server
    server.close()
