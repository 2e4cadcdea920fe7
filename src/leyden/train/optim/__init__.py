"""Which optimizers are there beside PyTorch's own?"""

from leyden.train.optim.lamb import LAMB as LAMB
from leyden.train.optim.lars import LARS as LARS
