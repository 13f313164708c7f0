"""The service over HTTP: ``/api/v1``, ``/mcp``, pages, problem details, limits, and the reader of hosted projects."""
