"""BatchNorm over the whole batch when its parts lie on several ranks: statistics are exchanged, not the batch.

torch.nn.SyncBatchNorm does it on GPUs only and knows no statistics per time step; this one runs wherever the process
group does. Every rank must hold equally many samples.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from bso_lib.layers import TimeStepBatchNorm2d

_DIMS = (0, 2, 3)


class _GlobalBatchNorm(torch.autograd.Function):
    """y = (x - mean) / sqrt(var + eps) * weight + bias with mean and var over all ranks' samples."""

    @staticmethod
    def forward(ctx, x, running_mean, running_var, weight, bias, momentum, eps):
        ranks = dist.get_world_size()
        own_var, own_mean = torch.var_mean(x.to(weight.dtype), _DIMS, correction=0)
        # Mean and mean square, as these add up over ranks: in float64, for the difference below.
        own_var, own_mean = own_var.double(), own_mean.double()
        moments = torch.stack((own_mean, own_var + own_mean.square())) / ranks
        dist.all_reduce(moments)
        mean, var = moments[0].to(weight.dtype), (moments[1] - moments[0].square()).to(weight.dtype)
        count = ranks * x.numel() // x.shape[1]
        running_mean.mul_(1 - momentum).add_(mean, alpha=momentum)
        running_var.mul_(1 - momentum).add_(var, alpha=momentum * count / (count - 1))
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt())
        ctx.count = count
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx, grad_out):
        x, weight, mean, scale = ctx.saved_tensors
        mean, scale, gain = (v.view(1, -1, 1, 1) for v in (mean, scale, weight))
        grad = grad_out.to(weight.dtype)
        standardised = (x - mean) * scale
        grad_bias, grad_weight = grad.sum(_DIMS), (grad * standardised).sum(_DIMS)
        # The statistics were everybody's, so every rank's loss pulls at them.
        both = torch.stack((grad_bias, grad_weight)) / ctx.count
        dist.all_reduce(both)
        shift, slope = (v.view(1, -1, 1, 1) for v in both)
        grad_x = (grad - shift - standardised * slope) * (scale * gain)
        return grad_x.to(x.dtype), None, None, grad_weight, grad_bias, None, None


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` over the samples of all ranks."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        self.num_batches_tracked.add_(1)
        return _GlobalBatchNorm.apply(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.momentum, self.eps
        )


class GlobalTimeStepBatchNorm2d(TimeStepBatchNorm2d):
    """:class:`bso_lib.layers.TimeStepBatchNorm2d` over the samples of all ranks."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        return _GlobalBatchNorm.apply(x, *self.next_statistics(), self.weight, self.bias, self.momentum, self.eps)


_GLOBAL = {nn.BatchNorm2d: GlobalBatchNorm2d, TimeStepBatchNorm2d: GlobalTimeStepBatchNorm2d}


def synchronise_batch_norm_(model: nn.Module):
    """Let every BatchNorm of ``model`` take the statistics of all ranks, in place; parameters and buffers stay.

    Raises ValueError for another normalisation over the batch.
    """
    for name, module in model.named_modules():
        if type(module) in _GLOBAL:
            module.__class__ = _GLOBAL[type(module)]  # same attributes, another forward: as torch's lazy modules do
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise ValueError(f"{name} is a {type(module).__name__}: several processes cannot share its statistics")
    return model
