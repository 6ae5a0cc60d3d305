"""The service: a photo in over HTTP, the landmark out, by Ray Serve."""
