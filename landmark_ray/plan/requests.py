"""Requests to an object store: how many a stage makes.

Counted at moto's S3 in November 2026, stage by stage, in roots of 5 and of 18 shards; the figures
are the differences for each further shard. HEAD is priced as GET, LIST and POST as PUT. Files of
more than 5 MB are read in several blocks, which adds cents.
"""

from landmark_ray.plan.work import Job, work_of

SHARD: dict[str, tuple[float, float]] = {
    "dedupe": (15.5, 4),
    "extract": (6, 4),
    "match": (8, 2),
    "prune": (8, 2),
    "clean": (24, 2),
    "group": (7, 2),
    "resize": (12, 5),
    "embed": (7, 2),
    "finetune": (1, 0),
    "evaluate": (14.5, 2),
    "export": (1, 0),
}
"""Stage -> (GETs, PUTs) of a shard; those of `clean` with the report that follows it."""

EPOCH = 4.0
"""GETs of a shard in an epoch of a network that learns from photos."""

HEAD = (2.6, 120.0)
"""Of each group's head: GETs of a shard; PUTs in all, most of them for checkpoints."""

FRAGMENT = (7.0, 1.0)
"""GETs and PUTs of what a tar has for a bucket, before its rows are read."""


def requests_of(stage: str, job: Job) -> tuple[float, float]:
    """(GETs, PUTs) of a stage."""
    gets, puts = (each * job.data.shards for each in SHARD.get(stage, (0.0, 0.0)))
    trainings = len(work_of(stage, job).weights)
    if stage == "ingest":
        return _ingest(job)
    if stage == "sample":
        return 0.0, float(job.data.buckets)
    if stage == "detect" and job.config.detect.handle:
        return 8.0 * job.data.shards, 4.0 * job.data.shards
    if stage == "trunk" and trainings:
        return EPOCH * job.config.train.trunk_epochs * job.data.shards, 0.0
    if stage == "finetune" and trainings:
        gets = EPOCH * job.config.train.epochs * trainings * job.data.shards
    if stage == "train":
        gets, puts = HEAD[0] * trainings * job.data.shards, HEAD[1] * trainings
    return gets, puts


def _ingest(job: Job) -> tuple[float, float]:
    """Each tar leaves a fragment in each bucket; of each, the rows of a shard are read at once."""
    tars, shards = len(job.data.archives), job.data.shards
    fragments = tars * job.data.buckets
    blocks = job.data.archives.sum() / 5e6  # of the tars
    reads = min(job.data.images, fragments * shards / job.data.buckets)
    gets = blocks + FRAGMENT[0] * fragments + reads + 1.5 * shards
    return float(gets), float(FRAGMENT[1] * fragments + 3 * tars + 2.3 * shards)
