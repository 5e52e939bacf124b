"""What the host asks of a device, counted."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_WAITING = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.bincount.default,
    torch.ops.aten._unique2.default,
}


class DeviceReads(TorchDispatchMode):
    """Counts what would make the host wait for a GPU: values read back, and results whose size depends on values."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        indices = args[1] if func is torch.ops.aten.index.Tensor else ()
        masked = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)
        self.count += func in _WAITING or masked
        return func(*args, **(kwargs or {}))
