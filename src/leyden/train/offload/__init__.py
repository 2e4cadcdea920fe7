"""How is every parameter of a model trained on one device that cannot hold the model's training state?

Weights in bf16, rounded stochastically (rounding.py); Adam's moments in 8 bits and block scales (moments.py), in pinned
host memory; weights that do not fit beside their gradients' and activations' share of the device in host memory as well
(budget.py decides, weights.py brings them in turn). The optimizer runs block by block inside the backward pass
(adam.py), so that gradients of the whole model never exist at once. Copies overlap with arithmetic (lanes.py).
4.03 bytes a parameter in all, where mixed-precision AdamW takes 16.
"""
