"""What makes a photo deadly, where `sitecustomize` is on the path."""

MARK = b"landmark_ray: this photo kills"
