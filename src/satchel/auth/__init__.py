"""Who you are and what you may do: the shape of credentials, roles, and the one decision function.

Rules only: nothing here opens a file, a socket or a database, and nothing reads a clock. Importing this package
loads no library; `tokens` and `passwords` bring theirs with them.
"""
