"""Operations whose digits are not the same on a CPU and a GPU, or depend on the order of a sum, found as they run."""

import math

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
# Their last digit is a library's own, or that of the order in which a mean adds up.
_OF_A_LIBRARY = {
    aten.exp, aten.log, aten.sigmoid, aten.tanh, aten.rsqrt, aten.mean, aten.var, aten.var_mean, aten.std,
    aten._softmax, aten._log_softmax, aten.logsumexp, aten.native_batch_norm, aten.lerp, aten.lerp_, aten.addcdiv,
    aten.addcdiv_, aten.addmm, aten.baddbmm, aten.cumsum, aten.prod, aten.nll_loss_forward,
}  # fmt: skip


def _power_of_two(number):
    return math.frexp(abs(number))[0] == 0.5


def _is_one_number(exact, dtype):
    return torch.equal(exact.to(dtype).double(), exact)


class DeviceDigits(TorchDispatchMode):
    """Collects in ``found`` the name of each operation that a GPU computes, or might compute, with other digits.

    A division by a number of the host, by whose reciprocal a GPU multiplies; a product that it may fuse with an
    addition, unless it is exact; what each library computes in its way; and a sum that the order of its terms changes.
    """

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            why = self._why(func, result, args, kwargs)
            if why:
                self.found.add(f"{func.overloadpacket.__name__}: {why}")
        elif func.overloadpacket is aten.convolution_backward:
            self._backward_of_convolution(result, args)
        return result

    def _why(self, func, result, args, kwargs):
        operation = func.overloadpacket
        if operation in _OF_A_LIBRARY:
            return "of a library"
        if operation in (aten.pow, aten.pow_) and args[1] != 2:
            return "of a library"
        if operation in (aten.div, aten.div_) and not isinstance(args[1], torch.Tensor):
            return None if _power_of_two(args[1]) else f"by {args[1]}"
        if operation in (aten.add, aten.add_, aten.sub, aten.sub_):
            alpha = kwargs.get("alpha", 1)
            product = torch.as_tensor(args[1]).double() * alpha
            return None if abs(alpha) == 1 or _is_one_number(product, result.dtype) else f"alpha {alpha}"
        if operation in (aten.addcmul, aten.addcmul_):
            product = kwargs.get("value", 1) * args[1].double() * args[2].double()
            return None if _is_one_number(product, result.dtype) else "a product that is rounded"
        if operation is aten.sum:
            x, dims = args[0], args[1] if len(args) > 1 and args[1] else tuple(range(args[0].dim()))
            turned, wide = func(x.flip(dims), *args[1:], **kwargs), func(x.double(), *args[1:], **kwargs)
            return None if torch.equal(turned, result) and torch.equal(wide.to(result.dtype), result) else "order"
        if operation is aten.mm:
            turned, wide = args[0].flip(1) @ args[1].flip(0), args[0].double() @ args[1].double()
            return None if torch.equal(turned, result) and torch.equal(wide, result.double()) else "order"
        if operation is aten.convolution:
            return None if torch.equal(_in_double(func, args), result.double()) else "order"
        return None

    def _backward_of_convolution(self, result, args):
        wide = _in_double(aten.convolution_backward, args)
        if any(a is not None and not torch.equal(a.double(), b) for a, b in zip(result, wide, strict=True)):
            self.found.add("convolution_backward: order")


def _in_double(func, args):
    """Return ``func`` of ``args`` with every tensor in float64."""
    return func(*(a.double() if isinstance(a, torch.Tensor) else a for a in args))
