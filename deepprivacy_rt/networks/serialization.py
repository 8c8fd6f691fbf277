"""Generator weights on disk: safetensors, half precision, with the network's shape in the header."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from deepprivacy_rt.errors import WeightsError
from deepprivacy_rt.networks.generator import Generator, GeneratorConfig
from deepprivacy_rt.networks.prior import FORMAT


def save_generator(network: Generator, path: Path) -> None:
    """Write the weights as float16, atomically."""
    tensors = {
        name: value.detach().to("cpu", torch.float16).contiguous() for name, value in network.state_dict().items()
    }
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, metadata={"format": FORMAT, "config": json.dumps(network.config.to_dict())})
    part.chmod(0o644)
    part.replace(path)


def load_generator(path: Path) -> Generator:
    """Return the generator in float32, in evaluation mode, on the CPU. Raises WeightsError."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise WeightsError(f"{path}: not a generator of this version; cure: use the weights it shipped with")
            network = Generator(GeneratorConfig(**json.loads(header["config"])))
            network.load_state_dict({name: file.get_tensor(name).float() for name in list(file.keys())})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: cannot be read as generator weights: {str(error).splitlines()[0]}") from error
    return network.eval().requires_grad_(False)
