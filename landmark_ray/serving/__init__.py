"""The HTTP service on Ray Serve: it takes a photo and answers with the landmark that it shows.

Its runtimes are TensorFlow and OpenVINO, whatever backend of Keras trained the networks.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
