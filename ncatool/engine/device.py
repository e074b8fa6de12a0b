"""Devices: which one a name means, and how much of its memory one use may take."""

from __future__ import annotations

import torch

from ncatool.config.names import Device
from ncatool.errors import UsageError


def resolve_device(device: Device) -> torch.device:
    """Return the torch device that a name means on this machine.

    Raises UsageError where torch does not see such a device.
    """
    usable = {Device.CUDA: torch.cuda.is_available(), Device.MPS: torch.backends.mps.is_available(), Device.CPU: True}
    if device is Device.AUTO:
        device = Device.CUDA if usable[Device.CUDA] else Device.CPU
    if not usable[device]:
        names = ", ".join(name for name, is_usable in usable.items() if is_usable)
        raise UsageError(f"torch sees no {device} device on this machine", f"use --device {names}, or leave it out")
    if device is Device.CUDA:
        torch.backends.cudnn.allow_tf32 = False  # it would round the dense rule's perception to 10 bits
        return torch.device(device, torch.cuda.current_device())
    return torch.device(device)


def memory_limit(device: torch.device, otherwise: int) -> int:
    """Return the bytes that one use may take on a device: a quarter of a GPU's own memory; `otherwise` elsewhere."""
    if device.type != "cuda":
        return otherwise
    return torch.cuda.get_device_properties(device).total_memory // 4
