"""The mock cell's scene: FR3 on a table, one cube, a fixed camera. Table top is z = 0 in the robot's base frame."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from contract.poses import Pose
from contract.tasks import LIFT_CUBE

if TYPE_CHECKING:
    import mujoco
    from franky_sim.mujoco_simulator import FrankaMujocoRobot, MujocoSimulator

CUBE_EDGE_M = LIFT_CUBE.object_width_m
CUBE_MASS_KG = 0.08
CUBE_FRICTION = 1.0
CUBE_RGB = (0.80, 0.12, 0.10)
TABLE_RGB = (0.62, 0.52, 0.41)
FLOOR_RGB = (0.42, 0.43, 0.45)
WALL_RGB = (0.78, 0.78, 0.76)

_STIFF = {"solref": "0.004 1", "solimp": "0.95 0.995 0.0005"}
"""Contacts of pads and cube: with MuJoCo's defaults a 30 N grasp sinks 2 mm into each face, and the width shows it."""

CAMERA_NAME, WRIST_CAMERA_NAME = "fixed_camera", "wrist_camera"
HAND_NAME = "robot0_hand"
TCP_FROM_HAND_M = 0.1034
"""Franka Hand: flange to the middle of the fingertips (datasheet; franky-sim's default EE)."""
BOARD_THICKNESS_M = 0.003
BOARD_TEXTURE_PX = 1600, 1280
"""Width and height of the picture on the calibration board."""
CAMERA_WIDTH, CAMERA_HEIGHT = 424, 240
CAMERA_FOVY_RAD = np.deg2rad(42.0)
"""RealSense D435 colour, vertical field of view (datasheet 337029, table 4-6)."""

_CAMERA_TARGET_M = np.array([0.55, 0.0, 0.13])
_CAMERA_DISTANCE_M = 0.80
_CAMERA_AZIMUTH_RAD, _CAMERA_ELEVATION_RAD = np.deg2rad(20.0), np.deg2rad(40.0)

# MuJoCo cameras look along -z with y up; optical frames along +z with y down.
_R_OPTICAL = np.diag([1.0, -1.0, -1.0])


def look_at(position_m: np.ndarray, target_m: np.ndarray, roll_rad: float = 0.0) -> Pose:
    """Optical frame (x right, y down, z forward) at `position_m` that looks at `target_m`, level but for `roll_rad`."""
    forward = (target_m - position_m) / np.linalg.norm(target_m - position_m)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(roll_rad), np.sin(roll_rad)
    T = np.eye(4)
    T[:3, :3] = np.stack([c * right + s * down, c * down - s * right, forward], axis=1)
    T[:3, 3] = position_m
    return Pose.from_matrix(T)


def nominal_T_base_camera() -> Pose:
    """Where the mock cell's camera is: on the far side of the table, looking back and down at the work area."""
    ca, sa = np.cos(_CAMERA_AZIMUTH_RAD), np.sin(_CAMERA_AZIMUTH_RAD)
    ce, se = np.cos(_CAMERA_ELEVATION_RAD), np.sin(_CAMERA_ELEVATION_RAD)
    return look_at(_CAMERA_TARGET_M + _CAMERA_DISTANCE_M * np.array([ce * ca, ce * sa, se]), _CAMERA_TARGET_M)


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera, pixels; (0, 0) is the centre of the top left pixel."""

    fx: float
    fy: float
    cx: float
    cy: float

    def matrix(self) -> np.ndarray:
        """Shape: (3, 3)"""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


def intrinsics(width: int, height: int, fovy_rad: float = CAMERA_FOVY_RAD) -> Intrinsics:
    """What MuJoCo's symmetric frustum is as a pinhole camera."""
    f = 0.5 * height / np.tan(0.5 * fovy_rad)
    return Intrinsics(f, f, 0.5 * (width - 1), 0.5 * (height - 1))


def nominal_T_tcp_camera() -> Pose:
    """Where the mock cell's wrist camera is: before the hand, 7 cm above the fingertips, looking 10 degrees inwards."""
    c, s = np.cos(np.deg2rad(10.0)), np.sin(np.deg2rad(10.0))
    T = np.eye(4)
    T[:3, :3] = np.array([[0.0, -c, -s], [1.0, 0.0, 0.0], [0.0, -s, c]])
    T[:3, 3] = (0.075, 0.0, -0.07)
    return Pose.from_matrix(T)


def camera_pose(model: mujoco.MjModel) -> Pose:
    """T_base_camera of the model's camera, optical frame."""
    camera = model.camera(CAMERA_NAME)
    T_base_mujoco = Pose(np.array(camera.pos), np.array(camera.quat))
    return T_base_mujoco @ Pose.from_matrix(np.pad(_R_OPTICAL, (0, 1)) + np.diag([0, 0, 0, 1.0]))


def tool_pose(data: mujoco.MjData) -> Pose:
    """T_base_tcp after `mj_kinematics`."""
    hand = data.body(HAND_NAME)
    axis = hand.xmat.reshape(3, 3)[:, 2]
    return Pose(np.array(hand.xpos + axis * TCP_FROM_HAND_M), np.array(hand.xquat))


def set_camera_pose(model: mujoco.MjModel, T_base_camera: Pose, name: str = CAMERA_NAME) -> None:
    """Moves one of the model's cameras; `T_base_camera` is an optical frame."""
    T_base_mujoco = T_base_camera @ Pose.from_matrix(np.pad(_R_OPTICAL, (0, 1)) + np.diag([0, 0, 0, 1.0]))
    camera = model.camera(name)
    camera.pos[:] = T_base_mujoco.position
    camera.quat[:] = T_base_mujoco.quaternion


def _numbers(values: np.ndarray | tuple[float, ...]) -> str:
    return " ".join(f"{v:.8g}" for v in values)


def _replace_lights_and_ground(sim: MujocoSimulator) -> None:
    for element in [e for e in sim.worldbody if e.tag == "light" or e.get("name") == "ground"]:
        sim.worldbody.remove(element)
    visual = sim.scene.find("visual")
    assert visual is not None
    for element in list(visual):
        visual.remove(element)
    ET.SubElement(visual, "headlight", ambient="0.38 0.38 0.38", diffuse="0.25 0.25 0.25", specular="0 0 0")
    ET.SubElement(visual, "quality", shadowsize="0", offsamples="0")
    ET.SubElement(visual, "global", offwidth="1280", offheight="960")
    ET.SubElement(visual, "map", znear="0.05", zfar="8")
    ET.SubElement(sim.scene, "statistic", extent="1", center="0.5 0 0.1")
    for name, direction, diffuse in (
        ("key", "-0.5 0.4 -1", "0.5 0.49 0.46"),
        ("fill", "0.6 -0.5 -0.8", "0.2 0.2 0.22"),
    ):
        ET.SubElement(
            sim.worldbody, "light", name=name, directional="true", castshadow="false",
            pos="0.5 0 2", dir=direction, diffuse=diffuse, specular="0.1 0.1 0.1",
        )  # fmt: skip


def _add_furniture(sim: MujocoSimulator) -> None:
    asset = sim.scene.find("asset")
    assert asset is not None
    for name, rgb, pixels in (("table", TABLE_RGB, "256"), ("floor", FLOOR_RGB, "64"), ("wall", WALL_RGB, "64")):
        ET.SubElement(
            asset, "texture", name=name, type="2d", builtin="flat", width=pixels, height=pixels,
            rgb1=_numbers(rgb), rgb2=_numbers(rgb),
        )  # fmt: skip
        ET.SubElement(asset, "material", name=name, texture=name, specular="0.1", shininess="0.1")
    ET.SubElement(asset, "material", name="cube", specular="0.2", shininess="0.2")
    # Contacts with the table go through a plane: cheaper and steadier than box against box.
    ET.SubElement(sim.worldbody, "geom", name="table_contact", type="plane", size="2 2 0.1", group="3", friction="0.4")
    for name, kind, size, pos, euler, material in (
        ("table", "box", "0.65 0.75 0.02", "0.35 0 -0.0201", "0 0 0", "table"),
        ("floor", "plane", "6 6 0.1", "0 0 -0.75", "0 0 0", "floor"),
        ("wall_back", "plane", "4 3 0.1", "-1.1 0 1", "0 1.5708 0", "wall"),
        ("wall_side", "plane", "4 3 0.1", "0 -2.0 1", "-1.5708 0 0", "wall"),
    ):
        ET.SubElement(
            sim.worldbody, "geom", name=name, type=kind, size=size, pos=pos, euler=euler, material=material,
            contype="0", conaffinity="0",
        )  # fmt: skip


def _add_cube(sim: MujocoSimulator) -> None:
    body = ET.SubElement(sim.worldbody, "body", name="cube", pos=f"0.55 0 {CUBE_EDGE_M / 2}")
    ET.SubElement(body, "freejoint", name="cube_joint")
    ET.SubElement(
        body, "geom", _STIFF, name="cube", type="box", size=_numbers((CUBE_EDGE_M / 2,) * 3), mass=str(CUBE_MASS_KG),
        rgba=_numbers((*CUBE_RGB, 1.0)), material="cube", condim="4", friction=f"{CUBE_FRICTION} 0.01 0.0001",
    )  # fmt: skip


def _add_camera(sim: MujocoSimulator) -> None:
    T_base_mujoco = nominal_T_base_camera() @ Pose.from_matrix(np.pad(_R_OPTICAL, (0, 1)) + np.diag([0, 0, 0, 1.0]))
    ET.SubElement(
        sim.worldbody, "camera", name=CAMERA_NAME, pos=_numbers(T_base_mujoco.position),
        quat=_numbers(T_base_mujoco.quaternion), fovy=f"{np.rad2deg(CAMERA_FOVY_RAD):.8g}",
    )  # fmt: skip


def _add_board_and_wrist_camera(sim: MujocoSimulator) -> None:
    """A plate that `board_on_show.BoardOnShow` shapes, paints and places, and a camera that is moved with the hand."""
    asset = sim.scene.find("asset")
    assert asset is not None
    width, height = map(str, BOARD_TEXTURE_PX)
    ET.SubElement(asset, "texture", name="board", type="2d", builtin="flat", width=width, height=height, rgb1="1 1 1")
    ET.SubElement(asset, "material", name="board", texture="board", specular="0", shininess="0")
    body = ET.SubElement(sim.worldbody, "body", name="board", mocap="true", pos="0 0 -5")
    ET.SubElement(
        body, "geom", name="board", type="box", size="0.1 0.1 0.0015", material="board", contype="0", conaffinity="0"
    )
    fovy = f"{np.rad2deg(CAMERA_FOVY_RAD):.8g}"
    ET.SubElement(sim.worldbody, "camera", name=WRIST_CAMERA_NAME, pos="0 0 1", fovy=fovy)


def _simplify_collisions(robot_body: ET.Element) -> None:
    """Leaves the hand and one box pad per finger: what this task touches, at a fraction of the cost."""
    for body in robot_body.iter("body"):
        for geom in list(body.findall("geom")):
            kind = geom.get("class", "")
            if (kind == "collision" and geom.get("mesh") != "hand_coll") or kind.startswith("fingertip_pad"):
                body.remove(geom)
        if body.get("name", "").endswith("_finger"):
            # Same outline as franky-sim's five pads, whose inner faces lie at y = 0 of the finger.
            ET.SubElement(
                body, "geom", {"class": "collision", **_STIFF}, name=f"{body.get('name')}_pad", type="box",
                pos="0 0.004 0.0445", size="0.0085 0.004 0.0085", condim="4", friction="0.5 0.01 0.0001",
            )  # fmt: skip


def _add_distractors(sim: MujocoSimulator, count: int) -> None:
    for i in range(count):
        body = ET.SubElement(sim.worldbody, "body", name=f"distractor_{i}", mocap="true", pos="0 0 -5")
        ET.SubElement(
            body, "geom", name=f"distractor_{i}", type="box", size="0.02 0.02 0.02", contype="0", conaffinity="0"
        )


def populate(sim: MujocoSimulator, distractors: int = 0, calibration: bool = False) -> FrankaMujocoRobot:
    """Adds robot (at the task's start pose, gripper open), table, cube, camera and looks to an unstarted simulator.

    distractors: hidden bodies without contacts, which `renders` shapes and places.
    calibration: with a board, hidden, and a wrist camera.
    """
    option = sim.scene.find("option")
    assert option is not None
    # Elliptic cones and impratio keep a grasped object from creeping out (MuJoCo manual, "Computation: friction").
    option.set("cone", "elliptic")
    option.set("impratio", "10")
    _replace_lights_and_ground(sim)
    _add_furniture(sim)
    _add_camera(sim)
    robot = sim.add_robot(initial_q=LIFT_CUBE.start_q_rad, initial_hand_width=LIFT_CUBE.gripper_open_m)
    _simplify_collisions(sim.worldbody[-1])
    _add_cube(sim)  # After the robot: its joints keep the first addresses.
    _add_distractors(sim, distractors)
    if calibration:
        _add_board_and_wrist_camera(sim)
    return robot


def dress_as_cube(model: mujoco.MjModel, geom_name: str) -> None:
    """Gives a box the cube's size and looks."""
    geom, cube = model.geom(geom_name).id, model.geom("cube").id
    for field in (model.geom_size, model.geom_rbound, model.geom_rgba, model.geom_matid):
        field[geom] = field[cube]


def strip_visuals(sim: MujocoSimulator) -> None:
    """Removes the robot's visual meshes, nine tenths of what there is to load, for a simulator that only computes."""
    for body in sim.worldbody.iter("body"):
        for geom in body.findall("geom"):
            if geom.get("class") == "visual":
                body.remove(geom)
    asset = sim.scene.find("asset")
    assert asset is not None
    used = {geom.get("mesh") for geom in sim.worldbody.iter("geom")}
    for mesh in asset.findall("mesh"):
        if mesh.get("name") not in used:
            asset.remove(mesh)


def _coarsen_meshes(model: mujoco.MjModel, cell_m: float = 0.005, spare_below_faces: int = 5000) -> None:
    """Merges vertices that share a cell of a grid and drops the triangles that vanish.

    Six times fewer triangles: a third of the rendering time in software; the camera sees 3 mm per pixel.
    """
    for i in range(model.nmesh):
        if model.mesh_facenum[i] < spare_below_faces:
            continue
        vertices = slice(model.mesh_vertadr[i], model.mesh_vertadr[i] + model.mesh_vertnum[i])
        faces = slice(model.mesh_faceadr[i], model.mesh_faceadr[i] + model.mesh_facenum[i])
        cells = np.floor(model.mesh_vert[vertices] / cell_m).astype(np.int64)
        _, first, cell = np.unique(cells, axis=0, return_index=True, return_inverse=True)
        merged = first[cell.reshape(-1)][model.mesh_face[faces]]
        kept = (merged != np.roll(merged, 1, axis=1)).all(axis=1)
        count = int(kept.sum())
        normals = model.mesh_facenormal[faces][kept]
        model.mesh_face[faces.start : faces.start + count] = merged[kept]
        model.mesh_facenormal[faces.start : faces.start + count] = normals
        model.mesh_facenum[i] = count


def build_model(distractors: int = 0, calibration: bool = False) -> mujoco.MjModel:
    """The scene compiled on its own, for rendering."""
    import mujoco
    from franky_sim.mujoco_simulator import MujocoSimulator

    sim = MujocoSimulator()
    populate(sim, distractors, calibration)
    model = mujoco.MjModel.from_xml_string(ET.tostring(sim.scene, encoding="unicode"))
    _coarsen_meshes(model)
    return model
