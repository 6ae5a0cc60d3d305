"""The only place that opens roots, sources, archives and URIs; the schemas of all tables."""
