"""Bad input to the method: optimizers, neurons, layers, networks, training, evaluation."""

from bad_input.case import Case, rows

_NUMBER = "must be a finite number, at least 0"
_UNIT = "must be in [0, 1)"
_WHOLE = "must be a whole number, at least 1"
_T = "must be a whole number from 0 to time_steps - 1 = 1"


def _options(call, option, values, words):
    """A ValueError for each of ``values``, which names option, value and what is allowed."""
    return [(call.format(f"{option}={value}"), "V", f"{option}={eval(value)!r}", words) for value in values]


BSO: list[Case] = rows(
    "BSO",
    [
        *_options(
            "BSO([W], {})", "gamma", ("-1e-9", "float('nan')", "float('inf')", "'5e-7'", "None", "True", "[]"), _NUMBER
        ),
        *_options("BSO([W], {})", "beta", ("1.0", "-0.1", "float('nan')", "'0.9'", "None", "False", "2"), _UNIT),
        *_options("BSO([W], {})", "capturable", ("1", "'yes'", "None"), "must be True or False"),
        *_options("BSO([W], {})", "exact", ("0", "'no'"), "must be True or False"),
        ("BSO([W], betas=0.9)", "T", "unexpected keyword argument 'betas'"),
        ("BSO([])", "V", "empty parameter list"),
        ("BSO(W)", "T", "should be an iterable of Tensors"),
        ("BSO(3)", "T", "not iterable"),
        ("BSO([3])", "T", "can only optimize Tensors"),
        ("BSO([W, W])", "V", "a parameter is given twice"),
        ("BSO([latent])", "V", "not exactly -1 or +1", "split_parameters"),
        ("BSO([torch.zeros(2)])", "V", "2 values that are not exactly -1 or +1"),
        ("BSO([torch.full((2,), float('nan'))])", "V", "not exactly -1 or +1"),
        ("BSO([torch.ones(2, dtype=torch.int64)])", "V", "torch.int64: must be floating point"),
        ("BSO([torch.ones(2, dtype=torch.bool)])", "V", "torch.bool: must be floating point"),
        ("BSO(model.parameters())", "V", "not exactly -1 or +1", "split_parameters"),
        ("BSO([{'params': [W], 'gama': 1.0}])", "V", "'gama'", "must be one of params, gamma, beta"),
        ("BSO([{'params': [W], 'beta1': 0.9}])", "V", "'beta1'", "must be one of params, gamma, beta"),
        ("BSO([{'params': [W], 'lr': -1}])", "V", "lr=-1", _NUMBER),
        ("BSO([{'params': [W], 'gamma': 'x'}])", "V", "gamma='x'", _NUMBER),
        ("BSO([W]).step(3)", "T", "closure=3", "must be a function"),
        ("nan_gradient(BSO).step()", "V", "is not finite (NaN or infinity)", "no weight and no momentum was changed"),
    ],
)
TBSO = rows(
    "TBSO",
    [
        *_options("TBSO([W], {})", "time_steps", ("0", "-1", "2.0", "True", "'2'", "None"), _WHOLE),
        *_options("TBSO([W], 2, {})", "gamma", ("-1", "float('nan')", "'a'", "None"), _NUMBER),
        *_options("TBSO([W], 2, {})", "beta1", ("1.0", "-1", "'a'", "None"), _UNIT),
        *_options("TBSO([W], 2, {})", "beta2", ("1.0", "1.5", "'a'", "None"), _UNIT),
        *_options("TBSO([W], 2, {})", "eps", ("-1e-20", "float('nan')", "float('inf')", "'a'", "None"), _NUMBER),
        *_options("TBSO([W], 2, {})", "exact", ("'yes'",), "must be True or False"),
        ("TBSO([W])", "T", "missing 1 required positional argument: 'time_steps'"),
        ("TBSO([latent], 2)", "V", "not exactly -1 or +1"),
        ("TBSO([W, W], 2)", "V", "a parameter is given twice"),
        ("TBSO([W], 2).step()", "V", "t=None", _T, "as in step(t=0)"),
        ("TBSO([W], 2).step(0)", "V", "t=None", _T, "as in step(t=0)"),
        *[(f"TBSO([W], 2).step(t={t})", "V", f"t={eval(t)!r}", _T) for t in ("2", "-1", "0.0", "True", "'0'", "None")],
        ("TBSO([W], 2).step(5, t=0)", "T", "closure=5", "must be a function"),
        (
            "nan_gradient(TBSO, 2).step(t=0)",
            "V",
            "is not finite (NaN or infinity)",
            "no weight and no momentum was changed",
        ),
    ],
)
NEURONS = rows(
    "LIF",
    [
        *[
            (f"LIF({v})", "V", f"trace={eval(v)!r}", "must be one of ottt, ndot, none")
            for v in ("'otttt'", "None", "1", "[]")
        ],
        *_options("LIF({})", "online", ("'no'", "1", "None"), "must be True or False"),
        *_options("LIF({})", "decay", ("-0.1", "1.1", "float('nan')", "'x'", "None"), "must be in [0, 1]"),
        *_options(
            "LIF({})", "threshold", ("0", "-1", "float('inf')", "'x'", "None"), "must be a finite number above 0"
        ),
        *_options("LIF({})", "alpha", ("0", "float('nan')", "'x'"), "must be a finite number above 0"),
        ("LIF(tau=2.0)", "T", "unexpected keyword argument 'tau'"),
    ],
)
SPIKES = rows(
    "Spikes",
    [
        ("Spikes()", "T", "missing 1 required positional argument: 'values'"),
        ("Spikes(values=x, traces=x)", "T", "unexpected keyword argument 'traces'"),
        ("Spikes(x, x, x)", "T", "positional arguments"),
    ],
)
LAYERS = rows(
    "BinaryConv2d",
    [
        *_options(
            "BinaryConv2d({}, out_channels=2, kernel_size=3)", "in_channels", ("0", "-1", "2.0", "'a'", "None"), _WHOLE
        ),
        *_options("BinaryConv2d(2, {}, kernel_size=3)", "out_channels", ("0", "1.5", "True"), _WHOLE),
        *_options(
            "BinaryConv2d(2, 2, {})", "kernel_size", ("0", "-3", "3.0", "'3'", "(3, 3, 3)", "None"), "at least 1"
        ),
        *_options("BinaryConv2d(2, 2, 3, {})", "stride", ("0", "1.5", "'a'", "(1,)"), "at least 1"),
        *_options("BinaryConv2d(2, 2, 3, {})", "padding", ("-1", "0.5", "None"), "at least 0"),
        ("BinaryConv2d(2, 2, 3, padding='same')", "V", "padding='same'", "give the number of pixels"),
        *_options("BinaryConv2d(2, 2, 3, {})", "dilation", ("0", "'a'"), "at least 1"),
        *_options("BinaryConv2d(2, 2, 3, {})", "groups", ("0", "1.0"), _WHOLE),
        ("BinaryConv2d(4, 2, 3, groups=3)", "V", "groups=3", "must divide in_channels=4, out_channels=2"),
        ("BinaryConv2d(2, 2)", "T", "missing 1 required positional argument: 'kernel_size'"),
        ("BinaryConv2d(2, 2, 3, bias=True)", "T", "unexpected keyword argument 'bias'"),
    ],
) + rows(
    "BinaryLinear",
    [
        *_options("BinaryLinear({}, out_features=2)", "in_features", ("0", "-1", "2.0", "'a'", "None", "True"), _WHOLE),
        *_options("BinaryLinear(2, {})", "out_features", ("0", "2.5", "None"), _WHOLE),
        ("BinaryLinear(2, 2, bias=True)", "T", "unexpected keyword argument 'bias'"),
    ],
)


def _network(name):
    return rows(
        name,
        [
            *_options(f"{name}({{}})", "num_classes", ("0", "-1", "2.5", "'10'", "None"), _WHOLE),
            *_options(f"{name}({{}})", "in_channels", ("0", "True", "'3'"), _WHOLE),
            *_options(
                f"{name}({{}})",
                "width",
                ("0", "1 / 65", "-1", "float('nan')", "float('inf')", "'wide'", "None"),
                "must be at least 1/64",
            ),
            *_options(f"{name}({{}})", "weights", ("'binry'", "None", "[]", "2"), "must be one of binary, latent, "),
            *_options(f"{name}({{}})", "trace", ("'eprop'", "None"), "must be one of ottt, ndot, none"),
            *_options(f"{name}({{}})", "batch_norm", ("'none'", "None", "True"), "must be one of shared, per-step"),
            *_options(f"{name}(batch_norm='per-step', {{}})", "time_steps", ("None", "0", "2.0"), _WHOLE),
            *_options(f"{name}({{}})", "time_steps", ("-1", "'2'"), _WHOLE),
            *_options(f"{name}(width=1 / 64, {{}})", "online", ("'yes'", "0"), "must be True or False"),
            (f"{name}(classes=10)", "T", "unexpected keyword argument 'classes'"),
        ],
    )


_BATCH = "x, y, optimizers"
TRAINING = (
    rows(
        "train_batch",
        [
            *[
                (f"train_batch(model, {_BATCH}, {v})", "V", f"time_steps={eval(v)!r}", _WHOLE)
                for v in ("0", "-1", "1.5", "True", "None")
            ],
            *[
                (
                    f"train_batch(model, {_BATCH}, 2, {v})",
                    "V",
                    f"training={eval(v)!r}",
                    "must be one of online, accumulated, bptt",
                )
                for v in ("'onlin'", "None", "1")
            ],
            (f"train_batch(model, {_BATCH}, 2, 'bptt')", "V", "build the network with online=False"),
            (f"train_batch(model, {_BATCH}, 3)", "V", "time_steps=3", "TBSO was made for time_steps=2"),
            (f"train_batch(model, {_BATCH}, 2, autocast='bfloat16')", "V", "autocast='bfloat16'", "torch.bfloat16"),
            (f"train_batch(model, {_BATCH}, 2, autocast=torch.int8)", "V", "autocast=torch.int8", "floating point"),
            (
                f"train_batch(model, {_BATCH}, 2, loss='mse')",
                "T",
                "loss='mse'",
                "must be a function of (logits, labels)",
            ),
            (f"train_batch(None, {_BATCH}, 2)", "T", "model=NoneType", "reset_state()"),
            (f"train_batch(torch.nn.Flatten(), {_BATCH}, 2)", "T", "model=Flatten", "reset_state()"),
            ("train_batch(model, None, y, optimizers, 2)", "T", "images are a NoneType", "must be a tensor"),
            ("train_batch(model, x.tolist(), y, optimizers, 2)", "T", "images are a list", "must be a tensor"),
            ("train_batch(model, x.numpy(), y, optimizers, 2)", "T", "images are a ndarray", "must be a tensor"),
            ("train_batch(model, x.byte(), y, optimizers, 2)", "V", "images are torch.uint8", "must be floating point"),
            ("train_batch(model, x[:0], y[:0], optimizers, 2)", "V", "images of shape (0, 1, 8, 8)", "N at least 1"),
            ("train_batch(model, x[0, 0, 0], y, optimizers, 2)", "V", "images of shape (8,)", "must be (N, C, H, W)"),
            ("train_batch(model, x[:, None], y, optimizers, 2)", "V", "images have 1 frames", "at least time_steps=2"),
            *[
                (f"train_batch(model, {v}, y, optimizers, 2)", "V", "images hold NaN or infinity", "must be finite")
                for v in (
                    "x / 0",
                    "x.sqrt()",
                    "x.double().log()",
                    "x.bfloat16() / 0",
                    "x.half() * 1e5",
                    "x.index_fill(0, y[2], float('nan'))",
                )
            ],
            ("train_batch(model, x[:3], y, optimizers, 2)", "V", "labels of shape (4,)", "one for each of 3 samples"),
            ("train_batch(model, x, y[:2], optimizers, 2)", "V", "labels of shape (2,)", "one for each of 4 samples"),
            ("train_batch(model, x, y[0], optimizers, 2)", "V", "labels of shape ()", "one for each of 4 samples"),
            ("train_batch(model, x, y + 10, optimizers, 2)", "V", "labels hold 1", "from 0 to 9", "each of 4 samples"),
            ("train_batch(model, x, y - 10, optimizers, 2)", "V", "labels hold -", "from 0 to 9"),
            ("train_batch(model, x, y * 0 - 100, optimizers, 2)", "V", "labels hold -100", "from 0 to 9"),
            *[
                (
                    f"train_batch(model, x, y.{cast}(), optimizers, 2)",
                    "V",
                    f"labels of shape (4,) are torch.{dtype}",
                    "(torch.int64) from 0 to 9",
                )
                for cast, dtype in {
                    "int": "int32",
                    "float": "float32",
                    "double": "float64",
                    "bool": "bool",
                    "short": "int16",
                }.items()
            ],
            (
                "train_batch(model, x, y[:, None], optimizers, 2)",
                "V",
                "labels of shape (4, 1)",
                "(torch.int64) from 0 to 9",
            ),
            ("train_batch(model, x, y.tolist(), optimizers, 2)", "V", "labels are a list", "must be a tensor"),
            ("train_batch(model, x, y.numpy(), optimizers, 2)", "V", "labels are a ndarray", "must be a tensor"),
            ("train_batch(model, x, None, optimizers, 2)", "V", "labels are a NoneType", "must be a tensor"),
            ("train_batch(model, x, y, optimizers[0], 2)", "T", "optimizers are a SGD", "must be a list of optimizers"),
            (
                "train_batch(model, x, y, (o for o in optimizers), 2)",
                "T",
                "optimizers are a generator",
                "must be a list",
            ),
            ("train_batch(model, x, y, None, 2)", "T", "optimizers are a NoneType", "must be a list of optimizers"),
            ("train_batch(model, x, y, ['sgd'], 2)", "T", "optimizers hold a str", "must be a list of optimizers"),
        ],
    )
    + rows(
        "predict",
        [
            *[
                (f"predict(model, x, {v})", "V", f"time_steps={eval(v)!r}", _WHOLE)
                for v in ("0", "-1", "1.5", "'2'", "None")
            ],
            ("predict(None, x, 2)", "T", "model=NoneType", "reset_state()"),
            ("predict(model, [1.0], 2)", "T", "images are a list", "must be a tensor"),
            ("predict(model, x.long(), 2)", "V", "images are torch.int64", "must be floating point"),
            ("predict(model, x[:, None], 2)", "V", "images have 1 frames", "at least time_steps=2"),
            ("predict(model, x / 0, 2)", "V", "images hold NaN or infinity", "must be finite"),
            ("predict(model, x, 2, autocast='half')", "V", "autocast='half'", "floating point type"),
        ],
    )
    + rows(
        "evaluate",
        [
            *[(f"evaluate(model, split, {v})", "V", f"time_steps={eval(v)!r}", _WHOLE) for v in ("0", "2.0", "None")],
            *_options("evaluate(model, split, 2, {})", "batch_size", ("0", "-1", "2.5", "'5'", "None"), _WHOLE),
            ("evaluate(model, x, 2)", "T", "split=Tensor", "must be a Split"),
            ("evaluate(model, (split, split), 2)", "T", "split=tuple", "must be a Split"),
            ("evaluate(model, None, 2)", "T", "split=NoneType", "must be a Split"),
            ("evaluate(None, split, 2)", "T", "model=NoneType", "must be a torch.nn.Module"),
            ("evaluate(model, own, 2)", "V", "images hold NaN or infinity", "must be finite"),
            ("evaluate(model, empty, 2)", "V", "split is empty", "at least 1"),
        ],
    )
    + rows(
        "split_parameters",
        [(f"split_parameters({v})", "T", "model=", "must be a torch.nn.Module") for v in ("None", "[W]", "vgg11")],
    )
)
SPLIT = rows(
    "bso_lib.data.Split",
    [
        ("dataclasses.replace(split, images=x / 0)", "V", "images hold NaN or infinity", "must be finite"),
        *[
            (
                f"dataclasses.replace(split, {name}=torch.tensor([{v}]))",
                "V",
                f"{name}=[",
                "must be finite, and std above",
            )
            for name, v in zip(
                ("mean", *["std"] * 4), ("torch.inf", "torch.nan", "torch.inf", "0.0", "-1.0"), strict=True
            )
        ],
    ],
)
CASES = [*BSO, *TBSO, *NEURONS, *SPIKES, *LAYERS, *_network("vgg11"), *_network("resnet18"), *TRAINING, *SPLIT]
