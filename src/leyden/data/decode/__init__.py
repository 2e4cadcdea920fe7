"""How much of a picture has to be decoded?"""

from leyden.data.decode.picture import Picture as Picture
