"""The same numbers sooner and in fewer bytes; each is tested against the plain step, to the bit or a stated tolerance.

bits            eight weights of {-1, +1} in a byte
packed_layers   layers that store bits and flip inside the backward pass
packed_optim    BSO and T-BSO for them; float32 or bfloat16 momentum
graphed         a whole training step as one CUDA graph
"""
