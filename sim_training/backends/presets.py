"""Physics presets: what is changed in ManiSkill's simulation settings, and why that is safe to train with."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "stock": {},
    # 4 of 15 position iterations: TGS converges fast on one arm and a few objects.
    "fast": {"scene_config": {"solver_position_iterations": 4}},
}


def with_preset(physics: str, sim_config: dict[str, Any]) -> dict[str, Any]:
    """ManiSkill's `sim_config` with the preset underneath what the caller asked for."""
    preset = PRESETS[physics]
    scene_config = {**preset.get("scene_config", {}), **sim_config.get("scene_config", {})}
    merged = {**preset, **sim_config}
    return {**merged, "scene_config": scene_config} if scene_config else merged
