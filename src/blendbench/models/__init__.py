"""Model sets, encoders, the diffusion pipeline and the scorers."""

import os

from blendbench.core.files import cache_folder

# A GPU takes four times as many launches in advance as by default. CUDA reads this when it starts.
os.environ.setdefault("CUDA_SCALE_LAUNCH_QUEUES", "4x")
# Without it, products of MKL on a CPU round by where their numbers happen to lie in memory.
os.environ.setdefault("MKL_CBWR", "AUTO")
# torch keeps compiled kernels in a temporary folder by default, and compiles again after a restart of the machine.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled" / "inductor"))
