"""Objects at rest: the object stores, tenants' keys, sealed packs and records, and their verification. Asynchronous."""
