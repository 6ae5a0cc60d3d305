"""The baseline of bench/serving.py: the reference's way to answer, a Flask app under gunicorn.

It holds a Keras classifier for each group and calls `predict` on each in turn; the highest
confidence wins. The networks are those of a bundle, and the photo is prepared by our own function,
so that both sides see the same pixels (Pillow and `ImageOps.fit`, as in the reference).

    cd bench; gunicorn --workers 1 --bind 127.0.0.1:8000 "flask_app:create_app('BUNDLE')"
"""

import keras
import numpy as np
from flask import Flask, request
from flask.typing import ResponseReturnValue

from landmark_ray.bundle.network_files import GROUPS, HeadInfo, head_infos, read_head, read_trunk
from landmark_ray.data.store import Store
from landmark_ray.kernels.image import Limits, model_input


def classifier(folder: Store, info: HeadInfo) -> keras.Model:
    """A group's network: photos [B, H, W, 3] to probabilities [B, C]."""
    trunk = read_trunk(folder, info.trunk)
    logits = read_head(folder, GROUPS, info)(trunk.output)
    return keras.Model(trunk.input, keras.layers.Softmax()(logits / info.temperature))


def create_app(bundle: str) -> Flask:
    """The app, with all models of a bundle loaded and called once."""
    folder = Store(bundle)
    infos = head_infos(folder, GROUPS)
    models = [classifier(folder, info) for info in infos]
    size = models[0].input_shape[1]
    for model in models:
        model.predict(np.zeros((1, size, size, 3), np.float32), verbose=0)
    app = Flask(__name__)

    @app.get("/readyz")
    def ready() -> ResponseReturnValue:
        return {"status": "ready"}

    @app.post("/predict")
    def predict() -> ResponseReturnValue:
        photo = model_input(request.get_data(), size, Limits())[None].astype(np.float32)
        best, landmark = -1.0, -1
        for info, model in zip(infos, models, strict=True):
            probabilities = model.predict(photo, verbose=0)[0]
            place = int(probabilities[: len(info.landmarks)].argmax())
            if probabilities[place] > best:
                best, landmark = float(probabilities[place]), info.landmarks[place]
        return {"landmark_id": landmark, "confidence": best}

    return app
