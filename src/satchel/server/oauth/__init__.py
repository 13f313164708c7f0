"""Satchel's own authorization server: OAuth 2.1 for MCP clients and for the command line.

``docs/spec/oauth.md`` says what is spoken. Clients are public: none keeps a secret, each proves by PKCE that it is the
one that began. What a person allows is bound to one tenant, one client, one resource and a cap on roles.
"""
