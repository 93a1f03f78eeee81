"""A cell without hardware: FR3 physics behind the real Franka protocol, and a rendered camera. Own processes only."""
