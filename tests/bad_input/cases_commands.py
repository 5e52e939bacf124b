"""Bad input to the command lines, the profiles, the notebooks' parameters and make."""

from bad_input.case import rows

RUN = rows(
    "python -m bso_lib",
    [
        (given, "status 2", *words)
        for given, *words in [
            ("--set epochs", "--set epochs: must be field=value"),
            ("--set =3", "RunConfig has no field ''"),
            ("--set epoch=3", "RunConfig has no field 'epoch'", "did you mean 'epochs'?"),
            ("--set timesteps=2", "RunConfig has no field 'timesteps'", "did you mean 'time_steps'?"),
            ("--set Method=bso", "RunConfig has no field 'Method'", "did you mean 'method'?"),
            ("--set learning_rate=0.1", "RunConfig has no field 'learning_rate'", "it has method, training"),
            ("--set epochs=0", "RunConfig.epochs=0", "must be a whole number, at least 1"),
            ("--set epochs=1e3", "RunConfig.epochs=1000.0", "must be a whole number, at least 1"),
            ("--set epochs=", "RunConfig.epochs=''", "must be a whole number, at least 1"),
            ("--set method=tbso", "RunConfig.method='tbso'", "did you mean 't-bso'?"),
            ("--set dataset=cifar", "RunConfig.dataset='cifar'", "did you mean 'cifar10'?"),
            ("--set augment=crop,flp", "RunConfig.augment=('crop', 'flp')", "did you mean 'flip'?"),
            ("--set gamma=1e-7x", "RunConfig.gamma='1e-7x'", "must be a finite number"),
            ("--set ste_clip=no", "RunConfig.ste_clip='no'", "must be True or False"),
            ("--set width=1/8", "RunConfig.width='1/8'", "must be from 1/64 to 1"),
            ("--set dataset=cifar10", "cifar10 not found"),
            ("--set", "argument --set: expected one argument"),
            ("--config", "argument --config: expected one argument"),
            ("--config none.json", "--config none.json: not a readable JSON file"),
            ("--config .", "--config .: not a readable JSON file"),
            ("--sets epochs=1", "unrecognized arguments: --sets", "did you mean '--set'?"),
            ("--cofig run.json", "unrecognized arguments: --cofig", "did you mean '--config'?"),
            ("epochs=1", "unrecognized arguments: epochs=1"),
            ("--epochs 3", "unrecognized arguments: --epochs"),
        ]
    ],
)
FILES = rows(
    "python -m bso_lib --config",
    [
        (given, "status 2", *words)
        for given, *words in [
            ("{", "not a readable JSON file"),
            ("", "not a readable JSON file"),
            ("[1]", "must be a JSON object of RunConfig's fields"),
            ("null", "must be a JSON object of RunConfig's fields"),
            ('"bso"', "must be a JSON object of RunConfig's fields"),
            ('{"epoch": 3}', "RunConfig has no field 'epoch'", "did you mean 'epochs'?"),
            ('{"epochs": "3"}', "RunConfig.epochs='3'", "must be a whole number"),
            ('{"augment": "crop"}', "RunConfig.augment='crop'", "any of crop, flip, cutout"),
            ('{"start_from": {"method": "adm"}}', "RunConfig.method='adm'", "must be one of"),
            ('{"lr": NaN}', "RunConfig.lr=nan", "must be a finite number"),
        ]
    ],
)
DATA = rows(
    "python -m bso_lib.data",
    [
        (given, status, *words)
        for given, status, *words in [
            ("", "status 2", "the following arguments are required: name"),
            ("mnist", "status 2", "dataset='mnist'", "must be one of fashion-mini"),
            ("cifar-10", "status 2", "dataset='cifar-10'", "did you mean 'cifar10'?"),
            ("CIFAR10", "status 2", "dataset='CIFAR10'", "did you mean 'cifar10'?"),
            ("fashion_mnist", "status 2", "did you mean 'fashion-mnist'?"),
            ("cifar10 cifar100", "status 2", "unrecognized arguments: cifar100"),
            ("cifar10 --rot here", "status 2", "unrecognized arguments: --rot", "did you mean '--root'?"),
            ("cifar10 --root", "status 2", "argument --root: expected one argument"),
            ("imagenet", "status 1", "imagenet"),
        ]
    ],
)
NOTEBOOK = rows(
    "notebooks/run.py",
    [
        (given, "status 2", *words)
        for given, *words in [
            ("04-how-acurate --profile quick", "no notebook '04-how-acurate'", "did you mean '04-how-accurate'?"),
            ("4 --profile quick", "no notebook '4'", "there are 00-start-here"),
            ("04-how-accurate.ipynb --profile quick", "no notebook", "did you mean '04-how-accurate'?"),
            ("04-how-accurate", "one of the arguments --profile --refresh --compared is required"),
            ("04-how-accurate --profile fast", "argument --profile: invalid choice: 'fast'", "quick", "laptop"),
            ("04-how-accurate --profile", "argument --profile: expected one argument"),
            ("04-how-accurate --profile quick --refresh", "not allowed with argument"),
            ("04-how-accurate --profiles quick", "--profile --refresh --compared is required"),
            ("--profile quick", "the following arguments are required: name"),
            ("--compared", "argument --compared: expected one argument"),
            ("--compared fast", "argument --compared: invalid choice: 'fast'", "quick", "laptop"),
        ]
    ],
)
# The text of a profile, of which notebook 04-how-accurate reads its parameters.
PROFILE = rows(
    "notebooks/profiles/quick.yaml",
    [
        (given, "ValueError", *words)
        for given, *words in [
            ("04-how-accurate: {sedes: [0]}", "sets 'sedes'", "it has profile, dataset", "did you mean 'seeds'?"),
            ("04-how-accurate: {epoch: 3}", "sets 'epoch'", "did you mean 'epochs'?"),
            ("04-how-accurate: {Dataset: cifar10}", "sets 'Dataset'", "did you mean 'dataset'?"),
            ("04-how-accurate: {xyzzy: 1}", "sets 'xyzzy'", "it has profile, dataset"),
            ("04-how-acurate: {epochs: 3}", "'04-how-acurate', no notebook", "did you mean '04-how-accurate'?"),
            ("4: {epochs: 3}", "has settings of 4, no notebook"),
            ("04-how-accurate: 5", "5 must be values by parameter"),
            ("04-how-accurate: [epochs]", "['epochs'] must be values by parameter"),
            ("04-how-accurate: epochs", "'epochs' must be values by parameter"),
            ("[1, 2]", "holds a list", "must be settings by notebook"),
            ("quick", "holds a str", "must be settings by notebook"),
            ("04-how-accurate: {epochs: 3", "is no YAML"),
            ("\t04-how-accurate:", "is no YAML"),
        ]
    ],
)
_WRONG = {  # a value of another kind, by the kind of the notebook's own
    "int": ("'three'", "2.5", "true", "[1]", "{a: 1}"),
    "float": ("5e-7", "'0.1'", "false", "[0.1]"),
    "str": ("3", "[a]", "true"),
    "list": ("3", "'[0]'", "{a: 1}"),
    "dict": ("3", "[1]", "text"),
}
_WORDS = {"int": "a whole number", "float": "a number", "str": "text", "list": "a list", "dict": "a mapping"}


def parameter_cases(defaults_by_notebook):
    """Return, for every parameter of every notebook, one value of another kind; all kinds of wrong value in turn."""
    cases, turn = [], dict.fromkeys(_WRONG, 0)
    for notebook, defaults in defaults_by_notebook.items():
        for parameter, default in defaults.items():
            kind = type(default).__name__
            if kind not in _WRONG:
                continue  # an expression or None
            value = _WRONG[kind][turn[kind] % len(_WRONG[kind])]
            turn[kind] += 1
            given = f"{notebook}: {{{parameter}: {value}}}"
            cases += rows("notebook parameters", [(given, "ValueError", f"{parameter}=", f"must be {_WORDS[kind]}")])
    return cases


MAKE = rows(
    "make",
    [
        (given, "status 2", *words)
        for given, *words in [
            *[
                (f"PROFILE={v} help", f"PROFILE={v}: must be quick, laptop, evening or paper")
                for v in ("fast", "Quick", "", "quick laptop", "quick.yaml", "morning")
            ],
            ("PYTHON=nosuch help", "PYTHON=nosuch: no such program", "at least 3.11"),
            ("PYTHON= help", "PYTHON=: no such program"),
            ("VENV= help", "VENV=: must be one folder"),
            ("VENV=a b help", "VENV=a b: must be one folder, without spaces"),
            ("DRY_RUN=yes help", "DRY_RUN=yes: must be 0 or 1"),
            ("DRY_RUN=2 help", "DRY_RUN=2: must be 0 or 1"),
            ("reproduec", "No rule to make target 'reproduec'"),
        ]
    ],
)
ENVIRONMENT = rows(
    "DRY_RUN", [(v, "ValueError", f"DRY_RUN={v!r}", "must be 0 or 1") for v in ("yes", "no", "true", "2")]
)
