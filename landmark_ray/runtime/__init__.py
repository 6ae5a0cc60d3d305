"""Running work: starting Ray, tasks over shards, resources, the ledger, counts and progress."""
