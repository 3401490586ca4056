"""Plans of encoded images against a slow implementation of Belady's rule, turn by turn."""

import random

import pytest

from mmnet_jax.features.plan import Turn, plan_turns


def carry_out(batches, capacity, chunk):
    """The number of images encoded, after checking every turn."""
    plan, kept, count = plan_turns(batches, capacity, chunk), set(), 0
    room = max(capacity, *(len(set(batch)) for batch in batches))
    for batch, turn in zip(batches, plan.turns, strict=True):
        assert set(turn.dropped) <= kept - set(batch)
        kept -= set(turn.dropped)
        for number, images in enumerate(turn.chunks):
            assert len(images) == chunk or (number == len(turn.chunks) - 1 and images)
            assert not kept & set(images)
            kept |= set(images)
            count += len(images)
        assert set(batch) <= kept and len(kept) <= room
    return count


def slow_belady(batches, capacity):
    kept, count = set(), 0
    for now, batch in enumerate(batches):
        missing = [image for image in dict.fromkeys(batch) if image not in kept]
        next_turn = {x: next((t for t in range(now, len(batches)) if x in batches[t]), len(batches)) for x in kept}
        while len(kept) + len(missing) > capacity and kept - set(batch):
            kept.remove(max(kept - set(batch), key=next_turn.__getitem__))
        kept |= set(missing)
        count += len(missing)
    return count


@pytest.mark.parametrize("seed", range(30))
def test_the_number_of_encoded_images_is_minimal_and_chunks_add_little(seed):
    draw = random.Random(seed)
    images, size = draw.randint(1, 30), draw.randint(1, 8)
    batches = [[draw.randrange(images) for _ in range(size)] for _ in range(40)]
    capacity = draw.randint(0, images + 3)
    fewest = carry_out(batches, capacity, 1)
    assert fewest == slow_belady(batches, capacity)
    if capacity >= images:
        assert fewest == len({image for batch in batches for image in batch})
        assert carry_out(batches, capacity, 4) == fewest
    assert carry_out(batches, capacity, 4) <= 1.3 * fewest


def test_chunks_are_filled_with_the_next_images_and_images_without_further_use_are_dropped():
    plan = plan_turns([[0, 1, 0], [2, 0], [3, 0]], 9, 3)
    assert plan.turns == [Turn((), ((0, 1, 2),)), Turn((1,), ()), Turn((2,), ((3,),))]
    assert plan.describe(3, 7, 10**9) == (
        "features: 3 episodes use 4 images 7 times; each is encoded once, at most 3 in memory (3.0 GB)"
    )


def test_a_description_names_the_fraction_of_uses_that_are_cached():
    text = plan_turns([[0, 1], [2, 3], [0, 1], [2, 3]], 2, 1).describe(4, 8, 10**6)
    assert text == (
        "features: 4 episodes use 4 images 8 times; 0% of the uses are cached, at most 2 in memory (2.00 MB, "
        "evaluation.cache_gb)"
    )
