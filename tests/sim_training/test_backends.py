"""The batched CPU backend: what ManiSkill's tasks see of it is what PhysX and stock ManiSkill say."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from sim_training import backends
from sim_training.backends import parity

TASK = "PickCube-v1"


def make(num_envs: int, control_mode: str = "pd_joint_delta_pos", **settings: Any) -> Any:
    return backends.make(TASK, num_envs, backend="cpu_batch", obs_mode="state", control_mode=control_mode, **settings)


@pytest.fixture(scope="module")
def env() -> Any:
    return make(3)


@pytest.fixture
def grasp(env: Any) -> Any:
    """The task with the cube held between closed fingers in every sub-scene."""
    env.reset(seed=1)
    task = env.unwrapped
    task.cube.set_pose(task.agent.tcp.pose)
    task.scene._gpu_apply_all()
    task.scene._gpu_fetch_all()
    closing = torch.zeros(3, 8)
    closing[:, -1] = -1
    for _ in range(4):
        env.step(closing)
    return task


@pytest.mark.parametrize("task", ["PickCube-v1", "StackCube-v1"])
def test_observations_rewards_and_success_equal_stock_maniskill(task: str) -> None:
    found = parity.compare(task, num_envs=2, steps=25)
    assert not found.chaotic.all()
    assert found.worst <= parity.TOLERANCE


def test_a_partial_reset_touches_only_the_asked_environments(env: Any) -> None:
    env.reset(seed=0)
    for _ in range(3):
        env.step(torch.ones(3, 8) * 0.5)
    before, elapsed = env.unwrapped.scene.px.pack(), env.unwrapped.elapsed_steps.clone()
    env.reset(options={"env_idx": torch.tensor([1])})
    after = env.unwrapped.scene.px.pack()
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]
    assert env.unwrapped.elapsed_steps.tolist() == [elapsed[0], 0, elapsed[2]]


def test_link_poses_and_velocities_equal_physx_also_past_half_a_turn(env: Any) -> None:
    env.reset(seed=0)
    task = env.unwrapped
    qpos = task.agent.robot.get_qpos().clone()
    qpos[:, 5] = torch.tensor([3.0, 3.3, 3.6])  # joint 6 passes pi, where PhysX changes the quaternion's sign
    task.agent.robot.set_qpos(qpos)
    task.scene._gpu_apply_all()
    task.scene._gpu_fetch_all()
    env.step(torch.rand(3, 8) * 2 - 1)
    for link in task.agent.robot.links:
        truth = np.array([np.concatenate([o.entity_pose.p, o.entity_pose.q]) for o in link._objs])
        np.testing.assert_allclose(link.pose.raw_pose.numpy(), truth, atol=2e-6, err_msg=link.name)
        truth = np.array([o.linear_velocity for o in link._objs])
        np.testing.assert_array_equal(link.linear_velocity.numpy(), truth, err_msg=link.name)


def test_contact_forces_on_a_held_cube_are_those_physx_reports(grasp: Any) -> None:
    from mani_skill.utils import sapien_utils

    finger = grasp.agent.finger1_link
    forces = grasp.scene.get_pairwise_contact_forces(finger, grasp.cube)
    net = grasp.cube.get_net_contact_forces()
    assert (forces.norm(dim=1) > 1.0).all()
    assert grasp.agent.is_grasping(grasp.cube).all()
    for n, sub_scene in enumerate(grasp.scene.sub_scenes):
        contacts = sub_scene.physx_system.get_contacts()
        cube = grasp.cube._objs[n]
        pair = sapien_utils.get_pairwise_contact_impulse(contacts, finger._objs[n].entity, cube)
        np.testing.assert_allclose(forces[n].numpy() * grasp.scene.timestep, pair, atol=1e-6)
        total = sapien_utils.compute_total_impulse(sapien_utils.get_cpu_actor_contacts(contacts, cube))
        np.testing.assert_allclose(net[n].numpy() * grasp.scene.timestep, total, atol=1e-6)


def test_an_applied_force_pushes_one_body_once(env: Any) -> None:
    env.reset(seed=0)
    task = env.unwrapped
    force = torch.zeros(3, 3)
    force[1, 2] = 50.0
    task.cube.apply_force(force)
    task.scene.step()
    task.scene._gpu_fetch_all()
    rising = task.cube.linear_velocity[:, 2].clone()
    task.scene.step()
    task.scene._gpu_fetch_all()
    expected = 50.0 / float(task.cube.mass[0]) * task.scene.timestep
    assert rising[1] == pytest.approx(expected, rel=0.2)
    assert task.cube.linear_velocity[1, 2] < rising[1]
    assert rising[[0, 2]].abs().max() < 0.01


def test_tool_commands_move_the_tool_the_commanded_way_in_each_environment() -> None:
    env = make(3, "pd_ee_delta_pose")
    env.reset(seed=0)
    tool = env.unwrapped.agent.tcp
    began = tool.pose.p.clone()
    actions = torch.zeros(3, 7)
    actions[torch.arange(3), torch.arange(3)] = 0.5  # x in the first, y in the second, z in the third
    for _ in range(5):
        env.step(actions)
    moved = tool.pose.p - began
    assert (moved.argmax(dim=1) == torch.arange(3)).all()
    assert (moved.diagonal() > 0.05).all()


def test_pictures_show_each_sub_scene_and_training_makes_no_renderer(env: Any) -> None:
    from sim_training.backends.rendering import render_sub_scenes

    assert not env.unwrapped.scene.can_render()
    camera = {"render_camera": {"width": 96, "height": 96}}
    seen = make(2, render_mode="rgb_array", human_render_camera_configs=camera)
    seen.reset(seed=3)
    before = seen.render()
    for _ in range(4):
        seen.step(torch.tensor([[0.0] * 8, [1.0] * 8]))
    after = seen.render()
    assert after.shape == (2, 96, 96, 3)
    assert after.dtype == torch.uint8
    change = (after.int() - before.int()).abs().flatten(1).float().mean(dim=1)
    assert change[1] > 3 * change[0]
    assert torch.equal(render_sub_scenes(seen, [1])[0], after[1])


def test_fast_physics_brings_the_arm_where_stock_does() -> None:
    """With far fewer solver iterations a second, and within half a millimetre."""
    actions = torch.rand(30, 2, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    actions *= 0.4  # stays clear of the table
    actions[20:, :, :-1] = 0  # targets hold still for half a second
    tools, iterations = {}, {}
    for physics in ("stock", "fast"):
        env = make(2, "pd_joint_target_delta_pos", physics=physics)
        env.reset(seed=0)
        for action in actions:
            env.step(action)
        tools[physics] = env.unwrapped.agent.tcp.pose.p.clone()
        arm = env.unwrapped.agent.robot._objs[0]
        iterations[physics] = env.unwrapped.sim_freq * arm.solver_position_iterations
    assert (tools["stock"] - tools["fast"]).norm(dim=1).max() < 0.0005
    assert iterations["stock"] == 1500
    assert iterations["fast"] <= 500


def test_an_unknown_task_is_one_clear_sentence() -> None:
    with pytest.raises(backends.UnknownTask, match="Import the module"):
        backends.make("NoSuchTask-v1", 1, backend="cpu_batch")


def test_a_machine_without_vulkan_is_one_clear_sentence() -> None:
    program = "from sim_training import backends; backends.make('PickCube-v1', 1, backend='cpu_batch')"
    nothing = {"VK_DRIVER_FILES": "/nonexistent", "VK_ICD_FILENAMES": "/nonexistent"}
    ran = subprocess.run([sys.executable, "-c", program], env={**os.environ, **nothing}, capture_output=True, text=True)
    assert ran.returncode != 0
    assert "NoVulkanDevice: No usable Vulkan device" in ran.stderr.strip().splitlines()[-1]
