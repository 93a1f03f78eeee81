"""What runs on and next to the robot: bridge, reference, policy loop, and the mock cell that stands in for a lab."""
