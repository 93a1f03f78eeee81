"""Where the camera stands relative to the robot. The cell file carries the result as T_base_camera."""
