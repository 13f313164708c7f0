"""A digest's documents in, an index out; a query in, ranked sections out. Derived: deleting an index loses nothing."""
