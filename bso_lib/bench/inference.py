"""What a deployed network weighs, how long it takes to load, and how many images it answers in a second."""

import tempfile
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from bso_lib.bench.timing import in_turn
from bso_lib.deploy.network_file import load_packed, save_packed
from bso_lib.exact.convert import exact
from bso_lib.models import vgg11
from bso_lib.training import predict


def measure_inference(width=1.0, batch_size=32, time_steps=2, repeats=5, side=32, channels=3, device="cpu"):
    """Return a row per way to load it: ``megabytes`` of the file, ``load_seconds`` (until the network can answer).

    Files, packed and in float32, hold the same binary VGG-11; "packed, exact" answers in exact arithmetic.
    ``images_per_second``: of the loaded network, a batch at a time; medians.
    """
    torch.manual_seed(0)
    model = vgg11(10, channels, width).to(memory_format=torch.channels_last).eval()
    images = torch.randn(batch_size, channels, side, side, device=device).contiguous(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        packed, plain = (Path(folder) / name for name in ("packed.safetensors", "float32.safetensors"))
        save_packed(model, packed)
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, plain)

        def load_float32():
            with torch.device("meta"):
                loaded = vgg11(10, channels, width)
            loaded.load_state_dict(load_file(plain), assign=True)
            return loaded.to(memory_format=torch.channels_last).eval()

        loaders = {
            "packed": lambda: load_packed(packed), "packed, exact": lambda: exact(load_packed(packed)).eval(),
            "float32": load_float32,
        }  # fmt: skip
        loading = in_turn(loaders, repeats, title="loading")
        networks = {name: load().to(device) for name, load in loaders.items()}
        sizes = {name: (plain if name == "float32" else packed).stat().st_size for name in loaders}
    answers = {name: lambda net=net: predict(net, images, time_steps) for name, net in networks.items()}
    answering = in_turn(answers, repeats, device, "answering")
    return pd.DataFrame([
        {
            "file": name, "megabytes": sizes[name] / 1e6, "load_seconds": loading[name].median(),
            "load_seconds_max": loading[name].max(), "images_per_second": batch_size / answering[name].median(),
            "images_per_second_min": batch_size / answering[name].max(), "width": width, "batch_size": batch_size,
            "time_steps": time_steps, "side": side, "repeats": repeats,
        }
        for name in loaders
    ])  # fmt: skip
