"""A rank that dies, hangs or holds another network than the others, and memory that does not suffice."""

import os
import random
import signal
import time
from dataclasses import replace
from datetime import timedelta

import pytest
import torch
from faults.children import TINY, outcome, settle
from faults.fault import fault
from ranks import together

from bso_lib.experiment import pauses
from bso_lib.experiment import run as experiments
from bso_lib.experiment.build import Trainer
from bso_lib.experiment.ranks import LostRank, RanksDisagree, process_group, world
from bso_lib.experiment.shortage import OutOfMemory
from bso_lib.models import split_parameters

ON = "then the end equals an undisturbed run to the bit"


def at_batch(batch, do):
    """Let ``do(trainer)`` be called at the end of batch ``batch``; return the real step and that one."""
    real, count = Trainer.step, []

    def step(trainer, *arguments):
        count.append(1)
        found = real(trainer, *arguments)
        if len(count) == batch:
            do(trainer)
        return found

    return real, step


def disturbed(cache, rank, batch, do):
    """Run TINY on all ranks; on ``rank``, ``do(trainer)`` within batch ``batch``. Return what was raised."""
    settle(cache)
    pauses._LOOK = 0.0  # several ranks too look after every batch
    real, step = at_batch(batch, do if world()[0] == rank else lambda trainer: None)
    Trainer.step = step
    try:
        experiments.run(TINY, progress=False)
    except (RanksDisagree, LostRank) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        Trainer.step = real
    return "done"


def nothing(trainer):
    pass


def flip_a_weight(trainer):
    weight = split_parameters(trainer.model)[0][2]
    with torch.no_grad():
        weight[0, 0, 0, 0] *= -1


def hang(trainer):
    time.sleep(8)


def undisturbed_by_two(folder):
    assert together(disturbed, 2, folder, folder / "whole", 0, 1, nothing) == ["done", "done"]
    return outcome(folder / "whole")


FLIPPED = fault(
    "Two ranks",
    "a weight that flipped on one of them and is so at a checkpoint",
    2,
    10,
    f"both say so in one line; {ON}",
)


def test_a_flipped_weight_on_one_rank_is_noticed(tmp_path):
    whole, draw = undisturbed_by_two(tmp_path), random.Random(0)
    for number in range(FLIPPED.times):
        cache, batch = tmp_path / str(number), draw.randrange(1, 9)
        said = together(disturbed, 2, tmp_path, cache, 1, batch, flip_a_weight)
        assert said[0] == said[1]
        epoch, within = divmod(batch - 1, 4)
        where = f"in epoch {epoch + 1}, after batch {within + 1} of 4" if within < 3 else f"after epoch {epoch + 1}"
        assert said[0].startswith(f"RanksDisagree: rank 1 of 2 holds another network than rank 0 {where} ")
        assert len(said[0].splitlines()) == 1
        assert together(disturbed, 2, tmp_path, cache, 1, 1, nothing) == ["done", "done"]
        assert outcome(cache) == whole


HEALED = fault(
    "Two ranks",
    "a weight that flipped on one of them and back before a checkpoint",
    1,
    5,
    f"the record of flips tells, both say so in one line; {ON}",
)


def flip_once(trainer):
    """Flip a weight at the end of the next update; a threshold as low as TINY's lets the one after flip it back."""
    optimizer, flips = trainer.optimizers[-1], iter([True])
    handle = optimizer.register_step_post_hook(lambda *_: next(flips, False) and flip_a_weight(trainer))
    optimizer._optimizer_step_post_hooks.move_to_end(handle.id, last=False)  # before flips are recorded


def compared_after_epochs(record_flips, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "TINY", replace(TINY, record_flips=record_flips))
        patch.setattr(pauses.Pauses, "due", lambda pauses, at_once=False: at_once)
        return disturbed(*arguments)


def test_a_flipped_weight_that_is_flipped_back_is_noticed_by_the_record_of_flips(tmp_path):
    whole, draw = undisturbed_by_two(tmp_path), random.Random(5)
    for number in range(HEALED.times):
        cache, batch = tmp_path / str(number), draw.randrange(1, 3)
        said = together(compared_after_epochs, 2, tmp_path, True, cache, 1, batch, flip_once)
        assert said[0] == said[1]
        assert said[0].startswith("RanksDisagree: rank 1 of 2 holds another network than rank 0 after epoch 1 ")
        assert together(disturbed, 2, tmp_path, cache, 1, 1, nothing) == ["done", "done"]
        assert outcome(cache) == whole
    # Without one nothing tells: averaged gradients leave the momenta alike.
    assert together(compared_after_epochs, 2, tmp_path, False, cache, 1, batch, flip_once) == ["done", "done"]


HANGS = fault("Two ranks", "one that hangs", 1, 3, f"the other gives up in bounded time, in one line; {ON}")


def test_a_rank_that_hangs(tmp_path):
    whole = undisturbed_by_two(tmp_path)
    for number in range(HANGS.times):
        cache = tmp_path / str(number)
        said = together(disturbed, 2, tmp_path, cache, 1, 3 + number, hang, timeout=timedelta(seconds=3))
        assert str(said[0]).startswith("rank 0 of 2 lost another one (")
        assert len(str(said[0]).splitlines()) == 1
        assert together(disturbed, 2, tmp_path, cache, 1, 1, nothing) == ["done", "done"]
        assert outcome(cache) == whole


SHORT = {
    kind: fault("Memory", f"{kind} in a random batch", 1, 10, f"one line says which settings to lower; {ON}")
    for kind in ("MemoryError", "torch.OutOfMemoryError", "no memory for torch on the CPU")
}
ERRORS = {
    "MemoryError": MemoryError(),
    "torch.OutOfMemoryError": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nSee more"),
    "no memory for torch on the CPU": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
    ),
}


@pytest.mark.parametrize("kind", SHORT)
def test_memory_that_does_not_suffice(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CHECKPOINT_MINUTES", "0")
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "whole"))
    checksum, draw = experiments.run(TINY, progress=False).checksum, random.Random(1)

    def fail(trainer):
        raise ERRORS[kind]

    for number in range(SHORT[kind].times):
        monkeypatch.setenv("BSO_CACHE", str(tmp_path / str(number)))
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "step", at_batch(draw.randrange(2, 9), fail)[1])
            with pytest.raises(OutOfMemory) as short:
                experiments.run(TINY, progress=False)
        line = str(short.value)
        assert line.startswith("out of memory on cpu: lower batch_size=30 or width=0.015625, which is another run")
        assert len(line.splitlines()) == 1
        assert list(tmp_path.glob(f"{number}/*/checkpoint-*.pt"))
        assert experiments.run(TINY, progress=False).checksum == checksum


def test_another_error_is_no_lack_of_memory(tmp_path, monkeypatch):
    def fail(trainer):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    monkeypatch.setattr(Trainer, "step", at_batch(2, fail)[1])
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        experiments.run(TINY, progress=False)


DIES = fault("Two ranks", "one that is killed", 1, 10, f"the other says so in one line; {ON}")


def die(trainer):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_rank_that_dies(tmp_path):
    whole, draw = undisturbed_by_two(tmp_path), random.Random(4)
    for number in range(DIES.times):
        cache = tmp_path / str(number)
        cache.mkdir()
        context = torch.multiprocessing.get_context("forkserver")
        port = 29_400 + os.getpid() % 500
        pair = [
            context.Process(target=one_of_two, args=(rank, port, cache, draw.randrange(2, 8), cache / "said"))
            for rank in range(2)
        ]
        for process in pair:
            process.start()
        for process in pair:
            process.join(120)
        assert pair[1].exitcode == -signal.SIGKILL
        said = (cache / "said").read_text()
        (cache / "said").unlink()
        assert said.startswith("rank 0 of 2 lost another one (")
        assert len(said.splitlines()) == 1
        assert together(disturbed, 2, tmp_path, cache, 1, 1, nothing) == ["done", "done"]
        assert outcome(cache) == whole


def one_of_two(rank, port, cache, batch, where):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    try:
        with process_group("cpu", timedelta(seconds=60)):
            settle(cache)
            Trainer.step = at_batch(batch, die if rank else nothing)[1]
            experiments.run(TINY, progress=False)
    except LostRank as error:
        where.write_text(str(error))
        os._exit(1)
