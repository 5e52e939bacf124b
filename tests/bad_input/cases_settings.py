"""Bad input to what runs, reads and keeps: every field of RunConfig, run, load_dataset, packed networks."""

from bad_input.case import Case, rows

_WHOLE = "must be a whole number, at least 1"
_SEED = "must be a whole number, at least 0 and below 2^63"
_NUMBER = "must be a finite number, at least 0"
_UNIT = "must be in [0, 1)"
_BOOL = "must be True or False"
FIELDS = {  # field: what is allowed, and bad values
    "method": ("must be one of fp, ste, bso, t-bso", ("'adam'", "None", "3", "[]")),
    "training": ("must be one of online, accumulated, bptt", ("'rtrl'", "None")),
    "trace": ("must be one of ottt, ndot, none", ("'eprop'", "None", "0.5")),
    "dataset": ("must be one of fashion-mini", ("'mnist'", "''", "None", "['cifar10']")),
    "train_size": ("must be", ("0", "-5", "2.5", "'100'", "True", "10001", "10 ** 9")),
    "evaluate_on": ("must be one of test, validation", ("'train'", "None")),
    "augment": (
        "any of crop, flip, cutout",
        ("('mixup',)", "'crop'", "'flip,crop'", "5", "None", "(None,)", "{'crop'}"),
    ),
    "model": ("must be one of vgg11, resnet18", ("'vgg16'", "None", "{}")),
    "width": ("must be from 1/64 to 1", ("0", "2", "'wide'", "float('nan')", "None", "True", "0.001")),
    "batch_norm": ("must be one of shared, per-step", ("'none'", "None")),
    "time_steps": (_WHOLE, ("0", "-1", "1.5", "True", "None", "'2'")),
    "epochs": (_WHOLE, ("0", "-1", "2.0", "None", "'3'")),
    "batch_size": (_WHOLE, ("0", "0.5", "None", "'all'")),
    "lr": (_NUMBER, ("-0.1", "float('inf')", "float('nan')", "'0.1'", "None")),
    "momentum": (_UNIT, ("1.0", "-0.1", "'a'", "None")),
    "latent_lr": (_NUMBER, ("-1", "float('nan')", "'a'", "None")),
    "latent_momentum": ("must be None", ("1.0", "-0.1", "'a'", "0.9")),  # 0.9: not for T-BSO
    "latent_decay": ("must be", ("-1", "float('nan')", "None", "0.1")),
    "gamma": (_NUMBER, ("-1e-9", "float('nan')", "'5e-7'", "None", "True")),
    "beta1": (_UNIT, ("1.0", "-0.1", "'0.9'", "None")),
    "beta2": (_UNIT, ("1.0", "float('nan')", "None")),
    "eps": (_NUMBER, ("-1e-20", "float('inf')", "None")),
    "schedule": ("must be one of constant, inverse-sqrt, stepwise, cosine", ("'linear'", "None", "'cosin'")),
    "step_epochs": (_WHOLE, ("0", "1.5", "None")),
    "real_schedule": ("must be one of cosine, constant", ("'stepwise'", "None")),
    "ste_clip": (_BOOL, ("1", "None", "'no'")),
    "start": ("must be one of grid, kaiming", ("'zeros'", "None")),
    "eps_place": ("must be one of inside, outside", ("'above'", "None")),
    "sign_of_zero": ("must be one of keep, zero", ("0", "None")),
    "mse_weight": (_UNIT, ("1.0", "-0.1", "'a'")),
    "precision": ("must be one of float32, bfloat16", ("'float16'", "32", "None")),
    "arithmetic": ("must be one of float32, exact", ("'fixed'", "True")),
    "packed": ("must be one of no, float32, bfloat16", ("'float16'", "True", "None")),
    "record_flips": (_BOOL, ("'yes'", "1", "None")),
    "snapshot_every": (_SEED, ("-1", "0.5", "True", "None")),
    "start_from": ("must be a RunConfig or None", ("'x'", "5")),
    "start_momentum": ("must be", ("'half'", "'zero'", "None")),
    "seed": (_SEED, ("-1", "0.5", "2 ** 63", "None", "'0'", "True")),
    "device": ("must be one of auto, cpu, cuda", ("'tpu'", "None", "0", "'cuda:0'")),
    "graphed": (_BOOL, ("'yes'", "1", "None")),
}
_TYPING = {  # what was typed, the name that was meant
    "epoch": "epochs",
    "epohcs": "epochs",
    "lerning_rate": None,
    "learning_rate": None,
    "gama": "gamma",
    "beta_1": "beta1",
    "timesteps": "time_steps",
    "Time_Steps": "time_steps",
    "batchsize": "batch_size",
    "data_set": "dataset",
    "trainsize": "train_size",
    "augmnt": "augment",
    "precison": "precision",
    "latentlr": "latent_lr",
    "seeds": "seed",
    "momentun": "momentum",
    "shedule": "schedule",
    "record_flip": "record_flips",
    "xyzzy": None,
}
_NAMES = {  # field: (typed, meant)
    "method": ("tbso", "t-bso"),
    "training": ("onlin", "online"),
    "trace": ("otttt", "ottt"),
    "dataset": ("fashion_mini", "fashion-mini"),
    "model": ("vgg-11", "vgg11"),
    "batch_norm": ("perstep", "per-step"),
    "schedule": ("inverse_sqrt", "inverse-sqrt"),
    "precision": ("float23", "float32"),
    "arithmetic": ("exakt", "exact"),
    "evaluate_on": ("validate", "validation"),
    "device": ("CUDA", "cuda"),
    "start": ("kaimng", "kaiming"),
}
_TOGETHER = [  # fields that do not go together
    ("RunConfig(method='bso', start='kaiming')", "V", "start='kaiming'", "it is a switch of T-BSO"),
    ("RunConfig(method='bso', eps_place='outside')", "V", "eps_place='outside'", "it is a switch of T-BSO"),
    ("RunConfig(method='fp', sign_of_zero='zero')", "V", "sign_of_zero='zero'", "it is a switch of T-BSO"),
    ("RunConfig(packed='float32')", "V", "packed='float32'", "needs record_flips=False"),
    ("RunConfig(packed='float32', record_flips=False, training='bptt')", "V", "needs training='online'"),
    ("RunConfig(packed='float32', record_flips=False, method='fp')", "V", "needs method 'bso' or 't-bso'"),
    ("RunConfig(graphed=True, device='cpu')", "V", "graphed=True", "must be False with device='cpu'"),
    ("RunConfig(arithmetic='exact', precision='bfloat16')", "V", "arithmetic='exact'", "needs precision='float32'"),
    ("RunConfig(arithmetic='exact', start='kaiming')", "V", "arithmetic='exact'", "needs start='grid'"),
    ("RunConfig(start_from=RunConfig(width=0.5))", "V", "start_from: width is 0.5 there, 1.0 here", "must be the same"),
    ("RunConfig(start_from=RunConfig(model='resnet18'))", "V", "start_from: model is 'resnet18' there"),
    ("RunConfig(start_from=RunConfig(method='fp'))", "V", "start_from: kind of weights is 'real' there"),
    ("RunConfig(start_from=RunConfig(time_steps=3))", "V", "start_from: time_steps is 3 there", "must be 1 or 2"),
    ("RunConfig(start_from=RunConfig(), start='kaiming')", "V", "start='kaiming'", "must be 'grid' with start_from"),
    ("RunConfig(start_from={'epoch': 3})", "V", "RunConfig has no field 'epoch'", "did you mean 'epochs'?"),
    (
        "RunConfig(dataset='cifar10', train_size=50001)",
        "V",
        "train_size=50001",
        "at most 50000, the training images of cifar10",
    ),
    ("dataclasses.replace(RunConfig(), epoch=3)", "V", "RunConfig has no field 'epoch'", "did you mean 'epochs'?"),
]


def _fields() -> list[Case]:
    cases = []
    for field, (allowed, values) in FIELDS.items():
        table = [(f"RunConfig({field}={v})", "V", f"RunConfig.{field}={eval(v)!r}", allowed) for v in values]
        cases += rows(f"RunConfig.{field}", table)
    for typed, meant in _TYPING.items():
        hint = (f"did you mean {meant!r}?",) if meant else ()
        table = [(f"RunConfig({typed}=1)", "V", f"RunConfig has no field {typed!r}", "it has method, training", *hint)]
        cases += rows("RunConfig, a field's name", table)
    for field, (typed, meant) in _NAMES.items():
        given = f"RunConfig({field}={typed!r})"
        cases += rows(f"RunConfig.{field}", [(given, "V", f"RunConfig.{field}={typed!r}", f"did you mean {meant!r}?")])
    cases += rows("RunConfig.augment", [("RunConfig(augment=('cutoff',))", "V", "augment=", "did you mean 'cutout'?")])
    return cases + rows("RunConfig, fields together", _TOGETHER)


RUN = rows(
    "run",
    [
        *[
            (f"run({v})", "T", f"config={kind}", "must be a RunConfig")
            for v, kind in {
                "None": "NoneType",
                "'bso'": "str",
                "{'method': 'bso'}": "dict",
                "RunConfig": "type",
            }.items()
        ],
        *[
            (f"run(RunConfig(), root={v})", "T", f"root={v}", "must be the path of a folder, or None")
            for v in ("5", "[]")
        ],
        (
            "run(RunConfig(dataset='cifar10'), root=folder)",
            "DatasetMissing",
            "cifar10 not found",
            "python -m bso_lib.data cifar10",
        ),
        ("run()", "T", "missing 1 required positional argument: 'config'"),
    ],
)
DATA = rows(
    "load_dataset",
    [
        *[
            (f"load_dataset({v})", "V", f"dataset={eval(v)!r}", "must be one of fashion-mini")
            for v in ("'mnist'", "None", "3", "[]", "''")
        ],
        *[
            (f"load_dataset({typed!r})", "V", f"dataset={typed!r}", f"did you mean {meant!r}?")
            for typed, meant in {
                "cifar-10": "cifar10",
                "fashion_mini": "fashion-mini",
                "CIFAR100": "cifar100",
                "image-net": "imagenet",
                "dvscifar10": "dvs-cifar10",
                "speech_commands": "speech-commands",
            }.items()
        ],
        *[
            (f"load_dataset('fashion-mini', frames={v})", "V", f"frames={eval(v)!r}", _WHOLE)
            for v in ("0", "-1", "2.5", "'3'", "None")
        ],
        *[
            (f"load_dataset('fashion-mini', root={v})", "T", f"root={v}", "must be the path of a folder")
            for v in ("5", "['a']")
        ],
        ("load_dataset('cifar10', root=folder)", "DatasetMissing", "cifar10 not found"),
        ("load_dataset('dvs-cifar10', root=folder)", "DatasetMissing", "dvs-cifar10"),
        ("load_dataset('speech-commands', root=folder)", "DatasetMissing", "speech-commands"),
        ("load_dataset('imagenet', root=folder)", "DatasetMissing", "imagenet"),
    ],
)
KEPT = (
    rows(
        "pack",
        [
            *[(f"pack({v})", "T", "model=", "must be a torch.nn.Module") for v in ("None", "[W]", "'model'")],
            ("pack(torch.nn.Flatten())", "V", "the model has no binary layers"),
            ("pack(off_grid)", "V", "are not exactly -1 or +1"),
        ],
    )
    + rows(
        "packed_size_bytes",
        [(f"packed_size_bytes({v})", "T", "model=", "must be a torch.nn.Module") for v in ("None", "5", "x")],
    )
    + rows(
        "save_packed",
        [
            *[
                (f"save_packed(model, {v})", "T", f"path={v}", "must be the path of a file")
                for v in ("None", "5", "[]")
            ],
            ("save_packed(model)", "T", "missing 1 required positional argument: 'path'"),
            ("save_packed(None, folder / 'n')", "T", "NoneType is not a plain sequence of layers"),
            ("save_packed(torch.nn.Flatten(), folder / 'n')", "T", "Flatten is not a plain sequence"),
            (
                "save_packed(torch.nn.Sequential(torch.nn.Sigmoid()), folder / 'n')",
                "T",
                "layer 0 is a Sigmoid",
                "must be one of",
            ),
            (
                "save_packed(latent_model, folder / 'n')",
                "V",
                "has latent weights",
                "latent_as_signs=True keeps the signs",
            ),
            ("save_packed(off_grid, folder / 'n')", "V", "not exactly -1 or +1"),
            ("save_packed(model.double(), folder / 'n')", "V", "is torch.float64: must be torch.float32"),
            ("save_packed(model, folder)", "PackedFileError", "is a folder", "must be a file"),
            ("save_packed(model, folder / 'none' / 'n')", "FileNotFoundError", "No such file or directory"),
        ],
    )
    + rows(
        "load_packed",
        [
            *[(f"load_packed({v})", "T", f"path={v}", "must be the path of a file") for v in ("None", "5", "{}")],
            (
                "load_packed(folder)",
                "PackedFileError",
                "is a folder",
                "must be a file that save_packed wrote or writes",
            ),
            ("load_packed(folder / 'none')", "FileNotFoundError", "No such file or directory"),
            ("load_packed(file(b''))", "PackedFileError", "is empty"),
            ("load_packed(file(b'hello'))", "PackedFileError", "no safetensors file"),
            ("load_packed(file(b'\\xff' * 8 + b'{'))", "PackedFileError", "ends within its header"),
            ("load_packed(file(b'\\x02' + bytes(7) + b'{}'))", "PackedFileError", "not one that save_packed wrote"),
            ("load_packed(file(b'\\x02' + bytes(7) + b'{]'))", "PackedFileError", "its header cannot be read"),
        ],
    )
)
DOOR = rows("bso_lib", [("bso_lib.BOS", "AttributeError", "has no attribute 'BOS'", "it has BSO, LIF")])
FIELDS_CASES = _fields()
CALLS = [*RUN, *DATA, *KEPT, *DOOR]
