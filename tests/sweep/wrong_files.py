"""Sweep files that are wrong, and how the sentence about each begins."""

from __future__ import annotations

GOOD = {
    "name": "name: tried",
    "task": "task: digits",
    "space": "space: {optimizer.lr: {low: 1e-4, high: 1.0, log: true}}",
    "objective": "objective: {metric: val_accuracy, direction: maximize}",
    "budget": "budget: {trials: 3}",
}

# whatever imports one of these leaves a trace in the folder
FILES = {
    "marks.py": "open('executed', 'w').close()\ndef train(config, trial): ...\ndef make(): ...\nSPACE = 1\n",
    "broken.py": "open('executed', 'w').close()\ndef train(:\n",
    "words.txt": "",
    "base.yaml": "epochs: [\n",
}


def sweep(*more: str, without: str = "", **changed: str) -> str:
    """The text of a good sweep with lines changed, left out or added."""
    lines = {**GOOD, **changed}
    return "\n".join([*(line for key, line in lines.items() if key not in without.split()), *more, ""])


def space(text: str, *more: str, **changed: str) -> str:
    return sweep(*more, space=f"space: {text}", **changed)


FOREIGN = {
    "parameters": (sweep("parameters: {lr: 1}"), "parameters: not a key of a sweep; write  space"),
    "num_samples": (sweep("num_samples: 3"), "num_samples: not a key of a sweep; write  budget: {trials: ...}"),
    "n_trials": (sweep("n_trials: 4"), "n_trials: not a key of a sweep; write  budget: {trials: ...}"),
    "n_trials in budget": (sweep(budget="budget: {n_trials: 3}"), "budget.n_trials: not a key of budget; write trials"),
    "metric": (sweep("metric: val_loss"), "metric: not a key of a sweep; write  objective: {metric: ..., direction: "),
    "method": (sweep("method: bayes"), "method: not a key of a sweep; write  sampler"),
    "goal": (
        sweep(objective="objective: {metric: val_loss, goal: minimize}"),
        "objective.goal: not a key of objective; write direction",
    ),
    "min and max": (
        space("{optimizer.lr: {min: 1, max: 2}}"),
        "space.optimizer.lr: 'min' is another tool's key; write",
    ),
    "values": (space("{optimizer.lr: {values: [1, 2]}}"), "space.optimizer.lr: 'values' is another tool's key; write "),
    "parameters in space": (
        space("{parameters: {optimizer.lr: {low: 1, high: 2}}}"),
        "space.parameters: 'parameters' is another tool's key; write its parameters directly",
    ),
}

KEYS = {
    "a typing mistake": (
        sweep("smapler: tpe"),
        "unknown key 'smapler'; did you mean 'sampler'? (allowed: base, budget",
    ),
    "a typing mistake below": (sweep("trial: {gpsu: 1}"), "trial: unknown key 'gpsu'; did you mean 'gpus'? (allowed: "),
    "checkpoints in memory": (
        sweep("checkpoints: {path: 'memory://x'}"),
        "checkpoints.path: a process's own memory (memory://x) is seen by no other; give a folder or a store's URL",
    ),
    "a password in a path": (
        sweep("checkpoints: {path: 'ftp://me:hunter2@host/x'}"),
        "checkpoints.path: the password in ftp://me:***@host/x would be stored with the study",
    ),
    "fewer than none": (
        sweep("checkpoints: {keep: -1}"),
        "checkpoints.keep: should be greater than or equal to 0, fou",
    ),
    "checkpoints of no time": (sweep("checkpoints: {every: 0}"), "checkpoints.every: must be a time above zero"),
    "another tool's checkpoints": (
        sweep("checkpoints: {num_to_keep: 2}"),
        "checkpoints.num_to_keep: not a key of checkpoints; write keep",
    ),
    "a key that comes later": (sweep("replicates: 3"), "unknown key 'replicates'; (allowed: base, budget, "),
    "a repeated key": (sweep("seed: 1", "seed: 2"), "sweep.yaml, line 7: seed: this key stands here twice; keep one"),
    "repeated as dotted": (sweep("budget.trials: 5"), "budget.trials: given twice; keep one"),
    "repeated in space": (
        sweep("space.optimizer.lr: {low: 0.1, high: 0.2}"),
        "space.optimizer.lr: given twice; keep one",
    ),
    "dotted and nested in space": (
        space("{optimizer.lr: {low: 0.1, high: 1}, optimizer: {lr: {low: 0.1, high: 1}}}"),
        "space.optimizer.lr: given twice; keep one",
    ),
    "a long name twice": (
        space("{regularization.l1: {low: 0.0, high: 1.0}, regularization.l1.penalty: {low: 0.0, high: 2.0}}"),
        "space.regularization.l1: given twice, also as regularization.l1.penalty; keep one",
    ),
    "task and train": (sweep("train: marks.py:train"), "task: give one of task and train, found both"),
    "no task": (sweep(without="task"), "task: give one of task and train, found neither"),
    "two kinds of objective": (
        sweep("objectives: [{metric: val_loss, direction: minimize}]"),
        "objective: give one of objective and objectives, found both",
    ),
    "no objective": (sweep(without="objective"), "objective: give one of objective and objectives, found neither"),
    "one objective twice": (
        sweep(
            "objectives: [{metric: val_f1, direction: maximize}, {metric: val_f1, direction: minimize}]",
            without="objective",
        ),
        "objectives: val_f1 is named twice; keep one",
    ),
    "no budget": (sweep(without="budget"), "budget: missing; it is required"),
    "an empty budget": (sweep(budget="budget: {}"), "budget: needs trials or time, as in  budget: {trials: 60}"),
    "no name": (sweep(without="name"), "name: missing; it is required"),
    "no direction": (
        sweep(objective="objective: {metric: val_loss}"),
        "objective.direction: missing; it is required, one of maximize, minimize",
    ),
    "seed in base": (sweep("base: {seed: 1}"), "base.seed: is set by the sweep's top-level seed; write it there"),
    "seed in space": (
        space("{seed: {choices: [1, 2]}}"),
        "space.seed: is set by the sweep's top-level seed; it cannot be searched",
    ),
}

VALUES = {
    "text for a number": (
        sweep(budget="budget: {trials: '60'}"),
        "budget.trials: should be a valid integer, found '60'",
    ),
    "true for a number": (sweep("seed: true"), "seed: should be a valid integer, found True"),
    "half a trial": (sweep(budget="budget: {trials: 2.5}"), "budget.trials: should be a valid integer, found 2.5"),
    "no trials": (sweep(budget="budget: {trials: 0}"), "budget.trials: should be greater than or equal to 1, found 0"),
    "a list for a section": (sweep(budget="budget: [60]"), "budget: should be a mapping, found [60]"),
    "epochs in base": (sweep("base: {epochs: many}"), "base.epochs: should be a valid integer, found 'many'"),
    "dropout in base": (
        sweep("base: {regularization: {dropout: 1.5}}"),
        "base.regularization.dropout: should be less than 1, found 1.5",
    ),
    "words as a time": (
        sweep(budget="budget: {time: 10 minutes}"),
        "budget.time: '10 minutes' is not a time; write seconds or 90s, 5m, 1h30m, 2d",
    ),
    "weeks": (sweep(budget="budget: {time: 2w}"), "budget.time: '2w' is not a time; write seconds or 90s, 5m"),
    "a negative timeout": (sweep("trial: {timeout: -5}"), "trial.timeout: must be a time above zero and below 1e9"),
    "an endless time": (sweep(budget="budget: {time: .inf}"), "budget.time: must be a time above zero and below 1e9"),
    "a direction cut short": (
        sweep(objective="objective: {metric: val_loss, direction: min}"),
        "objective.direction: should be 'maximize' or 'minimize', found 'min'; did you mean 'minimize'?",
    ),
    "a name with a slash": (sweep(name="name: a/b"), "name: 'a/b' must not begin with - or ., nor hold slashes"),
    "a number as name": (sweep(name="name: 12"), "name: should be a valid string, found 12"),
    "no slots": (sweep("concurrency: 0"), "concurrency: must be a whole number from 1, or auto, found 0"),
    "many slots": (sweep("concurrency: many"), "concurrency: must be a whole number from 1, or auto, found 'many'"),
    "no CPUs": (sweep("trial: {cpus: 0}"), "trial.cpus: should be greater than 0, found 0"),
    "endless CPUs": (sweep("trial: {cpus: .inf}"), "trial.cpus: should be a finite number, found inf"),
    "a word for true": (sweep("trial: {isolate: yes}"), "trial.isolate: should be a valid boolean, found 'yes'"),
    "a task's option": (
        sweep(task="task: {name: digits, split_sed: 1}"),
        "task: unknown key of task 'digits': 'split_sed'; did you mean 'split_seed'? (allowed: split_seed)",
    ),
    "a task's option's type": (
        sweep(task="task: {name: digits, split_seed: abc}"),
        "task.split_seed: should be a valid integer, found 'abc'",
    ),
    "a list as task": (sweep(task="task: [digits]"), "task: must be a task's name, my_task.py:make_task, or a mapping"),
}

ENTRIES = {
    "a task": (
        sweep(task="task: digit"),
        "task: unknown task 'digit'; did you mean 'digits'? (allowed: breast_cancer, ",
    ),
    "a sampler": (
        sweep("sampler: tpee"),
        "sampler: unknown sampler 'tpee'; did you mean 'tpe'? (allowed: brute_force, ",
    ),
    "a pruner": (sweep("pruner: hyperbnd"), "pruner: unknown pruner 'hyperbnd'; did you mean 'hyperband'? (allowed: "),
    "a model": (
        sweep("base: {model: mpl}"),
        "base.model: unknown model 'mpl'; did you mean 'mlp'? (allowed: cnn, mlp, resnet18, transformer)",
    ),
    "a schedule in space": (
        space("{schedule.name: {choices: [constant, cosin]}}"),
        "space.schedule.name: 'cosin' cannot be used: schedule: unknown schedule 'cosin'; did you mean 'cosine'?",
    ),
    "a metric": (
        sweep(objective="objective: {metric: val_acuracy, direction: maximize}"),
        "objective.metric: unknown metric 'val_acuracy'; did you mean 'val_accuracy'? (allowed: epsilon, train_loss, ",
    ),
    "the test metric": (
        sweep(objective="objective: {metric: test_accuracy, direction: maximize}"),
        "objective.metric: unknown metric 'test_accuracy'; did you mean 'val_accuracy'?",
    ),
    "the second metric": (
        sweep(
            "objectives: [{metric: val_loss, direction: minimize}, {metric: val_f0, direction: maximize}]",
            without="objective",
        ),
        "objectives.1.metric: unknown metric 'val_f0'; did you mean 'val_f1'?",
    ),
    "an option of the sampler": (
        sweep("sampler: {name: tpe, n_startup: 5}"),
        "sampler: unknown key of sampler 'tpe': 'n_startup'; did you mean 'n_startup_trials'? (allowed: constant_liar",
    ),
    "an option's type": (
        sweep("pruner: {name: hyperband, min_resource: two}"),
        "pruner.min_resource: should be a valid integer, found 'two'",
    ),
    "an option of what is wrapped": (
        sweep("pruner: {name: patient, patience: 2, wrapped: {name: median, n_min: a}}"),
        "pruner.wrapped: unknown key of pruner 'median': 'n_min'; did you mean 'n_min_trials'?",
    ),
    "a sampler without a name": (
        sweep("sampler: {group: true}"),
        "sampler: a sampler needs a name (allowed: brute_force",
    ),
    "a list as sampler": (sweep("sampler: [tpe]"), "sampler: must be a sampler's name or a mapping with one, found ['"),
    "wilcoxon for a task": (sweep("pruner: wilcoxon"), "pruner: wilcoxon compares steps as problem instances, and"),
    "a pruner for two objectives": (
        sweep(
            "objectives: [{metric: val_loss, direction: minimize}, {metric: val_f1, direction: maximize}]",
            "pruner: median",
            without="objective",
        ),
        "pruner: median takes one objective, found 2; with several it must be none",
    ),
    "a first cut after the last epoch": (
        sweep("pruner: {name: hyperband, min_resource: 50}"),
        "pruner.min_resource: must not be above the most steps of a trial, 20, found 50",
    ),
    "a first rung after the last epoch": (
        sweep("pruner: {name: successive_halving, min_resource: 9, min_early_stopping_rate: 1}"),
        "pruner.min_resource: the first rung must not be above the most steps of a trial, 20, found 36",
    ),
    "a grid of floats": (sweep("sampler: grid"), "space.optimizer.lr: a grid needs a finite list of values; give it a"),
}

SPACES = {
    "text for a bound": (
        space("{optimizer.lr: {low: '1e-4', high: 1}}"),
        "space.optimizer.lr: low must be a number, found '1e-4'",
    ),
    "low above high": (
        space("{optimizer.lr: {low: 1.0, high: 1e-4}}"),
        "space.optimizer.lr: low must not be above high, found low 1.0 and high 0.0001",
    ),
    "log of 0": (
        space("{optimizer.lr: {low: 0, high: 1, log: true}}"),
        "space.optimizer.lr: low must be above 0 with log, found 0.0",
    ),
    "a path's long name": (
        space("{optimizer.learning_rate: {low: 0.1, high: 1}}"),
        "space.optimizer.learning_rate: unknown path 'optimizer.learning_rate'; did you mean 'optimizer.lr'? (allowed",
    ),
    "a path without its section": (space("{lr: {low: 0.1, high: 1}}"), "space.lr: unknown path 'lr'; did you mean 'op"),
    "a path of choices": (
        space("{schedule.namee: {choices: [cosine]}}"),
        "space.schedule.namee: unknown path 'schedule.namee'; did you mean 'schedule.name'?",
    ),
    "one path, two domains": (
        space(
            "{schedule.name: {choices: {cosine: {schedule.floor: {low: 0.0, high: 0.1}}, "
            "linear: {schedule.floor: {low: 0.0, high: 0.2}}}}}"
        ),
        "space.schedule.name.choices.linear.schedule.floor: has another domain in another branch (0.0 .. 0.2; 0.0 .. ",
    ),
    "beyond the field's bounds": (
        space("{regularization.dropout: {low: 0.0, high: 1.5}}"),
        "space.regularization.dropout: should be less than 1, found 1.5",
    ),
    "another entry's parameter": (
        space("{schedule.floor: {low: 0.0, high: 0.5}}"),
        "space.schedule.floor: schedule 'constant' has no floor; set base.schedule.name to one that has it (cosine, ",
    ),
    "beside the choice it belongs below": (
        space("{schedule.name: {choices: [constant, cosine]}, schedule.floor: {low: 0.0, high: 0.5}}"),
        "space.schedule.floor: schedule 'constant' has no floor; write it below a choice of schedule.name that has it",
    ),
    "all warmup": (
        space("{schedule.warmup_fraction: {low: 0.0, high: 1.0}}"),
        "space.schedule.warmup_fraction: should be less than 1, found 1.0",
    ),
    "more warmup than steps": (
        space("{schedule.warmup_steps: {low: 0, high: 1000}}", "base: {epochs: 20}"),
        "space.schedule.warmup_steps: 1000 makes 1000 warmup steps, which must be fewer than the 680 steps of this tra",
    ),
    "more warmup in base than steps": (
        sweep("base: {schedule: {warmup_steps: 680}}"),
        "base.schedule.warmup_steps: 680 makes 680 warmup steps, which must be fewer than the 680 steps of this train",
    ),
    "two warmups": (
        space("{schedule.warmup_fraction: {low: 0.1, high: 0.2}, schedule.warmup_steps: {low: 1, high: 9}}"),
        "space.schedule.warmup_steps: 1 beside warmup_fraction 0.1; set one of the two",
    ),
    "what has no effect": (
        space("{regularization.gradient_clipping.norm: {low: 1.0, high: 2.0}}"),
        "space.regularization.gradient_clipping.norm: has no effect without regularization.gradient_clipping, which is",
    ),
    "choices that are no values": (
        space("{schedule.name: {choices: [{a: 1}, {b: 2}]}}"),
        "space.schedule.name: choices must be text, numbers, true, false or null, found {'a': 1}",
    ),
    "text as a choice of numbers": (
        space("{epochs: {choices: ['5', '10']}}"),
        "space.epochs: should be a valid integer, found '5'",
    ),
    "a range of words": (
        space("{precision: {low: 0, high: 1}}"),
        "space.precision: is no number, write choices: [...] (float32 | bfloat16 | float16)",
    ),
    "another type": (
        space("{epochs: {low: 1, high: 3, type: float}}"),
        "space.epochs.type: must be int, the type of th",
    ),
    "a fixed value": (
        space("{optimizer.lr: 0.1}"),
        "space.optimizer.lr: found the single value 0.1; a parameter needs ",
    ),
    "a number as path": (space("{1: {low: 0.1, high: 1}}"), "space.1: a key should be text, found 1"),
    "nothing": (space("{}"), "space: has no parameter to search"),
    "a list": (space("[optimizer.lr]"), "space: must be a mapping of parameters, found ['optimizer.lr']"),
    "whole bounds for train": (
        space("{lr: {low: 1, high: 3}}", task="train: marks.py:train"),
        "space.lr: low 1 and high 3 are whole numbers; add type: int or type: float",
    ),
    "below a value of base": (
        space("{lr.x: {low: 1.0, high: 3}}", "base: {lr: 1}", task="train: marks.py:train"),
        "space.lr.x: does not fit base: lr: is the value 1 and has lr.x below it",
    ),
}

CODE = {
    "no such file": (sweep(task="train: nope.py:train"), "train: no file 'nope.py' in "),
    "no such function": (
        sweep(task="train: marks.py:trainn"),
        "train: unknown name in marks.py: 'trainn'; did you mean 'train'? (allowed: SPACE, make, train)",
    ),
    "no function": (sweep(task="train: marks.py"), "train: 'marks.py' must be a file or module, a colon and a name"),
    "no such module": (sweep(task="task: nowhere.tasks:make"), "task: no module 'nowhere.tasks' in "),
    "no Python": (sweep(task="train: broken.py:train"), "train: "),
    "no such base": (sweep("base: nope.yaml"), "base: no file 'nope.yaml' in "),
    "a broken base": (sweep("base: base.yaml"), "base: base.yaml, line 2: while parsing a flow node"),
    "no such plugin": (sweep("plugins: [nope.py]"), "plugins: no file 'nope.py' in "),
    "a plugin that is no .py file": (sweep("plugins: [words.txt]"), "plugins: 'words.txt' must be a .py file"),
    "a plugin that is no list": (sweep("plugins: marks.py"), "plugins: must be a list of files, found 'marks.py'"),
    "a plugin beside a mistake": (
        sweep("plugins: [marks.py]", budget="budget: {trials: none}"),
        "budget.trials: should be a valid integer, found 'none'",
    ),
    "a plugin beside code that is not there": (
        sweep("plugins: [marks.py]", task="train: nope.py:train"),
        "train: no file 'nope.py' in ",
    ),
    "no such space": (space("{use: [marks.py:SPACE, nope.py:SPACE]}"), "space.use: no file 'nope.py' in "),
    "a space that is no list": (
        space("{use: marks.py:SPACE}"),
        "space.use: must be a list such as [my_space.py:SPACE]",
    ),
    "train and a mistake": (
        sweep("sampler: {name: tpe, group: 1}", task="train: marks.py:train"),
        "sampler.group: should be a valid boolean, found 1",
    ),
    "an unset variable": (
        sweep("storage: 'postgresql://me:${env:HPO_NOT_SET}@db/x'"),
        "storage: the environment variable HPO_NOT_SET is not set",
    ),
    "no variable": (sweep("storage: '${env:1X}'"), "storage: '${env:1X}' is not of the form ${env:NAME}"),
}

YAML = {
    "an open bracket": ("name: [a, b\n", "sweep.yaml, line 2: while parsing a flow sequence, expected ',' or ']'"),
    "a colon too many": ("name: a: b\n", "sweep.yaml, line 1: mapping values are not allowed here"),
    "a list": ("- name: a\n", "sweep.yaml, line 1: must hold a mapping, key: value, at the top, found a list"),
    "a word": ("hello\n", "sweep.yaml, line 1: must hold a mapping, key: value, at the top, found a single value, 'he"),
    "a tab": ("name: x\nspace:\n\tlr: {low: 1, high: 2}\n", "sweep.yaml, line 3: while scanning for the next token, f"),
    "nothing": ("", "sweep.yaml: the file is empty; it must hold a mapping, key: value"),
    "two documents": (sweep() + "---\nname: b\n", "sweep.yaml, line 6: a second document (---) begins; keep one"),
    "a merge": (sweep("base: {<<: {epochs: 3}}"), "sweep.yaml, line 6: merge keys (<<) are not part of YAML 1.2; wri"),
    "a Python object": (
        sweep("base: !!python/object/apply:os.system ['touch executed']"),
        "sweep.yaml, line 6: the tag !!python/object/apply:os.system is not allowed; only plain values, lists and",
    ),
    "a bomb": (
        "".join(f"{key}: &{key} [{', '.join([before] * 9)}]\n" for before, key in zip(
            ["x", "*a", "*b", "*c", "*d", "*e"], "abcdef", strict=True
        )),
        "sweep.yaml, line 1: holds more than 100000 values once its aliases are written out",
    ),
    "an alias of itself": ("name: a\nbase: &a {x: *a}\n", "sweep.yaml, line 2: an alias contains itself"),
    "brackets without end": (f"a: {'[' * 3000}{']' * 3000}\n", "sweep.yaml: nested too deeply"),
}  # fmt: skip

CASES = {
    f"{kind}: {case}": pair
    for kind, table in {
        "foreign": FOREIGN,
        "keys": KEYS,
        "values": VALUES,
        "entries": ENTRIES,
        "spaces": SPACES,
        "code": CODE,
        "yaml": YAML,
    }.items()
    for case, pair in table.items()
}
