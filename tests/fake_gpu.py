"""A GPU that is not there: tensors that know their device and shape, and refuse to meet one of another device.

torch's FakeTensorMode computes no numbers; where the code asks for one (`float(x)`, `if x:`), it gets a fixed answer, so that
whole stages run. The device is torch's private-use type with its Python guard, since a build without CUDA cannot name "cuda".
Mixing its tensors with the CPU's raises, as CUDA would.
"""

import contextlib
import copy
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("fakegpu")
GPU = torch.device("fakegpu", 0)
NUMBERS = {torch.int64: 1, torch.int32: 1, torch.uint8: 1}


class Numbers(FakeTensorMode):
    """Answers a question for a number or for a count; everything else is FakeTensorMode's."""

    avoid_device_init = True  # torch.tensor(..., device=GPU) is made on the CPU first

    def __deepcopy__(self, memo):
        return self  # a copied model's tensors are of the same GPU

    def dispatch(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            return self.truth if args[0].dtype == torch.bool else NUMBERS.get(args[0].dtype, 0.5)
        if func is torch.ops.aten.nonzero.default:  # one place: as many as the data would say are not known
            with self:
                return torch.zeros(1, args[0].dim(), dtype=torch.long, device=args[0].device)
        return super().dispatch(func, types, args, kwargs)


def apply(module, fn, recurse=True):
    """`Module._apply` that replaces parameters and buffers; the original swaps fake tensors in place, which weak references forbid."""
    made = {}

    def new(tensor):
        if id(tensor) not in made:
            with torch.no_grad():
                made[id(tensor)] = (tensor, fn(tensor))
        return made[id(tensor)][1]

    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = (
                    parameter if new(parameter) is parameter else torch.nn.Parameter(new(parameter), parameter.requires_grad)
                )
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = new(buffer)
    return module


@contextlib.contextmanager
def fake_gpu(*, truth=True):
    """Within, tensors are fake and `GPU` is a device; `truth` answers every yes-or-no (a generation ends on yes)."""
    mode = Numbers(allow_non_fake_inputs=False)
    mode.truth = truth
    with mock.patch.object(torch.nn.Module, "_apply", apply), mode:
        yield mode


def on_fake_gpu(model, mode):
    """Return a copy of a real model whose parameters and buffers are fake tensors on the fake GPU."""
    with unset_fake_temporarily():
        fake = copy.deepcopy(model)
    return apply(fake, lambda tensor: moved(tensor, mode))


def moved(tensor, mode):
    """Return a real CPU tensor as a fake one on the fake GPU."""
    with unset_fake_temporarily():
        plain = tensor.detach()
    return mode.from_tensor(plain).to(GPU)
