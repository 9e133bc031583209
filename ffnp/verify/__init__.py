"""Every rule checked against an independent twin in torch, and the bridge to modules of one's own.

Both need torch.

    ffnp verify                                              # the table of all presets
    ffnp.verify.updates(module, "pepita", x, y)              # what our rule would do to your nn.Sequential
"""

from .bridge import assign_grads, updates
from .check import table, verify

__all__ = ["assign_grads", "table", "updates", "verify"]
