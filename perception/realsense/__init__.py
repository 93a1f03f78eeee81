"""The only RealSense code: cameras on USB, frames from the network and recordings, all through the same SDK."""

from perception.realsense.camera import RealSenseCamera, open_camera, open_cameras
from perception.realsense.network import NetworkFeed

__all__ = ["NetworkFeed", "RealSenseCamera", "open_camera", "open_cameras"]
