"""One script per family of teachers, each in an environment of its own: `launch/serve_teacher.py NAME`."""
