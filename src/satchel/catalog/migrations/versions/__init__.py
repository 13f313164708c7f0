"""One module for each revision of the schema, named by it; none is ever changed after a release."""
