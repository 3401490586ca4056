"""The same tasks in PyTorch, at its fastest settings."""

import dataclasses
import runpy
import time
from contextlib import nullcontext
from typing import Any

import jax

from mmnet_jax.benchmark.tasks import Cell, Task, random_episode, resident_peak
from mmnet_jax.errors import UserError

RESNETS: dict[str, dict[str, Any]] = {
    "resnet50": {"deep": False},
    "resnet50_v2": {"deep": True},
    "resnet101": {"deep": False, "blocks": (3, 4, 23, 3)},
    "resnet101_v2": {"deep": True, "blocks": (3, 4, 23, 3)},
}
"""Arguments of the peer's network, by backbone."""


def precisions(device: str) -> tuple[str, ...]:
    """The precisions in which to measure PyTorch; ``device`` is jax's, such as ``cpu``.

    Raises:
      UserError: PyTorch is missing, or finds no GPU although jax does.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError("--peer needs PyTorch: pip install 'mmnet-jax[torch]'.") from error
    if device == "cpu":
        return ("float32",)
    if not torch.cuda.is_available():
        raise UserError(f"--peer: jax computes on {device}, but PyTorch {torch.__version__} finds no CUDA device.")
    return "TF32", "bfloat16"


@dataclasses.dataclass(frozen=True)
class PeerCell:
    """An episode or a training step of the network in the file ``path``, in the faster of two memory layouts."""

    cell: Cell
    path: str
    precision: str

    def open(self) -> Task:
        import torch

        jax.config.update("jax_platforms", "cpu")  # leaves the GPU to PyTorch
        device = torch.device("cpu" if self.precision == "float32" else "cuda")
        torch.set_default_device(device)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        autocast = torch.autocast("cuda", torch.bfloat16) if self.precision == "bfloat16" else nullcontext()
        config = self.cell.config()
        options = RESNETS[self.cell.backbone] | {"flavor": config.reading, "bins": tuple(config.model.bins)}
        network = runpy.run_path(self.path)["MMNet"](**options)
        network.eval()
        episode = jax.device_get(random_episode(config, self.cell.batch_size))
        query, supports, *labels = (torch.from_numpy(x.copy()).to(device) for x in jax.tree.leaves(episode))
        support_labels, query_label = (label.long() for label in labels)
        trained = [p for name, p in network.named_parameters() if not name.startswith("layer")]
        sgd = torch.optim.SGD(trained, lr=1e-4, momentum=0.9, weight_decay=1e-4)
        images: list[Any] = []
        layouts = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

        def arrange(layout: str) -> None:
            network.to(memory_format=layouts[layout])
            views = query.permute(0, 3, 1, 2), supports.permute(0, 1, 4, 2, 3)
            images[:] = [x.contiguous() for x in views] if layout == "contiguous" else views

        def run() -> None:
            if self.cell.task == "step":
                sgd.zero_grad()
                with autocast:
                    loss = network(*images, support_labels, query_label)["loss"]
                loss.backward()
                sgd.step()
            else:
                with torch.no_grad(), autocast:
                    network(*images, support_labels)
            if device.type == "cuda":
                torch.cuda.synchronize()

        seconds = {}
        for layout in layouts:
            arrange(layout)
            run()
            start = time.perf_counter()
            run()
            seconds[layout] = time.perf_counter() - start
        best = min(seconds, key=seconds.__getitem__)
        arrange(best)
        on_gpu = device.type == "cuda"
        peak = torch.cuda.max_memory_allocated if on_gpu else resident_peak
        name = torch.cuda.get_device_name() if on_gpu else "cpu"
        return Task(run, {"precision": self.precision, "layout": best, "device": name}, peak)
