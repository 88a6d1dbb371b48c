"""What a run chooses of the machine, as far as a machine without a GPU can tell."""

import torch

from collabspace.api.run import Execution
from collabspace_trainer import runtime
from collabspace_trainer.events import Events


def test_attention_is_not_planned_anew_for_every_length_of_a_batch() -> None:
    """cuDNN does that: on an H100 the plans of one run took longer than its training."""
    before = torch.are_deterministic_algorithms_enabled()
    try:
        runtime.choose(Execution(threads=1), True, Events())
    finally:
        torch.use_deterministic_algorithms(before)
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_a_run_on_the_cpu_has_no_peak_of_a_gpu() -> None:
    assert torch.zeros(1).device.type == "cpu"
    assert torch.cuda.is_initialized() or runtime.peak_gpu_memory_bytes() is None
