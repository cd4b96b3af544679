"""The paper's two workloads: latency and energy of its devices, as models that its own figures give.

Nothing here is measured by this project: everything that follows from it is labelled "modelled".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fluxshard.errors import OptionError
from fluxshard.evaluate.offload.scenario import SERVER, SERVER_SEG, XAVIER_NX_POSE, XAVIER_NX_SEG, LinearCurve

WorkloadName = Literal["seg", "pose"]

# (J, s) of a frame in which the edge only waits. Table and text of section V-B: offload, segmentation, low bandwidth;
# Fig. 7: what two more edges add to a pose, 11% of 891 mJ for 95.2 instead of 74.1 ms
_WAITING = ((4.43, 0.955), (0.11 * 0.891, 0.0952 - 0.0741))


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyModel:
    """Energy of the edge for a frame: E = wait_w * T + busy_w * T_busy.

    A radio is not in it: the paper's edges are connected by cable.

    Attributes:
      wait_w: power of the board while a frame is under way, in watts.
      busy_w: beyond that, while the edge computes.
    """

    wait_w: float
    busy_w: float

    def joules(self, latency_ms: float, busy_ms: float) -> float:
        """Energy of a frame.

        Args:
          latency_ms: until its answer.
          busy_ms: that the edge computes for it.
        """
        return (self.wait_w * latency_ms + self.busy_w * busy_ms) / 1e3


def fit_energy(dense_j: float, dense_ms: float) -> EnergyModel:
    """The model that meets the paper's figures.

    The power of waiting is the least-squares fit to frames in which the edge does nothing else, of computing what Table
    I's dense frame takes beyond that.

    Args:
      dense_j, dense_ms: of a dense frame on the edge.
    """
    wait_w = sum(joules * seconds for joules, seconds in _WAITING) / sum(seconds**2 for _, seconds in _WAITING)
    return EnergyModel(wait_w=wait_w, busy_w=1e3 * dense_j / dense_ms - wait_w)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Devices of a task. Both curves are of the share of the dense network's work.

    Attributes:
      name: as the paper abbreviates it.
      task: of the network.
      network, data: the paper's.
      edge: latency on a Jetson Xavier NX. Source: Tables I and IV (dense, and "w/o offload").
      server: latency on an RTX 3080.
      energy: of the edge.
    """

    name: WorkloadName
    task: str
    network: str
    data: str
    edge: LinearCurve
    server: LinearCurve
    energy: EnergyModel


SEG = Workload(
    name="seg", task="segment", network="YOLO11m-seg at 1024x1024", data="DAVIS, 90 sequences",
    edge=XAVIER_NX_SEG, server=SERVER_SEG, energy=fit_energy(7.61, 537.5),
)  # fmt: skip
POSE = Workload(
    name="pose", task="pose", network="YOLO11m-pose at 1024x1024", data="3DPW",
    edge=XAVIER_NX_POSE, server=SERVER, energy=fit_energy(6.86, 446.8),
)  # fmt: skip


def workload_of(task: str) -> Workload:
    """The workload of a network's task.

    Raises:
      OptionError: the paper has no devices for it.
    """
    for one in (SEG, POSE):
        if one.task == task:
            return one
    raise OptionError(f"task {task!r} has no devices in the paper: give weights for instance segmentation or poses")
