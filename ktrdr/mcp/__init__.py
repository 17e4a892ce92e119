"""The laboratory for clients of the Model Context Protocol. The library of that name is `mcp`, without a prefix."""
