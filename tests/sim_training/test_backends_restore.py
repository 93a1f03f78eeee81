"""A killed and restored simulation goes on bit for bit. As a program: restore, go on, write what was observed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sim_training import backends

ROOT = Path(__file__).resolve().parents[2]
NUM_ENVS = 3


def make_env() -> Any:
    """A controller with memory (its target), so that forgetting it would show."""
    return backends.make(
        "StackCube-v1", NUM_ENVS, backend="cpu_batch", obs_mode="state", control_mode="pd_ee_target_delta_pose"
    )


def hold_the_cube(env: Any) -> None:
    """Contact is where positions and velocities are not the whole state."""
    task = env.unwrapped
    pose = task.agent.tcp.pose.raw_pose.clone()
    pose[:, 0] += torch.linspace(-0.01, 0.01, NUM_ENVS)
    task.cubeA.set_pose(pose)
    task.scene._gpu_apply_all()
    task.scene._gpu_fetch_all()


def go(env: Any, steps: range) -> torch.Tensor:
    """Observations and rewards under actions that depend on the step only, with unseeded partial resets among them."""
    actions = torch.rand(60, NUM_ENVS, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    actions[:, :, 2] = -actions[:, :, 2].abs()
    actions[:, :, -1] = -1
    seen = []
    for k in steps:
        observation, reward, *_ = env.step(actions[k])
        seen.append(torch.cat([observation, reward[:, None]], dim=1))
        if k % 12 == 5:
            observation, _ = env.reset(options={"env_idx": torch.tensor([k % NUM_ENVS])})
            seen.append(torch.cat([observation, reward[:, None]], dim=1))
    return torch.stack(seen)


def test_a_run_restored_in_a_new_process_equals_the_run_that_went_on(tmp_path: Path) -> None:
    env = make_env()
    torch.manual_seed(7)
    env.reset(seed=0)
    hold_the_cube(env)
    go(env, range(15))
    touching = [len(scene.physx_system.get_contacts()) for scene in env.unwrapped.scene.sub_scenes]
    assert max(touching) >= 4
    (tmp_path / "state").write_bytes(backends.save_state(env))
    torch.save(torch.get_rng_state(), tmp_path / "generator")
    went_on = go(env, range(15, 40))

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, __file__, tmp_path], cwd=ROOT, env=environment, check=True)
    assert torch.equal(torch.load(tmp_path / "seen"), went_on)


def test_saving_does_not_move_anything() -> None:
    env = make_env()
    env.reset(seed=0)
    go(env, range(3))
    before = env.unwrapped.get_state()
    backends.save_state(env)
    after = env.unwrapped.get_state()
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)


def test_only_the_batched_backend_promises_an_exact_restore() -> None:
    from sim_training.backends.checkpoint import WrongBackend
    from sim_training.backends.stock import make_stock

    with pytest.raises(WrongBackend, match="cpu_batch"):
        backends.save_state(make_stock("PickCube-v1", "pd_joint_delta_pos"))


def _restore_and_go_on(folder: Path) -> None:
    env = make_env()
    torch.manual_seed(99)
    env.reset(seed=5)
    go(env, range(4))  # another past
    backends.restore_state(env, (folder / "state").read_bytes())
    torch.set_rng_state(torch.load(folder / "generator"))
    torch.save(go(env, range(15, 40)), folder / "seen")


if __name__ == "__main__":
    _restore_and_go_on(Path(sys.argv[1]))


def test_a_cube_that_fell_asleep_is_awake_on_both_sides() -> None:
    def asleep(env: Any) -> list[bool]:
        systems = [scene.physx_system for scene in env.unwrapped.scene.sub_scenes]
        return [body.is_sleeping for s in systems for body in s.rigid_dynamic_components if not body.kinematic]

    env = make_env()
    env.reset(seed=0)
    for _ in range(30):
        env.step(torch.zeros(NUM_ENVS, 7))
    assert any(asleep(env)), "otherwise this shows nothing"
    saved = backends.save_state(env)
    restored = make_env()
    restored.reset(seed=1)
    backends.restore_state(restored, saved)
    assert not any(asleep(env) + asleep(restored))
