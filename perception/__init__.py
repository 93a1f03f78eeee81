"""From camera frames to where the object is: RealSense, detector, pose, tracker, estimator."""
