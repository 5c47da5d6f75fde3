#!/usr/bin/env python3
"""How a card's meters move: what reading each costs, how often its value changes, counter against readings under a load
that is switched on and off, and how power falls after it.

    meters.py [DEVICE [SECONDS]]

Watches each meter for SECONDS (3). The load is PyTorch's, where that is here; without it the card is watched as it is.
Prints lines of JSON. The status is 4 where there is no NVML or no card. Only reads.
"""

import ctypes
import json
import os
import sys
import threading
import time

# Fields of nvmlDeviceGetFieldValues: mean power and power now, in milliwatts.
AVERAGE, INSTANT = 185, 186
SM_CLOCK = 1
# Half of the period of the load that is switched: no multiple of the sensor's 100 ms.
SWITCHED_S = 0.35


class FieldValue(ctypes.Structure):
    """nvmlFieldValue_t, for values of 32 bits."""

    _fields_ = [
        ("field", ctypes.c_uint),
        ("scope", ctypes.c_uint),
        ("timestamp", ctypes.c_longlong),
        ("latency_us", ctypes.c_longlong),
        ("type", ctypes.c_uint),
        ("status", ctypes.c_uint),
        ("value", ctypes.c_uint),
        ("rest", ctypes.c_uint),
    ]


class Card:
    """One card by NVML, without any package for it."""

    def __init__(self, library, index, uuid):
        self.nvml = ctypes.CDLL(library)
        self._call("nvmlInit_v2")
        self.handle = ctypes.c_void_p()
        if uuid:
            self._call("nvmlDeviceGetHandleByUUID", uuid.encode(), ctypes.byref(self.handle))
        else:
            self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(self.handle))

    def _call(self, name, *arguments):
        status = getattr(self.nvml, name)(*arguments)
        if status != 0:
            raise OSError(f"{name} gives {status}")

    def _number(self, name, *arguments, kind=ctypes.c_uint):
        value = kind()
        self._call(name, self.handle, *arguments, ctypes.byref(value))
        return value.value

    def energy_j(self):
        """The counter."""
        return self._number("nvmlDeviceGetTotalEnergyConsumption", kind=ctypes.c_ulonglong) / 1e3

    def power_w(self):
        """What nvidia-smi shows as power.draw."""
        return self._number("nvmlDeviceGetPowerUsage") / 1e3

    def field_w(self, field):
        """Power as a field."""
        value = FieldValue(field=field)
        self._call("nvmlDeviceGetFieldValues", self.handle, 1, ctypes.byref(value))
        if value.status != 0:
            raise OSError(f"field {field} gives {value.status}")
        return value.value / 1e3

    def sm_mhz(self):
        """Clock of the multiprocessors."""
        return self._number("nvmlDeviceGetClockInfo", SM_CLOCK)


class Load:
    """Matrix products, where PyTorch is here."""

    def __init__(self, device):
        self.uuid = None
        self.why = None
        self.running = False
        try:
            import torch

            self.torch = torch
            self.matrix = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
            self.uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
        except Exception as error:
            self.why = f"no load: {error}"

    def start(self, switched):
        """Computes in a thread, on and off where it is to be switched."""
        if self.why:
            return
        self.running = True
        self.thread = threading.Thread(target=self._work, args=(switched,), daemon=True)
        self.thread.start()

    def _work(self, switched):
        while self.running:
            end = time.monotonic() + SWITCHED_S
            while self.running and time.monotonic() < end:
                self.torch.mm(self.matrix, self.matrix)
                self.torch.cuda.synchronize()
            if switched:
                time.sleep(SWITCHED_S)

    def stop(self):
        """Ends it."""
        if self.running:
            self.running = False
            self.thread.join()


def say(**line):
    """One line of JSON."""
    print(json.dumps(line), flush=True)


def quantile(values, share):
    """Of values in any order; nothing of none."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else None


def watch(name, read, seconds):
    """Reads one meter as fast as is useful and says how it moves."""
    costs, gaps, last, changed = [], [], None, None
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        before = time.perf_counter()
        try:
            value = read()
        except (OSError, AttributeError) as error:
            say(meter=name, error=str(error))
            return
        now = time.perf_counter()
        costs.append(now - before)
        if value != last:
            if changed is not None:
                gaps.append(now - changed)
            last, changed = value, now
        time.sleep(0.0005)
    period = quantile(gaps, 0.5)
    say(
        meter=name,
        call_ms=quantile(costs, 0.5) * 1e3,
        call_p99_ms=quantile(costs, 0.99) * 1e3,
        polls=len(costs),
        changes=len(gaps),
        period_ms=period and period * 1e3,
        last=last,
    )


def mean_power(points, column):
    """By trapezoids."""
    area = sum((b[0] - a[0]) * (a[column] + b[column]) / 2 for a, b in zip(points, points[1:]))
    return area / (points[-1][0] - points[0][0])


def against_counter(card, switched, seconds):
    """The counter's power over a while beside the means of both readings."""
    begin, first, points = time.monotonic(), card.energy_j(), []
    while len(points) < 2 or time.monotonic() - begin < seconds:
        points.append((time.monotonic(), card.field_w(INSTANT), card.power_w()))
        time.sleep(0.02)
    took = time.monotonic() - begin
    say(
        window_s=took,
        load="switched" if switched else "none",
        counter_w=(card.energy_j() - first) / took,
        instant_w=mean_power(points, 1),
        usage_w=mean_power(points, 2),
    )


def absent(why):
    """Ends without having measured."""
    print(f"absent: {why}", file=sys.stderr)
    sys.exit(4)


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cuda:0"
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 3.0
    load = Load(device)
    index = int(device.rpartition(":")[2] or 0)
    try:
        # The driver's order and NVML's differ where CUDA_VISIBLE_DEVICES is set; the card's own number does not.
        uuid = f"GPU-{load.uuid}" if load.uuid else None
        card = Card(os.environ.get("SIZEWELL_NVML", "libnvidia-ml.so.1"), index, uuid)
    except (OSError, AttributeError) as error:
        absent(f"no NVML: {error}")
    say(load=load.why or "matrix products by PyTorch", identified_by="uuid" if uuid else "index")
    load.start(switched=False)
    meters = (
        ("energy", card.energy_j),
        ("power_usage", card.power_w),
        ("instant_186", lambda: card.field_w(INSTANT)),
        ("average_185", lambda: card.field_w(AVERAGE)),
    )
    for name, read in meters:
        watch(name, read, seconds)
    load.stop()
    try:
        load.start(switched=True)
        time.sleep(min(1.0, seconds))
        against_counter(card, not load.why, 3 * seconds)
        load.stop()
        for wait in (0, 1, 2, 5, 10):
            time.sleep(min(wait, seconds * wait / 3))
            say(after_load_s=wait, instant_w=card.field_w(INSTANT), usage_w=card.power_w(), sm_mhz=card.sm_mhz())
    except (OSError, AttributeError) as error:
        say(error=str(error))
    finally:
        load.stop()


if __name__ == "__main__":
    main()
