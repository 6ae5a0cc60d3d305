"""Reading and writing of roots, sources, archives and URIs, and the schemas of all tables."""
