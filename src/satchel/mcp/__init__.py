"""The questions of ``ContextReader`` as MCP tools and resources: over stdio by our own loop, over HTTP by the SDK."""
