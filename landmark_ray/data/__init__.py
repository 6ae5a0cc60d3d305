"""The only place that opens roots, sources, archives and URIs; schemas of all tables."""
