"""In what order do samples come, and how are they dealt to ranks?"""

from leyden.data.plan.order import Sequential as Sequential
from leyden.data.plan.order import Shuffled as Shuffled
