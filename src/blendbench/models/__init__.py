"""Model sets, encoders, the diffusion pipeline and the scorers."""

import os

# A GPU takes four times as many launches in advance as by default. CUDA reads this when it starts.
os.environ.setdefault("CUDA_SCALE_LAUNCH_QUEUES", "4x")
