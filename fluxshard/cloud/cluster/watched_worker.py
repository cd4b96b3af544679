"""One worker as its supervisor sees it: asked for reports for as long as it gives them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fluxshard.cloud.cluster.options import ClusterOptions
from fluxshard.cloud.cluster.placement.leases import GivenLease
from fluxshard.cloud.cluster.pool.protocol import Worker
from fluxshard.cloud.cluster.worker.messages import Answer, Beat, Describe, Description, Report, Request
from fluxshard.errors import TransportError


class WatchedWorker:
    """See the module.

    Args:
      worker: that is watched.
      options: how patient to be.

    Attributes:
      worker: the same.
      is_stopping: it was asked to end, so its end is no loss.
    """

    def __init__(self, worker: Worker, options: ClusterOptions) -> None:
        self.worker, self._options = worker, options
        self.is_stopping = False
        self.description = Description(address="", max_streams=1, pid=0)
        """Of the worker, once `ready` has returned."""
        self.report = Report(sent_s=0.0)
        """The last one."""

    @property
    def name(self) -> str:
        """Of the worker."""
        return self.worker.name

    async def ready(self) -> Description:
        """Waits until the worker takes streams.

        Raises:
          TransportError: it has ended, or takes too long.
        """
        answer = await self.ask(Describe(), self._options.start_s)
        if not isinstance(answer, Description):
            raise TransportError(f"worker {self.name} gave an answer to nothing that was asked")
        self.description = answer
        return answer

    async def ask(self, request: Request, within_s: float | None = None) -> Answer:
        """Gives an order.

        Args:
          request: the order.
          within_s: that it has to be followed; None takes what the options say.

        Raises:
          TransportError: the worker has ended, or does not answer: then nobody knows whether it has followed.
        """
        try:
            async with asyncio.timeout(self._options.ask_s if within_s is None else within_s):
                return await self.worker.ask(request)
        except TimeoutError:
            raise TransportError(f"worker {self.name} does not answer") from None

    async def watch(self, reported: Callable[[Report], None], silent: Callable[[], None]) -> str:
        """Asks for reports until the worker surely serves nothing more; returns why.

        Args:
          reported: is given every report.
          silent: is called when a report is late.
        """
        loop, options = asyncio.get_running_loop(), self._options
        lease, heard_s = GivenLease(options.lease_s, loop.time()), None
        while True:
            asked = asyncio.ensure_future(self.worker.ask(Beat(lease_s=options.lease_s, heard_s=heard_s)))
            try:
                done, _ = await asyncio.wait({asked}, timeout=min(options.ask_s, lease.left_s(loop.time())))
                if not done:
                    silent()
                    done, _ = await asyncio.wait({asked}, timeout=max(0.0, lease.left_s(loop.time())))
                if not done:
                    return "frozen"
                report = asked.result()
            except TransportError:
                return "ended"
            finally:
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
            assert isinstance(report, Report)
            lease.reported(loop.time())
            heard_s, self.report = report.sent_s, report
            reported(report)
            if report.running_s > options.stuck_s:
                return "stuck"
            await asyncio.sleep(options.beat_s)

    async def recovers(self) -> bool:
        """Whether a worker that was frozen answers again before it has to be killed, and has ended all it served."""
        options = self._options
        try:
            async with asyncio.timeout(options.kill_s):
                while True:
                    report = await self.worker.ask(Beat(lease_s=options.lease_s))
                    if isinstance(report, Report) and not report.holds_lease and not report.streams:
                        return True
                    await asyncio.sleep(options.beat_s)
        except (TimeoutError, TransportError):
            return False
