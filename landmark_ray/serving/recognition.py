"""What the models say about a photo, and the parts of the API's answer that are made of it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from landmark_ray.kernels.exemplars import ExemplarMatch
from landmark_ray.kernels.metrics import NO_LANDMARK
from landmark_ray.kernels.topk import TopK
from landmark_ray.serving.api_models import (
    Candidate,
    Explanation,
    Landmark,
    MatchedPoint,
    NearPhoto,
    PhotoAnswer,
)
from landmark_ray.serving.bundle_metadata import BundleMetadata

NEAR_PHOTOS = 3
"""Number of photos of an explanation, at most."""


@dataclass(frozen=True)
class Recognition:
    """The models' answer about one photo.

    Attributes:
        metadata: Metadata of the bundle that answered.
        top_k: Landmark ids [k] and confidences [k], the highest first.
        decode_s: Time that decoding took, in seconds.
        models_s: Time that the models took, in seconds.
        explanation: Why the first landmark is named; None where nobody asked.
    """

    metadata: BundleMetadata
    top_k: TopK
    decode_s: float
    models_s: float
    explanation: Explanation | None


def known_landmarks(
    metadata: BundleMetadata, top_k: TopK, most: int
) -> list[tuple[Landmark, float]]:
    """Return at most `most` landmarks of an answer, and their confidences, the highest first."""
    known: list[tuple[Landmark, float]] = []
    for landmark_id, confidence in zip(*top_k, strict=True):
        if landmark_id == NO_LANDMARK or len(known) == most:
            break
        landmark = metadata.landmark(int(landmark_id))
        if landmark is not None:  # or it was removed from the bundle, and the heads alone answer
            known.append((landmark, float(confidence)))
    return known


def photo_answer(recognition: Recognition, top_k: int, file: str | None) -> PhotoAnswer:
    """Return a photo's answer with the names of at most `top_k` landmarks."""
    manifest = recognition.metadata.manifest
    known = known_landmarks(recognition.metadata, recognition.top_k, top_k)
    return PhotoAnswer(
        file=file,
        is_landmark=bool(known) and known[0][1] >= manifest.threshold,
        landmarks=[
            Candidate(confidence=float(np.float32(confidence)), **landmark.model_dump())
            for landmark, confidence in known
        ],
        model_version=manifest.version,
        explanation=recognition.explanation,
    )


def explanation(
    landmark_id: int, matches: Sequence[ExemplarMatch], similarities: Mapping[str, float]
) -> Explanation:
    """Explain a landmark by its exemplars, or by similarity where there are none.

    Args:
        landmark_id: The landmark.
        matches: The exemplars of the landmark, which the photo was matched with.
        similarities: Image id -> cosine, of the photos of the landmark in the index.
    """
    photos = [_matched(landmark_id, match, similarities) for match in matches] or [
        NearPhoto(
            image_id=image_id,
            landmark_id=landmark_id,
            similarity=cosine,
            inliers=None,
            points=[],
            thumbnail=None,
            author=None,
            licence=None,
        )
        for image_id, cosine in similarities.items()
    ]
    photos.sort(key=_nearness, reverse=True)
    kind = "exemplars" if matches else "meaning" if photos else "none"
    return Explanation(kind=kind, photos=photos[:NEAR_PHOTOS])


def _matched(
    landmark_id: int, match: ExemplarMatch, similarities: Mapping[str, float]
) -> NearPhoto:
    shares = np.round(match.points.astype(np.float64), 4).tolist()
    return NearPhoto(
        image_id=match.image_id,
        landmark_id=landmark_id,
        similarity=similarities.get(match.image_id),
        inliers=match.inliers,
        points=[MatchedPoint(photo=photo, exemplar=exemplar) for photo, exemplar in shares],
        thumbnail=base64.b64encode(match.thumbnail).decode() or None,
        author=match.author,
        licence=match.licence,
    )


def _nearness(photo: NearPhoto) -> tuple[int, float]:
    similarity = -1.0 if photo.similarity is None else photo.similarity
    return photo.inliers or 0, similarity
