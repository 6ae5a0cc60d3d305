"""A network goes on at another size of its photos, with all that it has learned."""

import dataclasses

import keras

from landmark_ray.errors import UserError
from landmark_ray.models import hub, metric
from landmark_ray.models.classification import build_classifier, compile_as, split_classifier
from landmark_ray.models.layers import InferenceMode
from landmark_ray.models.networks import describe
from landmark_ray.models.rectangles import copy_weights, for_rectangles, takes_rectangles


def at_size(trunk: keras.Model, size: int) -> keras.Model:
    """Return a trunk that works at another size, with the same weights.

    Args:
        trunk: A trunk of `build_trunk`, `metric.with_embedding` or `for_rectangles`.
        size: Width and height to which the trunk is to resize photos, in pixels.

    Returns:
        A trunk of the same kind, for photos of the same size; the trunk itself if it has the size.

    Raises:
        UserError: The network can't have this size, or its weights depend on the size.
    """
    info = describe(trunk)
    if info.size == size:
        return trunk
    backbone = info.backbone
    if backbone:
        arguments = hub.resized(backbone.arguments, size)
        backbone = dataclasses.replace(backbone, arguments=arguments)
    other = metric.rebuilt(dataclasses.replace(info, size=size, backbone=backbone))
    if takes_rectangles(trunk):
        other = for_rectangles(other)
    shapes = [[variable.shape for variable in model.variables] for model in (trunk, other)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"network {info.network} has another number of weights at {size} pixels than at "
            f"{info.size}: it can't grow; leave --train.metric_sizes out"
        )
    copy_weights(trunk, other)
    return other


def grown(model: keras.Model, size: int) -> keras.Model:
    """Return a classifier whose trunk works at another size, and which trains on from there.

    Args:
        model: A compiled classifier of `build_classifier`, with its optimizer.
        size: Width and height to which the trunk is to resize photos, in pixels.

    Returns:
        A classifier with the same weights, states of random numbers, optimizer and moments; the
        classifier itself if it has the size.

    Raises:
        UserError: The network can't have this size, or its weights depend on the size.
    """
    trunk, head = split_classifier(model)
    other = at_size(trunk, size)
    if other is trunk:
        return model
    augmentation, head = (  # copies, as nodes of their own would keep all of the former network
        keras.models.clone_model(part) if part else None
        for part in (model.layers[1] if len(model.layers) == 4 else None, head)
    )
    learns = not isinstance(model.layers[-2], InferenceMode)
    larger = build_classifier(other, head, augmentation, learn_statistics=learns)
    copy_weights(model, larger)
    compile_as(larger, model)
    return larger
