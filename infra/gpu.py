"""The GPU classes: what each can hold and compute, and how clusters name it. One table; everything else reads it.

Memory is what PyTorch reports as `total_memory`, a little below what is on the box. `dtypes` are those with fast matrix
products. Node labels are those of GKE (`cloud.google.com/gke-accelerator`), EKS managed node groups (instance types),
Karpenter, EKS Auto Mode, and NVIDIA's GPU operator (GPU Feature Discovery). Prices are nobody's but yours: they come
from NIGHTSHIFT_PRICES, by pool and hour.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from infra.errors import UserError

Platform = Literal["gke", "eks", "karpenter", "eks-auto", "gpu-operator"]
Dtype = Literal["bfloat16", "float16", "float32"]

LABEL_KEYS: dict[Platform, str] = {
    "gke": "cloud.google.com/gke-accelerator",
    "eks": "node.kubernetes.io/instance-type",
    "karpenter": "karpenter.k8s.aws/instance-gpu-name",
    "eks-auto": "eks.amazonaws.com/instance-gpu-name",
    "gpu-operator": "nvidia.com/gpu.product",
}
# Where a platform labels nodes that it may take back; the GPU operator knows no prices.
SPOT_LABELS: dict[Platform, tuple[str, str]] = {
    "gke": ("cloud.google.com/gke-spot", "true"),
    "eks": ("eks.amazonaws.com/capacityType", "SPOT"),
    "karpenter": ("karpenter.sh/capacity-type", "spot"),
    "eks-auto": ("karpenter.sh/capacity-type", "spot"),
}


@dataclass(frozen=True, slots=True)
class GpuClass:
    """One class of accelerator; the CPU is one, too, with the memory of an ordinary node."""

    name: str
    memory_gib: float
    capability: tuple[int, int] | None
    dtypes: tuple[Dtype, ...]
    labels: dict[Platform, tuple[str, ...]]
    cores: int
    ram_gib: int

    @property
    def pool(self) -> str:
        """Name of the work pool: cpu, gpu-t4, ..."""
        return self.name.lower() if self.capability is None else f"gpu-{self.name.lower()}"

    @property
    def is_gpu(self) -> bool:
        """Whether this is an accelerator."""
        return self.capability is not None

    @property
    def dtype(self) -> Dtype:
        """The fastest precision of the class: T4 has no bfloat16."""
        return self.dtypes[0]


def _gpu(
    name: str,
    memory_gib: float,
    capability: tuple[int, int],
    gke: tuple[str, ...],
    eks: tuple[str, ...],
    operator: tuple[str, ...],
    cores: int,
    ram_gib: int,
) -> GpuClass:
    dtypes: tuple[Dtype, ...] = ("bfloat16", "float16", "float32") if capability >= (8, 0) else ("float16", "float32")
    short = (name.lower(),)
    labels: dict[Platform, tuple[str, ...]] = {
        "gke": gke,
        "eks": eks,
        "karpenter": short,
        "eks-auto": short,
        "gpu-operator": operator,
    }
    return GpuClass(name, memory_gib, capability, dtypes, labels, cores, ram_gib)


# `cores` and `ram_gib`: what one job may ask of the smallest node with one such GPU, less the node's own part.
CLASSES: tuple[GpuClass, ...] = (
    GpuClass("CPU", 14.0, None, ("float32", "bfloat16"), {}, cores=2, ram_gib=14),
    _gpu(
        "T4",
        14.6,
        (7, 5),
        ("nvidia-tesla-t4",),
        ("g4dn.xlarge", "g4dn.2xlarge", "g4dn.4xlarge", "g4dn.8xlarge"),
        ("Tesla-T4",),
        cores=3,
        ram_gib=12,
    ),
    _gpu(
        "L4",
        22.0,
        (8, 9),
        ("nvidia-l4",),
        ("g6.xlarge", "g6.2xlarge", "g6.4xlarge", "g6.8xlarge"),
        ("NVIDIA-L4",),
        cores=3,
        ram_gib=12,
    ),
    _gpu(
        "H100",
        79.1,
        (9, 0),
        ("nvidia-h100-80gb", "nvidia-h100-mega-80gb"),
        ("p5.4xlarge", "p5.48xlarge"),
        ("NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-PCIe"),
        cores=12,
        ram_gib=128,
    ),
    _gpu(
        "A100",
        79.1,
        (8, 0),
        ("nvidia-a100-80gb",),
        ("p4de.24xlarge",),
        ("NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-80GB-PCIe"),
        cores=10,
        ram_gib=120,
    ),
    _gpu(
        "H200",
        139.8,
        (9, 0),
        ("nvidia-h200-141gb",),
        ("p5e.48xlarge", "p5en.48xlarge"),
        ("NVIDIA-H200",),
        cores=16,
        ram_gib=192,
    ),
)
# The pools that `nightshift deploy` makes and prefect.yaml names, cheapest first.
POOLS = ("cpu", "gpu-t4", "gpu-l4", "gpu-h100")


def class_of_device(name: str) -> GpuClass | None:
    """The class of a device as PyTorch names it ("Tesla T4", "NVIDIA H100 80GB HBM3", "CPU"), or None."""
    words = name.replace("-", " ").split()
    return next((item for item in CLASSES if item.name in words), None)


def gpu_class(pool: str) -> GpuClass:
    """The class behind a pool's name; raises UserError naming the nearest one."""
    known = {item.pool: item for item in CLASSES}
    if pool in known:
        return known[pool]
    near = difflib.get_close_matches(pool, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    raise UserError(f"no pool {pool!r}; {hint}")
