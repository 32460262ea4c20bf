"""One thread: two OpenMP threads beside another process are slower by far."""

import torch

torch.set_num_threads(1)
