"""Finds out how many cores others used during a measurement: on a busy machine, a rate says little."""

import resource
import time
from collections.abc import Callable, Sequence

import psutil

Processes = Callable[[], Sequence[psutil.Process]]


class Meter:
    """Counts from where it is made. ``measured`` gives the processes whose work is the measurement."""

    def __init__(self, measured: Processes) -> None:
        self._measured = measured
        self._began, self._busy, self._ours = time.perf_counter(), _busy_s(), self._ours_s()

    def others_cores(self) -> float:
        """Cores that were busy with anything else, on average; the host of a virtual machine counts as well."""
        seconds = max(time.perf_counter() - self._began, 1e-6)
        return max(0.0, (_busy_s() - self._busy - (self._ours_s() - self._ours)) / seconds)

    def _ours_s(self) -> float:
        """Of the benchmark, of its children that ended (the load client is one), and of what is measured."""
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        ours = sum(each.ru_utime + each.ru_stime for each in used)
        return ours + sum(sum(process.cpu_times()[:2]) for process in self._measured())


def _busy_s() -> float:
    times = psutil.cpu_times()._asdict()
    # Guests are counted within user and nice already.
    return float(sum(value for name, value in times.items() if name not in ("idle", "iowait", "guest", "guest_nice")))
