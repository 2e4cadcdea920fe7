"""In what order do samples come, and how are they dealt to ranks?"""

from leyden.data.plan.bucket import Bucketed as Bucketed
from leyden.data.plan.mix import Mix as Mix
from leyden.data.plan.order import Sequential as Sequential
from leyden.data.plan.order import Shuffled as Shuffled
from leyden.data.plan.pack import Packed as Packed
