"""The HTTP service on Ray Serve: it takes a photo and answers with the landmark that it shows."""
