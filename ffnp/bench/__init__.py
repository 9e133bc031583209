"""The command `ffnp bench`: how fast we are, beside others who do the same mathematics on the same cores.

Each contender works in a process of its own, one at a time and in turn, and all must lose alike (`race`). What a case asks for
stands in `cases`, who runs it in `contenders`.
"""
