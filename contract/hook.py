"""The measures of pull_cube_tool's L-shaped tool, which its scene and its expert share. Metres."""

GRIP_M = 0.10
"""From the handle's middle back to where the fingers take it, which is the tool's origin."""

REACH_M = 0.08
"""How far the hook reaches out beyond the handle's side, to positive y."""

THICK_M = 0.03
"""Of the hook, along the handle; it ends where the handle ends."""
