"""Training of the head: everything but the backbone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from clu import parameter_overview
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmnet_jax import weights
from mmnet_jax.cli.progress import Say
from mmnet_jax.config.values import augmentation, network_settings, objective, sgd
from mmnet_jax.data.batches import training_batches
from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.episodes import EpisodeIndex, training_index
from mmnet_jax.drawing.curve import draw_curve
from mmnet_jax.evaluation.manifest import Manifest, configured_manifest
from mmnet_jax.evaluation.markdown import with_interval
from mmnet_jax.evaluation.protocols import PROTOCOLS
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.features.resident import resident
from mmnet_jax.features.source import Source, image_source
from mmnet_jax.features.store import stored_sources
from mmnet_jax.models.network import FewShotNetwork
from mmnet_jax.models.registry import build_model, init_head
from mmnet_jax.storage.files import write_whole
from mmnet_jax.training.loop import Terms, run_steps
from mmnet_jax.training.state import SGD, TrainState, create_optimizer, create_state, learning_rate, state_variables
from mmnet_jax.training.step import data_mesh, describe_devices, shardings, train_step
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.folder import Workdir


class Training(NamedTuple):
    """A training of the head, ready for its first step."""

    model: FewShotNetwork
    frozen: dict[str, Any]  # the backbone's variables, on every device
    episodes: EpisodeIndex
    steps: int
    mesh: Mesh
    optimizer: SGD
    state: TrainState
    update: Callable[[TrainState, Any], tuple[TrainState, Terms]]
    batches: Callable[[int], Any]  # from a step on, this process's part of each batch
    place: Callable[[Any], Any]  # puts it on the devices, as the whole batch
    test_source: Source | None  # of the test split, where its features are stored


def open_training(config: ConfigDict, workdir: Workdir, dataset: Dataset, say: Say) -> Training:
    """The training that ``config`` describes; ``workdir`` is as ``Workdir.create`` left it, with its backbone."""
    settings = config.training

    # Data: the images that make episodes, and the number of steps.
    choices = {name: config.data[name] for name in ("drop_novel", "distinct_supports", "class_sampling")}
    index = training_index(dataset, config.fold, config.shots, config.data.min_pixels, **choices)
    size = settings.batch_size
    per_epoch = index.episodes_per_epoch(size)  # without the last incomplete batch
    steps = settings.steps or settings.epochs * per_epoch // size

    # Network: trained parameters are replicated over the mesh, the batch is split over it.
    mesh = data_mesh(settings.batch_size)
    everywhere, split = shardings(mesh)
    model = build_model(network_settings(config))
    frozen = jax.device_put(workdir.frozen(model, config), everywhere)

    # Episodes: from images, or from their frozen features where these are stored; read anew, or kept on the devices.
    test_source: Source | None = None
    if settings.cache_features:
        sha256 = weights.sha256(workdir.backbone_file)
        # Stored features are of padded images; other protocols evaluate from images.
        fits = PROTOCOLS[config.evaluation.protocol].fit == "pad"
        splits = [dataset.train, dataset.test] if fits else [dataset.train]
        source, *others = stored_sources(config, model, frozen, sha256, splits, say)
        test_source = others[0] if fits else None
    else:
        transform = augmentation(config) if config.data.augment else None
        source = image_source(dataset.train, config.data.image_size, augmentation=transform)
    if config.data.resident:
        source = resident(source, dataset.train, everywhere, say)
    held = settings.cache_features or config.data.resident  # nothing is left that worker processes could decode

    def batches(start: int) -> Any:
        return training_batches(
            source.load,
            index,
            seed=config.seed,
            batch_size=settings.batch_size,
            start_step=start,
            workers=0 if held else config.data.workers,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    # State and update. Resuming is exact: episode i is a function of (seed, i) alone, and so is what step i draws.
    optimizer = sgd(config, steps)
    variables = {"params": init_head(model, config.seed), **frozen}
    state = create_state(variables, create_optimizer(optimizer), model.batch_statistics)
    state = jax.device_put(state, everywhere)
    key = jax.jit(jax.random.key, out_shardings=everywhere)(config.seed)
    step_fn = train_step(model, source.encoder, optimizer, objective(config), settings.accumulate, mesh)

    def update(state: TrainState, batch: Any) -> tuple[TrainState, Terms]:
        state, losses = step_fn(state, frozen, batch, key)
        return state, losses.by_name()

    def place(batch: Any) -> Any:
        return source.place(batch, split)

    return Training(model, frozen, index, steps, mesh, optimizer, state, update, batches, place, test_source)


def selection_manifest(config: ConfigDict, dataset: Dataset) -> Manifest | None:
    """The episodes that select the best checkpoint, of one seed; None: the training evaluates none on its way.

    Raises ``UserError`` where the protocol cannot draw them.
    """
    if not (count := config.training.evaluation_episodes):
        return None
    seed, *_ = PROTOCOLS[config.evaluation.protocol].seeds_or(config.seed)
    return configured_manifest(dataset, config, seed, episodes=count, classes=config.training.select_on)


def train_head(config: ConfigDict, workdir: Workdir, dataset: Dataset, say: Say, selection: Manifest | None) -> None:
    """Trains everything but the backbone, or continues from the newest checkpoint.

    ``workdir`` is as ``Workdir.create`` left it, with its backbone; ``selection`` comes from ``selection_manifest``.
    """
    settings = config.training
    first = jax.process_index() == 0  # of several processes one writes all but the checkpoints
    training = open_training(config, workdir, dataset, say)

    # Evaluation on the classes by which the best checkpoint is chosen.
    def measure(state: TrainState, step: int) -> float:
        assert selection is not None
        variables = state_variables(state, training.frozen)
        source = training.test_source
        result = evaluate(training.model, variables, config, dataset, selection, source=source, say=say)
        miou = f"{settings.select_on} mIoU {with_interval(result.scores.miou, result.scores.interval95, '.2f')}"
        say(f"step {step}: {miou} over {len(selection.episodes)} episodes, FB-IoU {result.scores.fb_iou:.2f}")
        return result.scores.miou

    index = training.episodes
    count = parameter_overview.count_parameters(training.state.params)
    if first:
        workdir.log.mkdir(parents=True, exist_ok=True)
        overview = parameter_overview.get_parameter_overview(training.state.params, include_stats=False)
        write_whole(workdir.log / "parameters.txt", (overview + "\n").encode())
    run_steps(
        "training",
        training.state,
        training.update,
        training.batches,
        training.place,
        settings,
        training.steps,
        Checkpoints(workdir.checkpoints, config),
        workdir.log if first else None,
        say,
        opening=f"{count:,} parameters, {len(index.admitted)} images of {len(index.support_lists)} classes, "
        f"{training.steps} steps of {settings.batch_size} episodes, {describe_devices(training.mesh)}; "
        "the first step compiles",
        unit="episodes",
        learning_rate=learning_rate(training.optimizer),
        describe=_losses,
        evaluate=measure if selection else None,
    )
    if first:
        draw_curve(workdir.log, workdir.results / "training.png")


def _losses(terms: dict[str, Any]) -> str:
    parts = " ".join(f"{name} {value:.4f}" for name, value in terms.items() if name != "total")
    return f"loss {terms['total']:.4f} ({parts})"
