"""How much of a picture has to be decoded?"""

from leyden.data.decode.fused import backend as backend
from leyden.data.decode.fused import warm as warm
from leyden.data.decode.picture import Picture as Picture
from leyden.data.decode.tiling import tiled as tiled
from leyden.data.decode.windows import Window as Window
from leyden.data.decode.windows import center_window as center_window
from leyden.data.decode.windows import random_resized_window as random_resized_window
from leyden.data.decode.windows import random_window as random_window
