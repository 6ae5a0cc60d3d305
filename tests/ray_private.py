"""What tests use of Ray 2.60's private names, beyond `landmark_ray.runtime.ray_private`."""

from ray._common.network_utils import node_ip_address_from_perspective
from ray._private import ray_constants
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.data._internal.object_extensions import arrow as object_extensions
from ray.data._internal.tensor_extensions import arrow as tensor_extensions
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

SERVE_RETRIES = "RAY_SERVE_MAX_PER_REPLICA_RETRY_COUNT"
"""Environment variable: how often Serve starts a replica that fails."""

__all__ = [
    "SERVE_RETRIES",
    "UserExceptionWithTraceback",  # what a training's worker raised; no public class
    "node_ip_address_from_perspective",  # what other nodes reach this one at
    "object_extensions",  # importing both registers column types that unpickle; ray.data does
    "prepare_config",  # `ray up` without a cloud: what it makes of cluster.yaml
    "ray_constants",  # clusters on loopback, which Ray has no public option for
    "tensor_extensions",
    "validate_config",
]
