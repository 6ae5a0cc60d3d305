"""The stages: thin Ray Data jobs over the shards of a table."""
