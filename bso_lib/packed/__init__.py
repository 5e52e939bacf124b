"""Training that keeps one bit and the momentum for each binary weight.

    layers    layers that store bits and flip inside the backward pass
    optim     BSO and T-BSO for them; float32 or bfloat16 momentum
    run       a run on packed layers

Of these, each imports only from those above it.
"""

from bso_lib.packed.layers import pack
from bso_lib.packed.optim import PackedBSO, PackedTBSO

__all__ = ["PackedBSO", "PackedTBSO", "pack"]
