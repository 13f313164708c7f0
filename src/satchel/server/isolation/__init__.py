"""What shows that tenants are kept apart, asked over HTTP as anybody could: the expectations and what checks them.

The test-suite runs it against servers of its own, ``satchel admin prove-isolation`` against any other. It knows no more
of a server than its address and an operator's key, and changes nothing but tenants it founded itself.
"""
