"""Which ops are row-wise, and how they move the axes: one rule per family of ops.

Importing this package fills `recserve.network.facts.RULES`. An op without a rule still serves, at candidate rate.
"""

from recserve.network.rules import axes as axes
from recserve.network.rules import elementwise as elementwise
from recserve.network.rules import matrices as matrices
from recserve.network.rules import reductions as reductions
from recserve.network.rules import shapes as shapes
